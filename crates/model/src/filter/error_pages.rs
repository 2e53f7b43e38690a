//! Who answers in the place of a backend that fails.

use std::sync::Arc;

use crate::backend::Backend;

/// Who answers in the place of a backend that fails, or that has no endpoint (ingress-nginx:
/// `custom-http-errors`, `default-backend`).
#[derive(Debug, Clone)]
pub struct ErrorPages {
    /// The statuses that somebody else answers for.
    pub codes: Box<[u16]>,
    /// Whether those of backends are among them, and not our own alone
    /// (`disable-proxy-intercept-errors`).
    pub intercepts: bool,
    /// Whether the Ingress's own answers for errors: its own annotation says for which.
    pub answers: bool,
    /// The Ingress's own (`default-backend`), which takes requests where their backend has no
    /// endpoint.
    pub own: Option<Arc<Backend>>,
    /// Who is asked where that one is not, or has no endpoint; none answers 404.
    pub general: Option<Arc<Backend>>,
}

impl ErrorPages {
    /// Whether somebody else answers in the place of such an answer.
    pub fn replaces(&self, status: u16) -> bool {
        self.codes.contains(&status)
    }

    /// The Ingress's own, if it has endpoints.
    pub fn own(&self) -> Option<&Arc<Backend>> {
        self.own
            .as_ref()
            .filter(|own| !own.endpoints().ready.is_empty())
    }

    /// Who is asked for an error's page; none answers 404.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        let own = self.own().filter(|_| self.answers);
        own.or(self.general.as_ref())
    }
}

impl PartialEq for ErrorPages {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Backend>>, b: &Option<Arc<Backend>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        self.codes == other.codes
            && (self.intercepts, self.answers) == (other.intercepts, other.answers)
            && same(&self.own, &other.own)
            && same(&self.general, &other.general)
    }
}

impl Eq for ErrorPages {}
