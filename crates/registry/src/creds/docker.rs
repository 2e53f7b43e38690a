//! A registry with a name and a password that do not change.

use super::{Credential, Hidden};

/// A registry with a name and a password that do not change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Its host.
    pub server: String,
    /// The name.
    pub username: String,
    /// The password.
    pub password: Hidden,
}

impl Docker {
    pub(super) fn credentials(&self) -> Vec<Credential> {
        vec![Credential {
            registry: self.server.clone(),
            username: self.username.clone(),
            secret: self.password.clone(),
            expires: None,
        }]
    }
}
