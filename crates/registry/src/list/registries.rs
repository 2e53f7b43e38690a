//! How lists say that registries are spoken to.

use std::path::PathBuf;
use std::sync::Arc;

use crate::client::{Credential, Credentials, Transport};
use crate::creds::Keychain;
use crate::hidden::Hidden;

/// One registry's settings.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// Who we are there, if the list says so.
    pub login: Option<Login>,
    /// What is under HTTP.
    pub transport: Transport,
    /// Authorities beside the system's: files in PEM, and folders with `*.crt`, `*.cert` and
    /// `*.key` as docker has them.
    pub authorities: Vec<PathBuf>,
    /// How many requests a second there may be.
    pub requests_per_second: Option<f64>,
    /// How many images are copied from there at once.
    pub parallel: Option<usize>,
}

/// Who we are, as a list says it.
#[derive(Debug, Clone)]
pub enum Login {
    /// Written into it.
    Here(Credential),
    /// In files and in variables of the environment.
    Elsewhere {
        /// The name.
        username: String,
        /// Where the password is.
        password: Password,
    },
    /// A file as docker's `config.json`.
    File(PathBuf),
}

/// Where a password is.
#[derive(Debug, Clone)]
pub enum Password {
    /// A file, whose last line end is none of it.
    File(PathBuf),
    /// A variable of the environment.
    Variable(String),
}

impl Login {
    /// What knows the credential for a registry.
    ///
    /// # Errors
    /// A file or variable cannot be read; for people, without what is in it.
    pub fn credentials(&self) -> Result<Arc<dyn Credentials>, String> {
        match self {
            Self::Here(credential) => Ok(Arc::new(credential.clone())),
            Self::File(file) => {
                let keychain = Keychain::of_file(file.clone(), Vec::new());
                Ok(Arc::new(keychain.map_err(|failed| failed.to_string())?))
            }
            Self::Elsewhere { username, password } => Ok(Arc::new(Credential::Password {
                username: username.clone(),
                password: password.read()?,
            })),
        }
    }
}

impl Password {
    fn read(&self) -> Result<Hidden, String> {
        match self {
            Self::File(file) => {
                let text = std::fs::read_to_string(file);
                let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
                Ok(Hidden::new(text.trim_end_matches(['\n', '\r'])))
            }
            Self::Variable(name) => std::env::var(name)
                .map(Hidden::new)
                .map_err(|_| format!("the environment has no {name}")),
        }
    }
}
