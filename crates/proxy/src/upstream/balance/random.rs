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
    all(field)
        .find(|&index| field.is_good(index))
        .or_else(|| all(field).find(|&index| field.may_at_all(index)))
}

/// Any endpoint that the request has not tried, however ill.
pub(super) fn any(field: &Field<'_>) -> Option<usize> {
    all(field).find(|&index| !field.is_tried(index))
}

/// An endpoint that is known to answer: for retries, which are few enough to look at all.
pub(super) fn proven(field: &Field<'_>) -> Option<usize> {
    all(field).find(|&index| field.is_proven(index))
}

/// All endpoints, beginning anywhere.
fn all(field: &Field<'_>) -> impl Iterator<Item = usize> {
    let turns = field.turns();
    let start = fastrand::usize(..turns);
    (0..turns).map(move |turn| field.turn((start + turn) % turns))
}
