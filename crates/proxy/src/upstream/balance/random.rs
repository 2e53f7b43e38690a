//! By chance, as often as the weights say.

use super::field::Field;

/// How often chance is asked before the endpoints are looked through.
const DRAWS: usize = 4;

/// An endpoint by chance.
pub(super) fn choose(field: &Field<'_>) -> Option<usize> {
    let turns = field.turns();
    for _ in 0..DRAWS {
        let index = field.turn(fastrand::usize(..turns));
        if field.may(index) {
            return Some(index);
        }
    }
    let start = fastrand::usize(..turns);
    let from_there = || (0..turns).map(|turn| field.turn((start + turn) % turns));
    from_there()
        .find(|&index| field.is_good(index))
        .or_else(|| from_there().find(|&index| field.may_at_all(index)))
}

/// Any endpoint that the request has not tried, however ill.
pub(super) fn any(field: &Field<'_>) -> Option<usize> {
    let turns = field.turns();
    let start = fastrand::usize(..turns);
    (0..turns)
        .map(|turn| field.turn((start + turn) % turns))
        .find(|&index| !field.is_tried(index))
}
