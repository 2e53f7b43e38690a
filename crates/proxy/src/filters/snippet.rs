//! Does what snippets of nginx's configuration say. Steps run one after the other, each once, so
//! that a request's work is bounded by its snippets' length; what is done to fields holds wherever
//! the steps come to an end, and of conditions the last one that holds counts, as in nginx.

mod late;

use model::Rule;
use model::filter::Snippet;
use model::filter::snippet::{
    Act, Block, Condition, Edits, If, RequestEdit, ResponseEdit, Says, Step, Then,
};
use model::text::{Named, Piece, Text, Variable};

use super::Answer;
use super::headers::is_value;
use crate::client::Connection;
use crate::forwarded::Client;
use crate::headers::RequestHead;
use crate::record::Reason;
use crate::respond::Given;
use crate::variables::{Scope, expand, write};
pub(crate) use late::{Late, finish};
use late::{Part, set};

/// What snippets look at besides the request.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) client: Client,
    /// As it is compared.
    pub(crate) host: &'a str,
    pub(crate) rule: &'a Rule,
}

/// What came of a snippet.
pub(crate) struct Done {
    /// The answer, where it gives one.
    pub(crate) answer: Option<Answer>,
    /// What the backend is to be told.
    pub(crate) told: Vec<Telling>,
    /// What is to be done to the response.
    pub(crate) late: Vec<Late>,
}

/// A field that a backend is told; an empty value is none.
#[derive(Debug)]
pub(crate) struct Telling {
    name: Box<str>,
    value: Vec<u8>,
}

/// Tells a backend what it is to be told.
pub(crate) fn tell(told: Vec<Telling>, request: &mut RequestHead) {
    for Telling { name, value } in told {
        if name.eq_ignore_ascii_case("host") {
            request.set_upstream_authority(&value);
        } else {
            set(&mut request.headers, &name, &value);
        }
    }
}

/// What is to be done to the answer to a request that is refused before any step is run.
pub(crate) fn of_refusal(
    snippet: &Snippet,
    request: &RequestHead,
    path: &[u8],
    frame: Frame<'_>,
) -> Vec<Late> {
    let run = Run::new(snippet, frame);
    let levels = [&snippet.server.edits, &snippet.location.edits];
    run.late(&levels, request, path)
}

/// Runs a snippet. `path` is what goes upstream.
pub(crate) fn run(
    snippet: &Snippet,
    request: &RequestHead,
    path: &mut Vec<u8>,
    frame: Frame<'_>,
) -> Done {
    let mut run = Run::new(snippet, frame);
    let mut levels: Vec<&Edits> = Vec::new();
    let mut answer = None;
    for block in [&snippet.server, &snippet.location] {
        levels.push(&block.edits);
        let (ended, last) = run.block(block, request, path, &levels);
        levels.extend(last.map(|last| &last.edits));
        answer = ended;
        if answer.is_some() {
            break;
        }
    }
    let told = match answer {
        None => run.told(&levels, request, path),
        Some(_) => Vec::new(),
    };
    Done {
        answer,
        told,
        late: run.late(&levels, request, path),
    }
}

/// Whether an answer is what its status means, and not a text of its own.
pub(crate) fn is_page(given: &Given) -> bool {
    given.page
}

struct Run<'a> {
    frame: Frame<'a>,
    /// Captures, then variables.
    values: Vec<Vec<u8>>,
}

/// What follows a step.
enum Flow {
    GoOn,
    /// Nothing more of the block.
    Stop,
    Answer(Answer),
}

impl<'a> Run<'a> {
    fn new(snippet: &Snippet, frame: Frame<'a>) -> Self {
        let variables = usize::from(Snippet::OWN) + usize::from(snippet.variables);
        Self {
            frame,
            values: vec![Vec::new(); variables],
        }
    }

