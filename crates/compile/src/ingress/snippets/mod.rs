//! Snippets: text of nginx's configuration, of which a part is understood. What is not refuses the
//! snippet that it is in, and nothing else.

mod directives;
mod sizes;
mod tokens;

use std::time::Duration;

use model::filter::Snippet;
use model::filter::snippet::Block;

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

/// Reads an Ingress's snippets.
pub(super) fn read(server: Option<&str>, location: Option<&str>) -> Understood {
    let mut names = Names::default();
    let mut overrides = Overrides::default();
    let mut one = |text: Option<&str>, place| match text {
        None => (Block::default(), None),
        Some(text) => {
            // A snippet that is refused leaves nothing behind.
            let (mut names_then, mut overrides_then) = (names.clone(), overrides);
            let mut reader = Reader {
                names: &mut names_then,
                overrides: &mut overrides_then,
            };
            match block(text, place, &mut reader) {
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

fn block(text: &str, place: Place, reader: &mut Reader<'_>) -> Result<Block, Refused> {
    let directives = tokens::read(text).map_err(|bad| Refused {
        line: bad.line,
        message: bad.message.to_owned(),
    })?;
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
    } = read(None, Some(text));
    match location {
        Some(refused) => Err(refused),
        None => Ok((snippet, overrides)),
    }
}

#[cfg(test)]
mod tests;
