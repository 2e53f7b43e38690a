//! Directives that are understood.

use model::Pattern;
use model::filter::Snippet;
use model::filter::snippet::{
    Act, Block, Condition, Edits, Expires, If, RequestEdit, ResponseEdit, Responses, Says, Step,
    Then,
};
use model::text::{Text, Variable};

use super::tokens::Directive;
use super::{Overrides, Place, Refused, sizes};

/// The most variables that snippets may set.
const MOST_VARIABLES: usize = 64;

/// The variables that snippets set.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Vec<String>);

impl Names {
    /// How many there are.
    pub(super) fn count(&self) -> u8 {
        // There are no more than MOST_VARIABLES.
        u8::try_from(self.0.len()).unwrap_or(u8::MAX)
    }

    fn number(&self, name: &str) -> Option<u8> {
        let index = self.0.iter().position(|known| known == name)?;
        u8::try_from(index).ok()
    }

    fn add(&mut self, name: &str) -> Result<u8, String> {
        if let Some(number) = self.number(name) {
            return Ok(number);
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(format!("${name} is no name of a variable"));
        }
        if Variable::of(name).is_some() {
            return Err(format!("${name} cannot be set"));
        }
        if self.0.len() == MOST_VARIABLES {
            return Err(format!("more than {MOST_VARIABLES} variables are set"));
        }
        self.0.push(name.to_owned());
        Ok(self.count() - 1)
    }

    fn text(&self, text: &str) -> Result<Text, String> {
        let own = |name: &str| {
            let number = self.number(name)?;
            Some(Variable::Capture(Snippet::OWN + number))
        };
        Text::parse_with(text, own).map_err(|unknown| unknown.to_string())
    }
}

/// Reads directives.
pub(super) struct Reader<'a> {
    pub(super) names: &'a mut Names,
    pub(super) overrides: &'a mut Overrides,
}

/// What a directive comes to.
enum Read {
    Act(Act),
    If(Box<If>),
    Request(Vec<RequestEdit>),
    Response(Vec<ResponseEdit>),
    DefaultType(Text),
    /// It is done already, or there is nothing to do.
    Nothing,
}

