//! How one registry is spoken to.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;

/// What is under HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// TLS, with a certificate that the system or the given authorities vouch for. A registry of
    /// this machine, as its name is `localhost` or a loopback address, may speak plain HTTP, unless
    /// an authority or a certificate of ours is given.
    #[default]
    Https,
    /// TLS, whoever answers.
    Unverified,
    /// Nothing: plain HTTP.
    Plain,
    /// TLS, whoever answers, and plain HTTP where there is no TLS.
    Either,
}

/// How one registry is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What is under HTTP.
    pub transport: Transport,
    /// Authorities beside the system's, in PEM, each possibly several.
    pub authorities: Vec<Vec<u8>>,
    /// Our certificate and its key, in PEM, if the registry wants one.
    pub identity: Option<Vec<u8>>,
    /// What knows who we are.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// How many requests a second there may be; any number if none.
    pub requests_per_second: Option<f64>,
    /// How often a request is made again that failed for reasons that pass.
    pub retries: u32,
    /// The first wait before that; each one after it is twice as long.
    pub first_wait: Duration,
    /// The longest wait, also where the registry names a longer one.
    pub longest_wait: Duration,
    /// How long nothing may come or go.
    pub idle: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            transport: Transport::Https,
            authorities: Vec::new(),
            identity: None,
            credentials: None,
            requests_per_second: None,
            retries: 5,
            first_wait: Duration::from_millis(250),
            longest_wait: Duration::from_mins(5),
            idle: Duration::from_mins(2),
        }
    }
}
