//! Copies of requests for somewhere else.

use std::sync::Arc;

use crate::backend::Backend;
use crate::text::Text;

/// A copy of every request for somewhere else, whose response nobody reads (ingress-nginx:
/// `mirror-target`).
#[derive(Debug, Clone)]
pub struct MirrorTo {
    /// Who gets it.
    pub backend: Arc<Backend>,
    /// The path, and perhaps the query, that it is asked for.
    pub target: Text,
    /// Whether the request's own query follows, which it does where the target has no variables.
    pub keeps_query: bool,
    /// The `Host` of the copy.
    pub host: Text,
    /// Whether the body is copied.
    pub body: bool,
}

impl PartialEq for MirrorTo {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.backend, &other.backend)
            && (&self.target, self.keeps_query, &self.host, self.body)
                == (&other.target, other.keeps_query, &other.host, other.body)
    }
}

impl Eq for MirrorTo {}
