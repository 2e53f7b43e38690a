//! A registry that is cached: how it is spoken to, and whether it is there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Host, REFUSED_FOR};
use crate::client::{Client, Credentials, Error, Kind, Settings, Transport};

/// How often a registry that stays away is told of.
const TELL: Duration = Duration::from_mins(5);

/// How a registry is reached.
#[derive(Debug)]
pub(super) struct Reached {
    /// Any certificate will do, and plain HTTP.
    pub(super) insecure: bool,
    /// Authorities beside the system's, in PEM.
    pub(super) authorities: Vec<Vec<u8>>,
    /// What knows who we are.
    pub(super) credentials: Arc<dyn Credentials>,
}

/// A registry that is cached.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) host: Host,
    /// What speaks with it.
    pub(super) client: Client,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// Until when it is left alone, and why.
    away: Option<(Instant, Error)>,
    told: Option<Instant>,
}

impl Upstream {
    /// The only place where its client is made.
    pub(super) fn new(host: Host, reached: Reached) -> Result<Self, Error> {
        let settings = Settings {
            transport: match reached.insecure {
                true => Transport::Either,
                false => Transport::Https,
            },
            authorities: reached.authorities,
            credentials: Some(reached.credentials),
            // Somebody waits, and there may be something to serve.
            retries: 2,
            longest_wait: Duration::from_secs(3),
            idle: Duration::from_secs(30),
            ..Settings::default()
        };
        Ok(Self {
            client: Client::new(host.as_str(), settings)?,
            host,
            health: Mutex::default(),
        })
    }

    /// Why it is not asked now, if it is not.
    pub(super) fn is_away(&self) -> Result<(), Error> {
        match &self.health().away {
            Some((until, why)) if Instant::now() < *until => Err(why.clone()),
            _ => Ok(()),
        }
    }

    /// It has answered, or not.
    pub(super) fn heard(&self, error: Option<&Error>) {
        // Whoever asks for what cannot be there does not have it left alone for others.
        let away = error.filter(|it| !it.is_of_request);
        let away = away.filter(|it| matches!(it.kind, Kind::Unreachable | Kind::Refused));
        let Some(error) = away else {
            let mut health = self.health();
            // A refusal of one repository says nothing of the others.
            health.away = None;
            let is_well = error.is_none_or(|it| it.kind == Kind::NotFound);
            if is_well && health.told.take().is_some() {
                tracing::info!("{} answers again", self.host);
            }
            return;
        };
        self.health().away = Some((Instant::now() + REFUSED_FOR, error.clone()));
        self.tell(&error.message);
    }

    /// Says why what is kept has to do: now and then, however many ask.
    pub(super) fn tell(&self, why: &str) {
        let mut health = self.health();
        let now = Instant::now();
        if health.told.is_none_or(|told| now - told > TELL) {
            health.told = Some(now);
            tracing::warn!("{why}: what is kept of {} is served", self.host);
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
