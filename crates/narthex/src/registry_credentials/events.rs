//! What becomes of each question to a provider: logged, counted, and told by Events.

use std::sync::Arc;

use cluster::pull_secrets::{Events, Happened};
use registry::creds::{Failed, Standing, Witness};

use super::Book;

/// Tells it.
#[derive(Debug)]
pub(super) struct Teller {
    events: Events,
    book: Arc<Book>,
    /// The Secrets whose last question failed.
    failing: std::collections::BTreeSet<String>,
}

impl Teller {
    pub(super) fn new(events: Events, book: Arc<Book>) -> Self {
        Self {
            events,
            book,
            failing: std::collections::BTreeSet::new(),
        }
    }

    /// On the Secret that it is configured by, if it is one.
    fn tell(&self, standing: &Standing, happened: Happened) {
        let secret = standing.grant.origin.strip_prefix("Secret ");
        let Some((namespace, name)) = secret.and_then(|it| it.split_once('/')) else {
            return;
        };
        let events = self.events.clone();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        tokio::spawn(async move {
            events.tell((&namespace, &name), &happened).await;
        });
    }
}

impl Witness for Teller {
    fn asked(&mut self, standing: &Standing, result: Result<(), &Failed>) {
        self.book.count(standing, result.is_ok());
        let (secret, origin) = (&standing.grant.secret, &standing.grant.origin);
        match result {
            Ok(()) => {
                tracing::debug!("the credential of {secret} ({origin}) is fresh");
                if self.failing.remove(secret) {
                    tracing::info!("the credential of {secret} ({origin}) is fresh again");
                    let text = format!("the credential of {secret} is fresh again");
                    self.tell(standing, Happened::Refreshed(text));
                }
            }
            Err(failed) => {
                let kept = match (standing.credentials.is_some(), standing.expires()) {
                    (false, _) => "nothing is known here to be good; what was written before stays",
                    (true, Some(end)) if end <= std::time::SystemTime::now() => {
                        "the last one has ended, and stays"
                    }
                    (true, _) => "the last good one stays",
                };
                let text = format!("the credential of {secret} is not refreshed: {failed}; {kept}");
                if self.failing.insert(secret.clone()) {
                    tracing::warn!("{origin}: {text}");
                }
                self.tell(standing, Happened::Failed(text, standing.failures));
            }
        }
    }

    fn forgotten(&mut self, standing: &Standing) {
        self.failing.remove(&standing.grant.secret);
        self.book.forget(standing);
    }

    fn stopped(&mut self) {
        self.failing.clear();
        self.book.forget_all();
    }
}
