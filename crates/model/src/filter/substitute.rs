//! Paths that are put together from what a pattern captures.

use crate::condition::Pattern;
use crate::text::Text;

/// The request goes on with a path that a text says (nginx: `rewrite pattern text break`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Substitute {
    /// What the path has to have in it; else it stays as it is.
    pub pattern: Pattern,
    /// What takes the place of the whole path.
    pub to: Text,
    /// Whether the client is sent there instead, because it is a URL (302).
    pub redirects: bool,
    /// What the backend is told with `X-Forwarded-Prefix`, whether the pattern is found or not.
    pub prefix: Option<Text>,
}