impl Reader<'_> {
    /// Reads what is in one place. Every variable that is set anywhere is known everywhere, as in
    /// nginx.
    pub(super) fn block(&mut self, all: &[Directive], place: Place) -> Result<Block, Refused> {
        self.learn(all)?;
        let mut steps = Vec::new();
        let mut edits = Collected::default();
        for one in all {
            match self.directive(one, place)? {
                Read::Act(act) => steps.push(Step::Do(act)),
                Read::If(read) => steps.push(Step::If(read)),
                other => edits.take(other),
            }
        }
        Ok(Block {
            steps: steps.into(),
            edits: edits.into(),
        })
    }

    fn learn(&mut self, all: &[Directive]) -> Result<(), Refused> {
        for one in all {
            if one.name == "set"
                && let Some(name) = one.words.first().and_then(|word| word.strip_prefix('$'))
            {
                self.names.add(name).map_err(|why| refused(one, &why))?;
            }
            self.learn(one.block.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }

    fn directive(&mut self, one: &Directive, place: Place) -> Result<Read, Refused> {
        if one.name == "if" {
            return self.condition(one, place);
        }
        if one.block.is_some() {
            return Err(refused(one, "a block is not understood here"));
        }
        let words: Vec<&str> = one.words.iter().map(String::as_str).collect();
        let read = match (one.name.as_str(), place) {
            ("set" | "return" | "rewrite" | "break", _) => self.act(&one.name, &words),
            ("add_header", _) => self.add_header(&words).map(response),
            ("more_set_headers", _) => self.more_set(&words),
            ("more_clear_headers", _) => more_clear(&words),
            ("more_set_input_headers", _) => self.more_set_input(&words),
            ("more_clear_input_headers", _) => more_clear_input(&words),
            ("expires", _) => expires(&words),
            ("default_type", _) => match words[..] {
                [kind] => self.names.text(kind).map(Read::DefaultType),
                _ => Err("takes one type".to_owned()),
            },
            // The paths have fields of their own, so that those of the host count for nothing.
            ("proxy_set_header", Place::Server) => Ok(Read::Nothing),
            ("proxy_set_header", Place::Location) => self.proxy_set(&words),
            ("proxy_hide_header", Place::Server | Place::Location) => hide(&words),
            // Nothing is hidden that this would show.
            ("proxy_pass_header", Place::Server | Place::Location) => Ok(Read::Nothing),
            (
                "client_max_body_size"
                | "proxy_connect_timeout"
                | "proxy_send_timeout"
                | "proxy_read_timeout",
                Place::Server | Place::Location,
            ) => self.limit(&one.name, &words, place),
            _ => Err(match place {
                Place::If => "is not understood under a condition".to_owned(),
                _ => "is not understood".to_owned(),
            }),
        };
        read.map_err(|why| refused(one, &why))
    }

    /// A directive of nginx's rewrite module.
    fn act(&mut self, name: &str, words: &[&str]) -> Result<Read, String> {
        let act = match (name, words) {
            ("set", [variable, value]) => {
                let name = variable.strip_prefix('$');
                let name = name.ok_or("takes a name that begins with a dollar sign")?;
                Act::Set {
                    variable: self.names.add(name)?,
                    value: self.names.text(value)?,
                }
            }
            ("break", []) => Act::Break,
            ("return", words) => self.returned(words)?,
            ("rewrite", [pattern, to]) => self.rewrite(pattern, to, Then::GoOn)?,
            ("rewrite", [pattern, to, flag]) => {
                let then = match *flag {
                    "last" | "break" => Then::Stop,
                    "redirect" => Then::Redirect(302),
                    "permanent" => Then::Redirect(301),
                    _ => return Err("has a flag that nginx does not know".to_owned()),
                };
                self.rewrite(pattern, to, then)?
            }
            _ => return Err("has too many words, or too few".to_owned()),
        };
        Ok(Read::Act(act))
    }

    fn returned(&self, words: &[&str]) -> Result<Act, String> {
        let is_url = |text: &str| {
            ["http://", "https://", "$scheme"]
                .iter()
                .any(|begin| text.starts_with(begin))
        };
        let (status, text) = match *words {
            [url] if is_url(url) => (302, Some(url)),
            [status] => (code(status)?, None),
            [status, text] => (code(status)?, Some(text)),
            _ => return Err("takes a status, and perhaps a text or a URL".to_owned()),
        };
        let says = match text {
            None => Says::Status,
            Some(text) => {
                let text = self.names.text(text)?;
                match status {
                    301 | 302 | 303 | 307 | 308 => Says::Location(text),
                    _ => Says::Text(text),
                }
            }
        };
        Ok(Act::Return { status, says })
    }

    fn rewrite(&self, pattern: &str, to: &str, then: Then) -> Result<Act, String> {
        let is_elsewhere = ["http://", "https://", "$scheme"]
            .iter()
            .any(|begin| to.starts_with(begin));
        let then = match then {
            Then::GoOn | Then::Stop if is_elsewhere => Then::Redirect(302),
            then => then,
        };
        if to.contains('?') && !matches!(then, Then::Redirect(_)) {
            return Err("with a query in its target is not understood".to_owned());
        }
        Ok(Act::Rewrite {
            pattern: Pattern::anywhere(pattern)?,
            to: self.names.text(to)?,
            then,
        })
    }

    fn condition(&mut self, one: &Directive, place: Place) -> Result<Read, Refused> {
        if place == Place::If {
            return Err(refused(one, "cannot be under another condition"));
        }
        let Some(block) = &one.block else {
            return Err(refused(one, "has no block"));
        };
        let condition = self.asked(&one.words).map_err(|why| refused(one, &why))?;
        let Block { steps, edits } = self.block(block, Place::If)?;
        let acts = steps.into_vec().into_iter().filter_map(|step| match step {
            Step::Do(act) => Some(act),
            // There are none under a condition.
            Step::If(_) => None,
        });
        Ok(Read::If(Box::new(If {
            condition,
            acts: acts.collect(),
            edits,
        })))
    }

    /// What is between the parentheses.
    fn asked(&self, words: &[String]) -> Result<Condition, String> {
        const TAKES: &str = "takes ($variable), or ($variable = text) with =, !=, ~, ~*, !~ or !~*";
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        let open = words.first_mut().ok_or(TAKES)?;
        *open = open.strip_prefix('(').ok_or(TAKES)?;
        let close = words.last_mut().ok_or(TAKES)?;
        *close = close.strip_suffix(')').ok_or(TAKES)?;
        let inner = words.len();
        let mut at = 0;
        // A parenthesis by itself leaves an empty word, which is no text: that has quotes.
        words.retain(|word| {
            at += 1;
            !(word.is_empty() && (at == 1 || at == inner))
        });
        let variable = |word: &str| match word.starts_with('$') {
            true => self.names.text(word),
            false => Err(TAKES.to_owned()),
        };
        match words[..] {
            [word] => Ok(Condition::Is(variable(word)?)),
            [left, operator @ ("=" | "!="), right] => Ok(Condition::Equal {
                left: variable(left)?,
                right: self.names.text(right)?,
                is: operator == "=",
            }),
            [left, operator @ ("~" | "~*" | "!~" | "!~*"), pattern] => {
                let pattern = match operator.ends_with('*') {
                    true => Pattern::anywhere(&format!("(?i){pattern}"))?,
                    false => Pattern::anywhere(pattern)?,
                };
                Ok(Condition::Matches {
                    left: variable(left)?,
                    pattern,
                    is: !operator.starts_with('!'),
                })
            }
            _ => Err(TAKES.to_owned()),
        }
    }

    fn add_header(&self, words: &[&str]) -> Result<ResponseEdit, String> {
        let (name, value, always) = match *words {
            [name, value] => (name, value, false),
            [name, value, "always"] => (name, value, true),
            _ => return Err("takes a name, a value and perhaps `always`".to_owned()),
        };
        Ok(ResponseEdit::Add {
            name: field(name)?,
            value: self.names.text(value)?,
            always,
        })
    }

    fn more_set(&self, words: &[&str]) -> Result<Read, String> {
        let (fields, of) = responses(words)?;
        let edits = fields.into_iter().map(|text| {
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            Ok(ResponseEdit::Set {
                name: field(name.trim())?,
                value: self.names.text(value.trim())?,
                of: of.clone(),
            })
        });
        edits.collect::<Result<_, String>>().map(Read::Response)
    }

    fn more_set_input(&self, words: &[&str]) -> Result<Read, String> {
        let (if_there, words) = match words {
            ["-r", rest @ ..] => (true, rest),
            words => (false, words),
        };
        if words.is_empty() {
            return Err("takes `name: value`".to_owned());
        }
        let edits = words.iter().map(|text| {
            let (name, value) = text.split_once(':').unwrap_or((text, ""));
            Ok(RequestEdit {
                name: field(name.trim())?,
                value: self.names.text(value.trim())?,
                if_there,
            })
        });
        edits.collect::<Result<_, String>>().map(Read::Request)
    }

    fn proxy_set(&self, words: &[&str]) -> Result<Read, String> {
        let [name, value] = *words else {
            return Err("takes a name and a value".to_owned());
        };
        Ok(Read::Request(vec![RequestEdit {
            name: field(name)?,
            value: self.names.text(value)?,
            if_there: false,
        }]))
    }

    fn limit(&mut self, name: &str, words: &[&str], place: Place) -> Result<Read, String> {
        let [word] = *words else {
            return Err("takes one value".to_owned());
        };
        let time = || sizes::time(word).ok_or("takes a time, as 60s");
        // Of the times, the paths have their own already.
        let times = place == Place::Location;
        match name {
            "client_max_body_size" => {
                let size = sizes::bytes(word).ok_or("takes a size, as 10m")?;
                self.overrides.max_body = Some(size);
            }
            "proxy_connect_timeout" => {
                let time = time()?;
                self.overrides.connect = times.then_some(time);
            }
            "proxy_send_timeout" => {
                let time = time()?;
                self.overrides.send = times.then_some(time);
            }
            _ => {
                let time = time()?;
                self.overrides.read = times.then_some(time);
            }
        }
        Ok(Read::Nothing)
    }
}

#[derive(Default)]
struct Collected {
    request: Vec<RequestEdit>,
    response: Vec<ResponseEdit>,
    default_type: Option<Text>,
}

impl Collected {
    fn take(&mut self, read: Read) {
        match read {
            Read::Request(edits) => self.request.extend(edits),
            Read::Response(edits) => self.response.extend(edits),
            Read::DefaultType(text) => self.default_type = Some(text),
            Read::Act(_) | Read::If(_) | Read::Nothing => {}
        }
    }
}

impl From<Collected> for Edits {
    fn from(collected: Collected) -> Self {
        Self {
            request: collected.request.into(),
            response: collected.response.into(),
            default_type: collected.default_type,
        }
    }
}

fn refused(one: &Directive, why: &str) -> Refused {
    Refused {
        line: one.line,
        message: format!("`{}` {why}", one.name),
    }
}

fn response(edit: ResponseEdit) -> Read {
    Read::Response(vec![edit])
}

/// A status that can be returned.
fn code(text: &str) -> Result<u16, String> {
    let code: Option<u16> = text.parse().ok();
    code.filter(|code| (200..=599).contains(code) && *code != 444)
        .ok_or_else(|| "takes a status from 200 to 599".to_owned())
}

/// A field's name.
fn field(name: &str) -> Result<Box<str>, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !name.is_empty() && name.bytes().all(is_token) && !name.contains('$') {
        true => Ok(name.into()),
        false => Err(format!("{name:?} is no name of a field")),
    }
}

