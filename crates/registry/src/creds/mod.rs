//! Credentials of outside registries: where they come from, and when they are renewed.
//!
//! In: a [`Source`] for each provider, from the Secrets and environment variables that minikube's addon
//! `registry-creds` has ([`addon`]), or from manifests of our own ([`manifest`]). Out: [`Credential`]s that are
//! renewed well before they end, by a [`Keeper`], or asked for by host, by a [`Keychain`]; and what a Secret of type
//! `kubernetes.io/dockerconfigjson` has to hold ([`docker_config`]).
//!
//! What a provider answers is limited in size and time, and no secret is in an error or in what
//! `Debug` writes.

mod acr;
pub mod addon;
mod docker;
pub mod docker_config;
mod ecr;
mod gcr;
mod helper;
mod http;
mod keeper;
mod keychain;
pub mod manifest;
mod place;
mod time;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod fuzz;

use std::time::SystemTime;

use crate::client;
pub use crate::hidden::Hidden;

pub use acr::{Acr, Exchange};
pub use docker::Docker;
pub use ecr::{Ecr, Identity};
pub use gcr::Gcr;
pub use http::{Failed, Http};
pub use keeper::{Keeper, Retry, RetryKind, Schedule, Standing, Witness};
pub use keychain::{Keychain, host_of};
pub use place::{Labels, Names, Places};

/// What a registry is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The registry's host, with its port if it has one, and without a scheme.
    pub registry: String,
    /// Who we are to it. `<token>`, as with docker's credential helpers, means that the secret is a refresh token.
    pub username: String,
    /// The password or token.
    pub secret: Hidden,
    /// When it ends, where the provider says so.
    pub expires: Option<SystemTime>,
}

impl From<Credential> for client::Credential {
    fn from(given: Credential) -> Self {
        match given.username.as_str() {
            "<token>" => Self::Identity(given.secret),
            _ => Self::Password {
                username: given.username,
                password: given.secret,
            },
        }
    }
}

/// Who gives credentials, and what they are asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A registry with a name and a password that do not change.
    Docker(Docker),
    /// Google's Artifact Registry and Container Registry.
    Gcr(Gcr),
    /// Amazon's Elastic Container Registry.
    Ecr(Ecr),
    /// Azure's Container Registry.
    Acr(Acr),
}

/// What a provider gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// The credentials; there is at least one.
    pub credentials: Vec<Credential>,
    /// Why some are missing that were asked for: one of several regions does not answer.
    pub lacks: Option<Failed>,
}

impl Source {
    /// `docker`, `gcr`, `ecr` or `acr`.
    pub const fn provider(&self) -> &'static str {
        match self {
            Self::Docker(_) => "docker",
            Self::Gcr(_) => "gcr",
            Self::Ecr(_) => "ecr",
            Self::Acr(_) => "acr",
        }
    }

    /// Asks the provider, once.
    ///
    /// # Errors
    /// Why there is no credential; without any secret.
    pub async fn ask(&self, http: &Http, now: SystemTime) -> Result<Obtained, Failed> {
        let mut lacks = None;
        let credentials = match self {
            Self::Docker(docker) => docker.credentials(),
            Self::Gcr(gcr) => gcr.ask(http, now).await?,
            Self::Ecr(ecr) => {
                let obtained = ecr.ask(http, now).await?;
                lacks = obtained.lacks;
                obtained.credentials
            }
            Self::Acr(acr) => acr.ask(http, now).await?,
        };
        if credentials.is_empty() {
            return Err(Failed::new("it names no registry"));
        }
        let has_ended = |one: &Credential| one.expires.is_some_and(|end| end <= now);
        if credentials.iter().any(has_ended) {
            return Err(Failed::new(
                "what it gives has ended already: is the clock right?",
            ));
        }
        Ok(Obtained { credentials, lacks })
    }

    /// Whether it certainly has nothing for a registry's host. What only the provider knows is asked.
    fn excludes(&self, host: &str) -> bool {
        match self {
            Self::Docker(it) => it.server != host,
            Self::Gcr(it) => !it.registries.iter().any(|one| one == host),
            // Accounts of others may be among the hosts, but all hosts are Amazon's.
            Self::Ecr(it) => !it.may_be(host),
            Self::Acr(it) => it.registry != host,
        }
    }
}

/// A source, and where what it gives is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The Secret's name; no two grants have the same.
    pub secret: String,
    /// Who gives it.
    pub source: Source,
    /// Who gets it.
    pub places: Places,
    /// Where we know it from, for people: `Secret kube-system/registry-creds-ecr`.
    pub origin: String,
}
