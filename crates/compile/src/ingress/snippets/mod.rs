//! Snippets: text of nginx's configuration, of which a part is understood. What is not refuses the
//! snippet that it is in, and nothing else.

mod directives;
mod sizes;
mod tokens;

use std::time::Duration;

use model::filter::Snippet;
use model::filter::snippet::Block;

use super::annotations::snippets::Snippets;
use directives::{Names, Reader};
pub(crate) use sizes::time;

/// Where in nginx's configuration a snippet stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Of a host.
    Server,
    /// Of a path.
    Location,
    /// Under a condition.
    If,
}

/// What snippets say that is no filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// `client_max_body_size`, in bytes; 0 is no limit.
    pub(crate) max_body: Option<u64>,
    /// `proxy_connect_timeout`.
    pub(crate) connect: Option<Duration>,
    /// `proxy_send_timeout`.
    pub(crate) send: Option<Duration>,
    /// `proxy_read_timeout`.
    pub(crate) read: Option<Duration>,
}

/// Why a snippet is not understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// From 1 on.
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// What an Ingress's snippets say.
#[derive(Debug, Default)]
pub(super) struct Understood {
    pub(super) snippet: Snippet,
    pub(super) overrides: Overrides,
    /// Of the host's.
    pub(super) server: Option<Refused>,
    /// Of the paths'.
    pub(super) location: Option<Refused>,
}

/// The word that a text is in nginx's configuration, without its quotes; none if it is not one.
pub(crate) fn one_word(text: &str) -> Option<String> {
    let directives = tokens::read(&format!("is {text};")).ok()?;
    let [directive] = &*directives else {
        return None;
    };
    match (&*directive.words, &directive.block) {
        ([word], None) => Some(word.clone()),
        _ => None,
    }
}

/// Reads an Ingress's snippets, with those that hold for all behind them, which stay where its own
/// are refused.
pub(super) fn read_over(own: &Snippets, all: &Snippets) -> Understood {
    let texts = |own: &Option<Box<str>>, all: &Option<Box<str>>| -> Vec<_> {
        own.iter().chain(all).cloned().collect()
    };
    let server = texts(&own.server, &all.server);
    let location = texts(&own.location, &all.location);
    let understood = read_texts(&server, &location);
    if understood.server.is_none() && understood.location.is_none() {
        return understood;
    }
    let left = |refused: bool, texts: Vec<Box<str>>, all: &Option<Box<str>>| match refused {
        true => all.iter().cloned().collect(),
        false => texts,
    };
    let server = left(understood.server.is_some(), server, &all.server);
    let location = left(understood.location.is_some(), location, &all.location);
    Understood {
        server: understood.server,
        location: understood.location,
        ..read_texts(&server, &location)
    }
}

/// Whether a text is understood as a host's snippet, or as one of paths.
pub(crate) fn is_understood(text: &str, of_host: bool) -> bool {
    let text = [text.into()];
    let understood = match of_host {
        true => read_texts(&text, &[]),
        false => read_texts(&[], &text),
    };
    understood.server.is_none() && understood.location.is_none()
}

/// Reads the snippets of a host and of its paths, each of several texts.
fn read_texts(server: &[Box<str>], location: &[Box<str>]) -> Understood {
    let mut names = Names::default();
    let mut overrides = Overrides::default();
    let mut one = |texts: &[Box<str>], place| match texts {
        [] => (Block::default(), None),
        texts => {
            // A snippet that is refused leaves nothing behind.
            let (mut names_then, mut overrides_then) = (names.clone(), overrides);
            let mut reader = Reader {
                names: &mut names_then,
                overrides: &mut overrides_then,
            };
            match block(texts, place, &mut reader) {
                Ok(block) => {
                    (names, overrides) = (names_then, overrides_then);
                    (block, None)
                }
                Err(refused) => (Block::default(), Some(refused)),
            }
        }
    };
    let (server, server_refused) = one(server, Place::Server);
    let (location, location_refused) = one(location, Place::Location);
    Understood {
        snippet: Snippet {
            server,
            location,
            variables: names.count(),
        },
        overrides,
        server: server_refused,
        location: location_refused,
    }
}

fn block(texts: &[Box<str>], place: Place, reader: &mut Reader<'_>) -> Result<Block, Refused> {
    let mut directives = Vec::new();
    for text in texts {
        let read = tokens::read(text).map_err(|bad| Refused {
            line: bad.line,
            message: bad.message.to_owned(),
        })?;
        directives.extend(read);
    }
    reader.block(&directives, place)
}

/// Reads a snippet about the question that is asked before a request may pass: the one place there
/// is (`auth-snippet`).
pub(crate) fn read_question(text: &str) -> Result<(Snippet, Overrides), Refused> {
    let Understood {
        snippet,
        overrides,
        location,
        ..
    } = read_texts(&[], &[text.into()]);
    match location {
        Some(refused) => Err(refused),
        None => Ok((snippet, overrides)),
    }
}

#[cfg(test)]
mod tests;