/// `-s` and `-t` of the headers-more module, and the rest.
fn responses<'a>(words: &[&'a str]) -> Result<(Vec<&'a str>, Responses), String> {
    let mut fields = Vec::new();
    let mut statuses = Vec::new();
    let mut types: Vec<Box<str>> = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-s" => {
                let list = words.next().ok_or("takes statuses after -s")?;
                for status in list.split_whitespace() {
                    statuses.push(status.parse().map_err(|_| "takes statuses after -s")?);
                }
            }
            "-t" => {
                let list = words.next().ok_or("takes types after -t")?;
                types.extend(list.split_whitespace().map(Box::from));
            }
            option if option.starts_with('-') => {
                return Err(format!("has an option that is not understood: {option}"));
            }
            text => fields.push(text),
        }
    }
    if fields.is_empty() {
        return Err("names no field".to_owned());
    }
    let responses = Responses {
        statuses: statuses.into(),
        types: types.into(),
    };
    Ok((fields, responses))
}

fn more_clear(words: &[&str]) -> Result<Read, String> {
    let (fields, of) = responses(words)?;
    let edits = fields.into_iter().map(|name| {
        let bare = name.trim().trim_end_matches(':');
        field(bare.strip_suffix('*').unwrap_or(bare))?;
        Ok(ResponseEdit::Clear {
            name: bare.into(),
            of: of.clone(),
        })
    });
    edits.collect::<Result<_, String>>().map(Read::Response)
}

