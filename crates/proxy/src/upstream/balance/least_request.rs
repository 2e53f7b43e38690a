//! The one with the fewest requests in flight.

use super::field::Field;

/// The most endpoints that are looked at: of more, a stretch that begins by chance.
const MOST: usize = 32;

/// The endpoint with the fewest requests in flight, relative to its weight.
pub(super) fn choose(field: &Field<'_>) -> Option<usize> {
    let len = field.len();
    // Where several are equal, the first is chosen: chance says which that is, and the weights.
    let start = field.turn(fastrand::usize(..field.turns()));
    let stretch = |count: usize| (0..count).map(move |offset| (start + offset) % len);
    stretch(len.min(MOST))
        .filter(|&index| field.may(index))
        .min_by(|&a, &b| field.load(a).total_cmp(&field.load(b)))
        .or_else(|| stretch(len).find(|&index| field.is_good(index)))
        .or_else(|| stretch(len).find(|&index| field.may_at_all(index)))
}
