//! Who we are to registries.

use std::fmt;

use futures_util::future::BoxFuture;

use super::error::Error;
use crate::hidden::Hidden;

/// Who we are to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Hidden,
    },
    /// A token that its token service exchanges (`identitytoken`).
    Identity(Hidden),
    /// A token that the registry itself takes (`registrytoken`).
    Bearer(Hidden),
}

/// What knows who we are to registries.
pub trait Credentials: fmt::Debug + Send + Sync {
    /// What to show a registry for a repository, or for any if that is empty. Asked when the
    /// registry wants to know, and again when it does not take what it was shown.
    ///
    /// # Errors
    /// There may be something, and it could not be had.
    fn find<'a>(
        &'a self,
        host: &'a str,
        repository: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>>;
}

impl Credential {
    /// A name and a password.
    pub fn password(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self::Password {
            username: username.into(),
            password: Hidden::new(password),
        }
    }
}

/// The same for every registry that is asked.
impl Credentials for Credential {
    fn find<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(async { Ok(Some(self.clone())) })
    }
}
