//! What is kept of an order while it is under way.
//!
//! Whoever orders may be killed at any moment. With this its successor goes on with the same
//! order, from the challenges to a certificate that the CA has made and nobody has fetched, rather
//! than with another: CAs limit how many there are.

use std::future::Future;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// How long an order is gone on with. CAs keep one for longer; but one that has come to nothing
/// for so long is better begun anew.
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);

/// How far ahead another replica's clock may be.
const AHEAD: Duration = Duration::from_secs(60 * 60);

/// An order that was begun. It has a private key: it is kept as keys are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The order's URL (RFC 8555, section 7.1.3).
    pub url: String,
    /// The key that it is to certify, in PEM. After the request for the certificate there is no
    /// other that would do (RFC 8555, section 7.4).
    pub key: String,
    /// A number of what was ordered, and by which account.
    pub of: u64,
    /// When it was begun.
    pub since: SystemTime,
}

// The key is nobody's to see in a log.
impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = f.debug_struct("Begun");
        all.field("url", &self.url).field("of", &self.of);
        all.field("since", &self.since).finish_non_exhaustive()
    }
}

impl Begun {
    /// Whether it is not yet too long ago. What was begun far in the future was not.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        match now.duration_since(self.since) {
            Ok(age) => age < LASTS,
            Err(ahead) => ahead.duration() < AHEAD,
        }
    }
}

/// Keeps the order of one certificate.
///
/// Nothing here fails: an order that cannot be kept is an order all the same.
pub trait Journal: Send + Sync {
    /// What was begun and has not ended, if anything.
    fn begun(&self) -> impl Future<Output = Option<Begun>> + Send;

    /// Keeps what has been begun, in the place of what was before.
    fn keep(&self, begun: &Begun) -> impl Future<Output = ()> + Send;

    /// It has ended: there is nothing to go on with.
    fn forget(&self) -> impl Future<Output = ()> + Send;
}

/// Keeps nothing.
impl Journal for () {
    async fn begun(&self) -> Option<Begun> {
        None
    }

    async fn keep(&self, _: &Begun) {}

    async fn forget(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_gone_on_with_for_a_day_and_its_key_is_not_shown() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let begun = Begun {
            url: "https://ca.test/order/1".to_owned(),
            key: "a secret".to_owned(),
            of: 1,
            since: now,
        };
        assert!(begun.is_fresh(now));
        assert!(begun.is_fresh(now + LASTS - AHEAD));
        assert!(!begun.is_fresh(now + LASTS));
        assert!(begun.is_fresh(now - AHEAD / 2));
        assert!(!begun.is_fresh(now - 2 * AHEAD));
        let shown = format!("{begun:?}");
        assert!(
            !shown.contains("secret") && shown.contains("order/1"),
            "{shown}"
        );
    }
}
