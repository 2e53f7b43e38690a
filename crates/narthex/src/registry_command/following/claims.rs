//! Which list brings what: two that want different things in one place would do it in turns for ever.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, PoisonError};

use cluster::Timestamp;

/// Who has a list. Of two, the lesser one comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Whoever runs the registry: all files together.
    Files,
    /// An ImageList.
    Object {
        created: Timestamp,
        /// With its namespace.
        name: String,
        uid: Arc<str>,
    },
}

/// What each list has claimed. Clones have the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hashes: RandomState,
    /// By the hash of a place: who brings what there, as a hash too, so that a million are no burden.
    taken: HashMap<u64, (Arc<Who>, u64)>,
}

impl Claims {
    /// Claims that `image` is to be at `place`.
    ///
    /// # Errors
    /// Somebody else's goes there, who comes first.
    pub(super) fn claim(&self, who: &Arc<Who>, place: &str, image: &str) -> Result<(), Arc<Who>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (place, image) = (state.hashes.hash_one(place), state.hashes.hash_one(image));
        match state.taken.get(&place) {
            Some((_, there)) if *there == image => Ok(()),
            Some((other, _)) if *other < *who => Err(Arc::clone(other)),
            // Also in place of one that comes later: it will find that out.
            _ => {
                state.taken.insert(place, (Arc::clone(who), image));
                Ok(())
            }
        }
    }

    /// Gives up all that one has.
    pub(super) fn release(&self, who: &Who) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken.retain(|_, (it, _)| **it != *who);
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files => f.write_str("the registry's own list"),
            Self::Object { name, .. } => write!(f, "ImageList {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_for_files_first_and_then_for_the_oldest_list() {
        let object = |name: &str, created: i64| {
            Arc::new(Who::Object {
                created: Timestamp::from_second(created).expect("a time"),
                name: name.to_owned(),
                uid: name.into(),
            })
        };
        let (files, old, new) = (Arc::new(Who::Files), object("b", 1), object("a", 2));
        let claims = Claims::default();
        assert_eq!(claims.claim(&new, "x:1", "here"), Ok(()));
        // The same thing is no trouble.
        assert_eq!(claims.claim(&old, "x:1", "here"), Ok(()));
        assert_eq!(claims.claim(&old, "x:1", "there"), Ok(()));
        assert_eq!(claims.claim(&new, "x:1", "here"), Err(Arc::clone(&old)));
        assert_eq!(claims.claim(&files, "x:1", "elsewhere"), Ok(()));
        assert_eq!(claims.claim(&old, "x:1", "there"), Err(Arc::clone(&files)));
        claims.release(&files);
        assert_eq!(claims.claim(&new, "x:1", "here"), Ok(()));
    }
}
