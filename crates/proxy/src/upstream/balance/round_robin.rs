//! In turn, as often as the weights say.

use std::cell::Cell;

use super::field::Field;

/// The next endpoint whose turn it is.
pub(super) fn choose(field: &Field<'_>, cursor: &Cell<usize>) -> Option<usize> {
    let turns = field.turns();
    let start = cursor.get() % turns;
    let turn = |offset: usize| field.turn((start + offset) % turns);
    let offset = (0..turns)
        .find(|&offset| field.may(turn(offset)))
        .or_else(|| (0..turns).find(|&offset| field.is_good(turn(offset))))
        .or_else(|| (0..turns).find(|&offset| field.may_at_all(turn(offset))))?;
    cursor.set(start + offset + 1);
    Some(turn(offset))
}
