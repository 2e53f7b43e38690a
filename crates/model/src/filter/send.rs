//! Clients that are sent where a text says.

use crate::text::Text;

/// Sends the client where a text says (nginx: `return 301 text`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// The status; of another one than 301, 302, 303, 307 and 308 the text is the body.
    pub status: u16,
    /// Where to.
    pub to: Text,
    /// What comes after it as the client sent it.
    pub rest: Rest,
    /// Whether a path is made a URL of the request's own scheme and host (nginx:
    /// `absolute_redirect`).
    pub absolute: bool,
    /// Whether that URL has the port in it, where the scheme means another one (nginx:
    /// `port_in_redirect`).
    pub names_port: bool,
}

/// What comes after the text of a [`Send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// The query, where there is one.
    Query,
    /// Path and query, without a slash at their end.
    TargetWithoutSlash,
}
