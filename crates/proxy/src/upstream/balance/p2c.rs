//! Of two at random, the one whose requests in flight would take less time (the power of two
//! choices on in-flight × peak-EWMA latency).

use super::field::Field;
use super::random;

/// The latency in seconds of what was never measured, where the other's is more.
const UNKNOWN: f32 = 0.03;

/// The better of two endpoints by chance.
pub(super) fn choose(field: &Field<'_>) -> Option<usize> {
    let one = random::choose(field)?;
    let two = random::choose(field)?;
    if one == two {
        // Once more: with few endpoints this is often so.
        let two = random::choose(field)?;
        return Some(better(field, one, two));
    }
    Some(better(field, one, two))
}

fn better(field: &Field<'_>, one: usize, two: usize) -> usize {
    if one == two {
        return one;
    }
    let (mut load_one, mut load_two) = (field.load(one) + 1.0, field.load(two) + 1.0);
    let (a, b) = (field.latency(one), field.latency(two));
    let (a_penalty, b_penalty) = (field.penalty(one), field.penalty(two));
    // What was never measured is no slower than the other.
    let known = a.or(b).map_or(UNKNOWN, |(seconds, _)| seconds.min(UNKNOWN));
    let ((a, a_holds), (b, b_holds)) = (a.unwrap_or((known, 1.0)), b.unwrap_or((known, 1.0)));
    // A measurement that grows old moves towards the other's, so that whoever was slow once is
    // tried again, and not by all at once.
    load_one *= a * a_holds + b * (1.0 - a_holds) + a_penalty;
    load_two *= b * b_holds + a * (1.0 - b_holds) + b_penalty;
    if load_two < load_one { two } else { one }
}