fn more_clear_input(words: &[&str]) -> Result<Read, String> {
    if words.is_empty() {
        return Err("names no field".to_owned());
    }
    let edits = words.iter().map(|name| {
        Ok(RequestEdit {
            name: field(name.trim().trim_end_matches(':'))?,
            value: Text::default(),
            if_there: false,
        })
    });
    edits.collect::<Result<_, String>>().map(Read::Request)
}

fn hide(words: &[&str]) -> Result<Read, String> {
    let [name] = *words else {
        return Err("takes one name".to_owned());
    };
    Ok(response(ResponseEdit::Clear {
        name: field(name)?,
        of: Responses::default(),
    }))
}

fn expires(words: &[&str]) -> Result<Read, String> {
    const TAKES: &str = "takes a time, epoch, max or off";
    let [word] = *words else {
        return Err(TAKES.to_owned());
    };
    let expires = match word {
        "off" => return Ok(Read::Nothing),
        "epoch" => Expires::Epoch,
        "max" => Expires::Max,
        time => {
            let (sign, digits) = match time.strip_prefix('-') {
                Some(digits) => (-1, digits),
                None => (1, time.strip_prefix('+').unwrap_or(time)),
            };
            let seconds = sizes::time(digits).ok_or(TAKES)?.as_secs();
            Expires::Seconds(sign * i64::try_from(seconds).map_err(|_| TAKES)?)
        }
    };
    Ok(response(ResponseEdit::Expires(expires)))
}
