//! The same endpoint for the same key (Maglev). The table is made when endpoints change.

use model::maglev;

use super::field::Field;
use super::p2c;

/// How often a key is hashed again before it is anybody's.
const HASHES: usize = 16;

/// The key's endpoint. Where that is out, the keys that it had are spread over all others, each
/// to the same one every time.
pub(super) fn choose(field: &Field<'_>, key: u64) -> Option<usize> {
    let mut hash = key;
    for _ in 0..HASHES {
        match field.by_hash(hash) {
            Some(index) if field.is_good(index) => return Some(index),
            Some(_) => hash = maglev::mix(hash ^ key),
            None => break,
        }
    }
    p2c::choose(field)
}
