//! Verifies passwords, slow hashes on threads of their own, and remembers which were right.

use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use tokio::sync::oneshot;

use super::generations::Generations;
use super::htpasswd;

/// How many passwords wait to be verified.
const QUEUE: usize = 128;

/// How many are verified at the same time.
const THREADS: usize = 2;

/// After so long nobody waits any more.
const LONGEST: Duration = Duration::from_secs(15);

/// For so long a password that was right is right. With another hash it is another one.
const REMEMBERED: Duration = Duration::from_secs(300);

/// How many are remembered, twice.
const MOST: usize = 4096;

/// A digest of name, password and hash, by a key that nobody knows.
type Seal = [u8; 32];

/// Verifies passwords.
pub(crate) struct Passwords {
    /// None without a source of randomness: then nothing is remembered.
    key: Option<Key>,
    right: Mutex<Generations<Seal, Instant>>,
    queue: OnceLock<SyncSender<Job>>,
}

/// It cannot be verified in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Busy;

struct Job {
    hash: Box<[u8]>,
    password: Box<[u8]>,
    answer: oneshot::Sender<bool>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new()).ok(),
            right: Mutex::new(Generations::new(MOST)),
            queue: OnceLock::new(),
        }
    }
}

// By hand, so that no digest of a password can reach a log.
impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl Passwords {
    /// Whether a password is right.
    ///
    /// # Errors
    /// If too many wait for the same, or it takes too long.
    pub(crate) async fn verify(&self, hash: &[u8], password: &[u8]) -> Result<bool, Busy> {
        if !htpasswd::is_slow(hash) {
            return Ok(htpasswd::verify(hash, password));
        }
        let seal = self.key.as_ref().map(|key| seal(key, hash, password));
        if seal.is_some_and(|seal| self.is_known(&seal)) {
            return Ok(true);
        }
        let (answer, answered) = oneshot::channel();
        let job = Job {
            hash: hash.into(),
            password: password.into(),
            answer,
        };
        match self.queue.get_or_init(start).try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return Err(Busy),
        }
        let answered = tokio::time::timeout(LONGEST, answered).await;
        let is_right = answered.map_err(|_| Busy)?.map_err(|_| Busy)?;
        if let Some(seal) = seal.filter(|_| is_right) {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            right.insert(seal, Instant::now() + REMEMBERED);
        }
        Ok(is_right)
    }

    fn is_known(&self, seal: &Seal) -> bool {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = right.get(seal) else {
            return false;
        };
        let is_good = Instant::now() < *until;
        if !is_good {
            right.remove(seal);
        }
        is_good
    }
}

fn seal(key: &Key, hash: &[u8], password: &[u8]) -> Seal {
    let mut context = hmac::Context::with_key(key);
    // No hash has the byte that is between.
    context.update(hash);
    context.update(&[0]);
    context.update(password);
    let tag = context.sign();
    let mut seal = Seal::default();
    seal.copy_from_slice(tag.as_ref());
    seal
}

/// Starts the threads, which end with the process.
fn start() -> SyncSender<Job> {
    let (queue, jobs) = sync_channel::<Job>(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    for number in 0..THREADS {
        let jobs = Arc::clone(&jobs);
        let work = move || {
            loop {
                let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(job) = job else { return };
                // Whoever does not wait any more needs no answer.
                if !job.answer.is_closed() {
                    let _ = job.answer.send(htpasswd::verify(&job.hash, &job.password));
                }
            }
        };
        let thread = std::thread::Builder::new().name(format!("password-{number}"));
        if let Err(error) = thread.spawn(work) {
            tracing::error!(%error, "no thread for passwords; those with slow hashes are not verified");
        }
    }
    queue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_right_once_is_right_at_once_and_only_with_the_same_hash() {
        let passwords = Passwords::default();
        let hash = b"$apr1$abcdefgh$bGLO42WqKpmLoPH9uGWTg1";
        assert_eq!(passwords.verify(hash, b"foo").await, Ok(false));
        assert_eq!(passwords.verify(hash, b"bar").await, Ok(true));
        let known = |hash: &[u8], password: &[u8]| {
            let key = passwords.key.as_ref().expect("randomness");
            passwords.is_known(&seal(key, hash, password))
        };
        assert!(known(hash, b"bar"));
        assert!(!known(hash, b"foo"));
        assert!(!known(b"$apr1$abcdefgh$another", b"bar"));
        assert_eq!(passwords.verify(b"{PLAIN}bar", b"bar").await, Ok(true));
    }
}
