//! What is told of certificates that are obtained: to `narthex certs list`, to metrics, and to those
//! who ask for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use admin::view;
use certs::keeper::{Done, Outcome};
use compile::CertificateWish;
use objects::Store;
use objects::kinds::ObjectKey;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

/// Why certificates are not obtained or not renewed, by the Secret's namespace and name.
pub(crate) type News = BTreeMap<(Box<str>, Box<str>), String>;

/// What is known of each certificate.
#[derive(Debug)]
pub(crate) struct Book {
    entries: Mutex<BTreeMap<String, Entry>>,
    news: watch::Sender<News>,
    orders: Family<Labels, Counter>,
}

#[derive(Debug, Clone)]
struct Entry {
    wish: CertificateWish,
    is_under_way: bool,
    next: Option<SystemTime>,
    error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    issuer: String,
    outcome: &'static str,
}

impl Book {
    /// Nothing yet. Its counters are the registry's.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let orders = Family::default();
        let help = "Certificates that were to be obtained, by issuer and by what came of it";
        registry.register("narthex_certificate_orders", help, Family::clone(&orders));
        Self {
            entries: Mutex::default(),
            news: watch::Sender::default(),
            orders,
        }
    }

    /// What is to be said to those who ask for certificates.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.news.subscribe()
    }

    /// These are wanted now.
    pub(super) fn wanted(&self, wishes: &[CertificateWish]) {
        let mut entries = self.lock();
        let mut former = std::mem::take(&mut *entries);
        for wish in wishes {
            let id = super::id(&wish.namespace, &wish.secret);
            let entry = match former.remove(&id) {
                Some(entry) => Entry {
                    wish: wish.clone(),
                    ..entry
                },
                None => Entry {
                    wish: wish.clone(),
                    is_under_way: false,
                    next: None,
                    error: None,
                },
            };
            entries.insert(id, entry);
        }
        self.tell(&entries);
    }

    /// This one is looked at.
    pub(super) fn begun(&self, id: &str) {
        if let Some(entry) = self.lock().get_mut(id) {
            entry.is_under_way = true;
        }
    }

    /// This came of it.
    pub(super) fn ended(&self, outcome: &Outcome) {
        let mut entries = self.lock();
        let Some(entry) = entries.get_mut(&outcome.id) else {
            return;
        };
        entry.is_under_way = false;
        entry.next = Some(outcome.next);
        entry.error.clone_from(&outcome.error);
        let counted = match outcome.done {
            Done::Renewed => Some("issued"),
            Done::Failed(_) => Some("failed"),
            Done::Nothing | Done::Elsewhere => None,
        };
        if let Some(outcome) = counted {
            let issuer = entry.wish.issuer.to_string();
            let labels = Labels { issuer, outcome };
            self.orders.get_or_create(&labels).inc();
        }
        self.tell(&entries);
    }

    /// Who asks for a certificate.
    pub(super) fn asked_by(&self, id: &str) -> Box<[ObjectKey]> {
        let entries = self.lock();
        entries
            .get(id)
            .map_or_else(Box::default, |entry| entry.wish.asked_by.clone())
    }

    /// For `narthex certs list`; certificates are those of the store.
    pub(crate) fn list(&self, store: &Store) -> Vec<view::ObtainedCertificate> {
        let entries = self.lock();
        let all = entries.iter().map(|(id, entry)| {
            let wish = &entry.wish;
            let secret = store.secret(&wish.namespace, &wish.secret);
            let chain = secret.and_then(|secret| secret.data.get("tls.crt"));
            let chain = chain.and_then(|chain| std::str::from_utf8(chain).ok());
            let validity = chain.and_then(|chain| certs::ca::validity(chain).ok());
            view::ObtainedCertificate {
                secret: id.clone(),
                names: wish.names.iter().map(|name| (**name).to_owned()).collect(),
                issuer: wish.issuer.to_string(),
                asked_by: asked_by(wish),
                state: match (wish.is_of_cert_manager, entry.is_under_way, &validity) {
                    (true, ..) => "cert-manager's",
                    (_, true, _) => "being obtained",
                    (_, _, Some(_)) if entry.error.is_none() => "valid",
                    (_, _, Some(_)) => "not renewed",
                    (_, _, None) if entry.error.is_some() => "failed",
                    (_, _, None) => "waiting",
                },
                expires: validity.map(|validity| seconds(validity.not_after)),
                next: entry.next.map(seconds),
                error: entry.error.clone(),
            }
        });
        all.collect()
    }

    fn tell(&self, entries: &BTreeMap<String, Entry>) {
        let news = entries.values().filter_map(|entry| {
            let wish = &entry.wish;
            let key = (wish.namespace.clone(), wish.secret.clone());
            Some((key, entry.error.clone()?))
        });
        let news: News = news.collect();
        self.news.send_if_modified(|known| {
            let is_new = *known != news;
            *known = news;
            is_new
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        // Each change is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks, for people; clients have no name.
fn asked_by(wish: &CertificateWish) -> Vec<String> {
    match &*wish.asked_by {
        [] => vec!["on demand".to_owned()],
        objects => objects.iter().map(ToString::to_string).collect(),
    }
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