    /// Runs a block's steps. Tells the answer, and the last condition that held.
    fn block<'b>(
        &mut self,
        block: &'b Block,
        request: &RequestHead,
        path: &mut Vec<u8>,
        levels: &[&Edits],
    ) -> (Option<Answer>, Option<&'b If>) {
        let mut last: Option<&If> = None;
        for step in &block.steps {
            let acts = match step {
                Step::Do(act) => std::slice::from_ref(act),
                Step::If(one) if self.holds(&one.condition, request, path) => {
                    last = Some(&**one);
                    &*one.acts
                }
                Step::If(_) => continue,
            };
            for act in acts {
                let own = last.map(|last| &last.edits).into_iter();
                let kind = own.chain(levels.iter().rev().copied());
                let kind = kind.filter_map(|edits| edits.default_type.as_ref()).next();
                match self.act(act, request, path, kind) {
                    Flow::GoOn => {}
                    Flow::Stop => return (None, last),
                    Flow::Answer(answer) => return (Some(answer), last),
                }
            }
        }
        (None, last)
    }

    fn act(
        &mut self,
        act: &Act,
        request: &RequestHead,
        path: &mut Vec<u8>,
        default_type: Option<&Text>,
    ) -> Flow {
        match act {
            Act::Set { variable, value } => {
                let value = self.expand(value, request, path);
                let index = usize::from(Snippet::OWN) + usize::from(*variable);
                if let Some(slot) = self.values.get_mut(index) {
                    *slot = value;
                }
                Flow::GoOn
            }
            Act::Break => Flow::Stop,
            Act::Return { status, says } => {
                Flow::Answer(self.answer(*status, says, request, path, default_type))
            }
            Act::Rewrite { pattern, to, then } => {
                let Some(captures) = pattern.captures(path) else {
                    return Flow::GoOn;
                };
                self.take(&captures.map(<[u8]>::to_vec));
                let to = self.expand(to, request, path);
                match then {
                    Then::Redirect(status) => Flow::Answer(self.sent(*status, to, request, true)),
                    Then::GoOn | Then::Stop => {
                        *path = as_path(&to);
                        match then {
                            Then::Stop => Flow::Stop,
                            _ => Flow::GoOn,
                        }
                    }
                }
            }
        }
    }

    fn holds(&mut self, condition: &Condition, request: &RequestHead, path: &[u8]) -> bool {
        match condition {
            Condition::Is(text) => {
                let value = self.expand(text, request, path);
                !value.is_empty() && value != b"0"
            }
            Condition::Equal { left, right, is } => {
                let left = self.expand(left, request, path);
                (left == self.expand(right, request, path)) == *is
            }
            Condition::Matches { left, pattern, is } => {
                let left = self.expand(left, request, path);
                let captures = pattern.captures(&left);
                let owned = captures.map(|captures| captures.map(<[u8]>::to_vec));
                if let Some(captures) = &owned {
                    self.take(captures);
                }
                owned.is_some() == *is
            }
        }
    }

    fn take(&mut self, captures: &[Vec<u8>]) {
        for (value, capture) in self.values.iter_mut().zip(captures) {
            value.clone_from(capture);
        }
    }

    fn with_scope<T>(
        &self,
        request: &RequestHead,
        path: &[u8],
        look: impl FnOnce(&Scope<'_>) -> T,
    ) -> T {
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        let rule = self.frame.rule;
        look(&Scope {
            request,
            connection: self.frame.connection,
            client: self.frame.client,
            host: self.frame.host,
            path,
            rule,
            backend: match &rule.action {
                model::Action::Forward(backend) => &backend.name,
                _ => "",
            },
            captures: &values,
            response: None,
        })
    }

    fn expand(&self, text: &Text, request: &RequestHead, path: &[u8]) -> Vec<u8> {
        self.with_scope(request, path, |scope| expand(text, scope))
    }

    /// What a text is where no snippet says so.
    fn default_type(&self) -> &[u8] {
        let extras = self.frame.rule.extras.as_ref();
        let said = extras.and_then(|extras| extras.default_type.as_deref());
        said.unwrap_or("text/html").as_bytes()
    }

    fn answer(
        &self,
        status: u16,
        says: &Says,
        request: &RequestHead,
        path: &[u8],
        default_type: Option<&Text>,
    ) -> Answer {
        let (kind, body) = match says {
            Says::Location(text) => {
                return self.sent(status, self.expand(text, request, path), request, false);
            }
            Says::Status => {
                let given = Given {
                    page: status >= 300 && status != 304,
                    ..Given::page(status)
                };
                return Answer::Given(Box::new(given), Reason::Returned);
            }
            Says::Text(text) => {
                let kind = default_type.map(|text| self.expand(text, request, path));
                let kind = kind.unwrap_or_else(|| self.default_type().to_vec());
                (kind, self.expand(text, request, path))
            }
        };
        let mut given = Given {
            status,
            body,
            ..Given::default()
        };
        if !given.body.is_empty() && is_value(&kind) {
            given.headers.push(b"Content-Type", &kind);
        }
        Answer::Given(Box::new(given), Reason::Returned)
    }

    /// The client is sent elsewhere, perhaps with its query.
    fn sent(&self, status: u16, to: Vec<u8>, request: &RequestHead, with_query: bool) -> Answer {
        let mut to = to;
        let query = request.query().strip_prefix(b"?").unwrap_or_default();
        match to.strip_suffix(b"?") {
            Some(bare) if with_query => to = bare.to_vec(),
            _ if with_query && !query.is_empty() => {
                to.push(if to.contains(&b'?') { b'&' } else { b'?' });
                to.extend_from_slice(query);
            }
            _ => {}
        }
        if to.starts_with(b"/") {
            let scheme: &[u8] = match self.frame.connection.tls {
                Some(_) => b"https://",
                None => b"http://",
            };
            to = [scheme, self.frame.host.as_bytes(), &to].concat();
        }
        let mut location = Vec::with_capacity(to.len());
        escape(&to, |byte| byte > b' ' && byte != 0x7f, &mut location);
        Answer::Redirect {
            status,
            location,
            reason: Reason::Returned,
        }
    }

    /// What the backend is to be told, in order; what is said later of a field counts.
    fn told(&self, levels: &[&Edits], request: &RequestHead, path: &[u8]) -> Vec<Telling> {
        let edits = levels.iter().flat_map(|edits| &edits.request);
        let told = edits.filter_map(|edit| {
            let RequestEdit {
                name,
                value,
                if_there,
            } = edit;
            if *if_there && request.headers.joined(name.as_bytes()).is_none() {
                return None;
            }
            let value = self.expand(value, request, path);
            is_value(&value).then(|| Telling {
                name: name.clone(),
                value,
            })
        });
        told.collect()
    }

    /// What is to be done to the response. Of fields that are added, those of the innermost place
    /// that adds any count.
    fn late(&self, levels: &[&Edits], request: &RequestHead, path: &[u8]) -> Vec<Late> {
        let innermost = |wanted: fn(&ResponseEdit) -> bool| {
            levels
                .iter()
                .rposition(|edits| edits.response.iter().any(wanted))
        };
        let adding = innermost(|edit| matches!(edit, ResponseEdit::Add { .. }));
        let expiring = innermost(|edit| matches!(edit, ResponseEdit::Expires(_)));
        let mut late = Vec::new();
        for (level, edits) in levels.iter().enumerate() {
            for edit in &edits.response {
                late.push(match edit {
                    ResponseEdit::Add { .. } if adding != Some(level) => continue,
                    ResponseEdit::Expires(_) if expiring != Some(level) => continue,
                    ResponseEdit::Add {
                        name,
                        value,
                        always,
                    } => Late::Add {
                        name: name.clone(),
                        value: self.parts(value, request, path),
                        always: *always,
                    },
                    ResponseEdit::Set { name, value, of } => Late::Set {
                        name: name.clone(),
                        value: self.parts(value, request, path),
                        of: of.clone(),
                    },
                    ResponseEdit::Clear { name, of } => Late::Clear {
                        name: name.clone(),
                        of: of.clone(),
                    },
                    ResponseEdit::Expires(expires) => Late::Expires(*expires),
                });
            }
        }
        late
    }

    /// A text with the request's parts in their places.
    fn parts(&self, text: &Text, request: &RequestHead, path: &[u8]) -> Vec<Part> {
        self.with_scope(request, path, |scope| {
            let pieces = text.pieces().iter();
            pieces
                .map(|piece| match piece {
                    Piece::Literal(text) => Part::Known(text.as_bytes().to_vec()),
                    Piece::Variable(
                        Variable::SentHeader(name) | Variable::UpstreamHeader(name),
                    ) => Part::Field(name.clone()),
                    Piece::Variable(Variable::Named(Named::Status | Named::UpstreamStatus)) => {
                        Part::Status
                    }
                    Piece::Variable(variable) => {
                        let mut value = Vec::new();
                        write(variable, scope, &mut value);
                        Part::Known(value)
                    }
                })
                .collect()
        })
    }
}

/// A path, whatever a text says.
fn as_path(text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len() + 1);
    if !text.starts_with(b"/") {
        path.push(b'/');
    }
    let is_plain = |byte| byte > b' ' && byte < 0x7f && !matches!(byte, b'?' | b'#' | b'\\');
    escape(text, is_plain, &mut path);
    path
}

fn escape(text: &[u8], is_plain: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    for &byte in text {
        match is_plain(byte) {
            true => out.push(byte),
            false => out.extend(format!("%{byte:02X}").bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_text_says_a_path_stays_a_path() {
        assert_eq!(as_path(b"/a b?c#d"), b"/a%20b%3Fc%23d");
        assert_eq!(as_path(b"a"), b"/a");
        assert_eq!(as_path(b""), b"/");
    }
}
