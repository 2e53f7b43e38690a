//! Answers of those who were asked whether a request may pass, while they are good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};

use super::generations::Generations;
use crate::respond::Given;

const SHARDS: usize = 16;

/// How many answers of a shard are remembered, twice.
const MOST: usize = 512;

/// Answers with more than this in their fields are not remembered.
const LARGEST: usize = 4 * 1024;

/// What an answer is known by: keys are as long as clients make them.
type Name = [u8; 32];

/// Answers that are good for a while.
#[derive(Debug)]
pub(crate) struct Answers {
    shards: [Mutex<Generations<Name, Known>>; SHARDS],
}

#[derive(Debug)]
struct Known {
    answer: Arc<Given>,
    until: Instant,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(Generations::new(MOST))),
        }
    }
}

impl Answers {
    /// The answer under a key, if it is still good.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Given>> {
        let name = name(key);
        let shard = self.shard(&name).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        let known = shard.get(&name)?;
        if Instant::now() < known.until {
            return Some(Arc::clone(&known.answer));
        }
        shard.remove(&name);
        None
    }

    /// Remembers an answer.
    pub(crate) fn put(&self, key: &[u8], answer: &Arc<Given>, time: Duration) {
        let fields = answer.headers.iter();
        let size: usize = fields
            .map(|(_, name, value)| name.len() + value.len())
            .sum();
        let until = Instant::now().checked_add(time);
        let Some(until) = until.filter(|_| size <= LARGEST) else {
            return;
        };
        let (answer, name) = (Arc::clone(answer), name(key));
        let shard = self.shard(&name).lock();
        let mut shard = shard.unwrap_or_else(PoisonError::into_inner);
        shard.remove(&name);
        shard.insert(name, Known { answer, until });
    }

    fn shard(&self, name: &Name) -> &Mutex<Generations<Name, Known>> {
        &self.shards[usize::from(name[0]) % SHARDS]
    }
}

fn name(key: &[u8]) -> Name {
    let mut name = Name::default();
    name.copy_from_slice(digest(&SHA256, key).as_ref());
    name
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
        let mut large = Given::default();
        large.headers.push(b"X", &[b'x'; 10_000]);
        answers.put(b"c", &Arc::new(large), Duration::from_secs(60));
        assert_eq!(answers.get(b"a").map(|answer| answer.status), Some(204));
        assert!(answers.get(b"b").is_none());
        assert!(answers.get(b"c").is_none());
    }
}
