//! Answers of those who were asked whether a request may pass, while they are good.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::generations::Generations;
use crate::respond::Given;

const SHARDS: usize = 16;

/// How many answers of a shard are remembered, twice.
const MOST: usize = 512;

/// Answers with more than this in their fields, or longer keys, are not remembered.
const LARGEST: usize = 8 * 1024;

/// Answers that are good for a while.
#[derive(Debug)]
pub(crate) struct Answers {
    hasher: RandomState,
    shards: [Mutex<Generations<Box<[u8]>, Known>>; SHARDS],
}

#[derive(Debug)]
struct Known {
    answer: Arc<Given>,
    until: Instant,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(Generations::new(MOST))),
        }
    }
}

impl Answers {
    /// The answer under a key, if it is still good.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Given>> {
        let shard = self.shard(key).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        let known = shard.get(key)?;
        if Instant::now() < known.until {
            return Some(Arc::clone(&known.answer));
        }
        shard.remove(key);
        None
    }

    /// Remembers an answer.
    pub(crate) fn put(&self, key: &[u8], answer: &Arc<Given>, time: Duration) {
        let fields = answer.headers.iter();
        let size: usize = fields
            .map(|(_, name, value)| name.len() + value.len())
            .sum();
        let until = Instant::now().checked_add(time);
        let Some(until) = until.filter(|_| size + key.len() <= LARGEST) else {
            return;
        };
        let answer = Arc::clone(answer);
        let shard = self.shard(key).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.remove(key);
        shard.insert(key.into(), Known { answer, until });
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Generations<Box<[u8]>, Known>> {
        let hash = self.hasher.hash_one(key);
        // The remainder is small.
        &self.shards[usize::try_from(hash % SHARDS as u64).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_until_its_time_is_over() {
        let answers = Answers::default();
        let answer = Arc::new(Given {
            status: 204,
            ..Given::default()
        });
        answers.put(b"a", &answer, Duration::from_secs(60));
        answers.put(b"b", &answer, Duration::ZERO);
        answers.put(&[b'c'; 10_000], &answer, Duration::from_secs(60));
        assert_eq!(answers.get(b"a").map(|answer| answer.status), Some(204));
        assert!(answers.get(b"b").is_none());
        assert!(answers.get(b"c").is_none());
        assert!(answers.get(&[b'c'; 10_000]).is_none());
    }
}
