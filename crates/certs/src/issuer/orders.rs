//! Orders that are under way, in one document of the papers that all replicas share.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::acme::{Begun, Journal};
use crate::random::{hex, share};
use crate::vault::{Entries, NotKept, Papers};

/// Where they are kept: an id of the papers, without a namespace, which whoever keeps them adds.
pub const ORDERS: &str = "narthex-orders";

/// The most orders that are kept, the newest ones; a Secret holds a mebibyte.
const MOST: usize = 200;

/// The longest entry that is looked at: a key of RSA with 4096 bits is half of it.
const LONGEST: usize = 8 * 1024;

/// How often somebody else may write while we do, and the longest pause after it.
const ATTEMPTS: u32 = 12;
const PAUSE: Duration = Duration::from_millis(250);

/// The order of one certificate.
pub(super) struct Order<'a, P> {
    papers: &'a P,
    /// Held while the document is read and written, so that orders of this replica do not get in
    /// each other's way.
    writing: &'a tokio::sync::Mutex<()>,
    /// The certificate's id.
    id: &'a str,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// The certificate's id: the entry's name is a hash of it.
    id: String,
    #[serde(flatten)]
    begun: Begun,
}

impl<'a, P: Papers> Order<'a, P> {
    pub(super) fn new(papers: &'a P, writing: &'a tokio::sync::Mutex<()>, id: &'a str) -> Self {
        Self {
            papers,
            writing,
            id,
        }
    }

    /// Changes the document, again where somebody else wrote meanwhile. Nothing is written where
    /// nothing changes.
    async fn edit(&self, change: impl Fn(&mut Entries)) -> Result<(), String> {
        let _writing = self.writing.lock().await;
        for attempt in 0..ATTEMPTS {
            let (mut entries, version) = match self.papers.read(ORDERS).await? {
                Some((entries, version)) => (entries, Some(version)),
                None => (Entries::new(), None),
            };
            let before = entries.clone();
            change(&mut entries);
            if entries == before {
                return Ok(());
            }
            match self.papers.write(ORDERS, &entries, version.as_ref()).await {
                Ok(()) => return Ok(()),
                Err(NotKept::Failed(error)) => return Err(error),
                Err(NotKept::Changed) => {}
            }
            // Not all at once again.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_nanos().to_be_bytes();
            let part = share(&[self.id.as_bytes(), &now, &attempt.to_be_bytes()]);
            tokio::time::sleep(PAUSE.mul_f64(part)).await;
        }
        Err("somebody else writes there all the time".to_owned())
    }

    fn text(&self, begun: &Begun) -> Vec<u8> {
        let entry = Entry {
            id: self.id.to_owned(),
            begun: begun.clone(),
        };
        // Strings and numbers, and a time after 1970.
        serde_json::to_vec(&entry).unwrap_or_default()
    }
}

impl<P: Papers> Journal for Order<'_, P> {
    async fn begun(&self) -> Option<Begun> {
        let read = match self.papers.read(ORDERS).await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(
                    certificate = self.id,
                    "orders before are not known: {error}"
                );
                return None;
            }
        };
        let entry = read?
            .0
            .remove(&hex(self.id.as_bytes()))
            .as_deref()
            .and_then(parse)?;
        (entry.id == self.id && entry.begun.is_fresh(SystemTime::now())).then_some(entry.begun)
    }

    async fn keep(&self, begun: &Begun) {
        let (name, text) = (hex(self.id.as_bytes()), self.text(begun));
        let kept = self.edit(|entries| {
            tidy(entries, SystemTime::now());
            entries.insert(name.clone(), text.clone());
        });
        if let Err(error) = kept.await {
            tracing::warn!(
                certificate = self.id,
                "the order is not kept, so that nobody could go on with it: {error}"
            );
        }
    }

    async fn forget(&self) {
        let name = hex(self.id.as_bytes());
        let forgotten = self.edit(|entries| drop(entries.remove(&name)));
        if let Err(error) = forgotten.await {
            tracing::warn!(
                certificate = self.id,
                "an order that has ended stays: {error}"
            );
        }
    }
}

fn parse(text: &[u8]) -> Option<Entry> {
    match text.len() {
        ..=LONGEST => serde_json::from_slice(text).ok(),
        _ => None,
    }
}

/// Drops what nobody would go on with, and the oldest if there are too many for another one.
fn tidy(entries: &mut Entries, now: SystemTime) {
    let since = |text: &Vec<u8>| {
        let begun = parse(text).map(|entry| entry.begun);
        begun.filter(|it| it.is_fresh(now)).map(|it| it.since)
    };
    entries.retain(|_, text| since(text).is_some());
    while entries.len() >= MOST {
        let oldest = entries.iter().min_by_key(|(_, text)| since(text));
        let Some(oldest) = oldest.map(|(name, _)| name.clone()) else {
            return;
        };
        entries.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, since: SystemTime) -> (String, Vec<u8>) {
        let entry = Entry {
            id: id.to_owned(),
            begun: Begun {
                url: "https://ca.test/order/1".to_owned(),
                key: "PEM".to_owned(),
                of: 7,
                since,
            },
        };
        let text = serde_json::to_vec(&entry).expect("JSON");
        (hex(id.as_bytes()), text)
    }

    #[test]
    fn what_is_old_or_no_order_goes_and_the_newest_stay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        let mut entries = Entries::from([
            entry("shop/old", now - 2 * day),
            entry("shop/new", now),
            ("odd".to_owned(), b"{}".to_vec()),
            ("long".to_owned(), vec![b' '; LONGEST + 1]),
        ]);
        tidy(&mut entries, now);
        assert_eq!(entries, Entries::from([entry("shop/new", now)]));
        for index in 0..2 * MOST as u64 {
            let since = now - Duration::from_secs(1 + index);
            entries.extend([entry(&format!("shop/{index}"), since)]);
        }
        tidy(&mut entries, now);
        assert_eq!(entries.len(), MOST - 1);
        assert!(entries.contains_key(&hex(b"shop/new")));
        assert!(entries.contains_key(&hex(b"shop/0")));
        assert!(!entries.contains_key(&hex(b"shop/399")));
    }
}
