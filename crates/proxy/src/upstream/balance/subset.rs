//! By chance among the same few endpoints for the same key (ingress-nginx: `upstream-hash-by-subset`).

use model::maglev;

use super::field::Field;
use super::p2c;

/// One of the key's endpoints. The endpoints in their order are cut into sets of `size`; the last
/// one is filled up with the first of them. Where all of a set are out, anybody is taken.
pub(super) fn choose(field: &Field<'_>, key: u64, size: u16) -> Option<usize> {
    let (len, size) = (field.len(), usize::from(size.max(1)));
    let sets = len.div_ceil(size).max(1);
    let set = of_key(key, sets);
    let members = size.min(len);
    let place = |at: usize| (set * size + at) % len;
    let begin = fastrand::usize(..members.max(1));
    let mut members = (0..members).map(|at| place((begin + at) % members));
    members
        .find(|&index| field.is_good(index))
        .or_else(|| p2c::choose(field))
}

/// The set of a key (rendezvous hashing): few keys change theirs when there is one more.
fn of_key(key: u64, sets: usize) -> usize {
    let score = |set: &usize| maglev::mix(key ^ maglev::mix(*set as u64 + 1));
    (0..sets).max_by_key(score).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_keys_move_when_there_is_a_set_more() {
        let moved = (0..1000)
            .map(maglev::mix)
            .filter(|&key| of_key(key, 4) != of_key(key, 5));
        let count = moved.count();
        assert!((100..300).contains(&count), "{count}");
    }
}
