//! What was found out a moment ago, by a keyed digest of the secret that was shown.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;

/// The most answers that are kept.
const MOST: usize = 4096;

/// A digest by a key that nobody knows.
pub(crate) type Seal = [u8; 32];

/// Answers about secrets; the secrets themselves are not kept.
pub(crate) struct Remembered<T> {
    /// None without a source of randomness: then nothing is kept.
    key: Option<Key>,
    known: Mutex<HashMap<Seal, (T, Instant)>>,
}

// By hand, so that no digest of a secret can reach a log.
impl<T> std::fmt::Debug for Remembered<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").finish_non_exhaustive()
    }
}

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new()).ok(),
            known: Mutex::default(),
        }
    }
}

impl<T: Clone> Remembered<T> {
    /// The digest of what was shown; each part with its length.
    pub(crate) fn seal(&self, parts: &[&[u8]]) -> Option<Seal> {
        let mut context = Context::with_key(self.key.as_ref()?);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut seal = Seal::default();
        seal.copy_from_slice(context.sign().as_ref());
        Some(seal)
    }

    /// What is known, if it still holds.
    pub(crate) fn get(&self, seal: &Seal, now: Instant) -> Option<T> {
        // No code that holds the lock can leave it half changed.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, until) = known.get(seal)?;
        (now < *until).then(|| answer.clone())
    }

    /// Keeps an answer until a time.
    pub(crate) fn put(&self, seal: Seal, answer: T, until: Instant, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.retain(|_, (_, until)| now < *until);
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(seal, (answer, until));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_is_known_until_its_time_and_no_longer() {
        let remembered = Remembered::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let seal = remembered.seal(&[b"a", b"bc"]).expect("random bytes");
        assert_ne!(Some(seal), remembered.seal(&[b"ab", b"c"]));
        remembered.put(seal, 7, now + second, now);
        assert_eq!(remembered.get(&seal, now), Some(7));
        assert_eq!(remembered.get(&seal, now + second), None);
    }

    #[test]
    fn the_answers_that_are_kept_are_bounded() {
        let remembered = Remembered::default();
        let now = Instant::now();
        for number in 0..=MOST {
            let seal = remembered
                .seal(&[&number.to_be_bytes()])
                .expect("random bytes");
            remembered.put(seal, (), now + Duration::from_secs(60), now);
        }
        assert!(remembered.known.lock().expect("nothing panicked").len() <= MOST);
    }
}
