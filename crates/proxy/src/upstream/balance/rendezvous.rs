//! The same endpoint for the same flow (rendezvous hashing), without a table: for sessions of
//! datagrams, of which there are few a second, and which another process or replica shall send to
//! where this one does.

use model::maglev;

use super::field::Field;

/// The flow's endpoint: of those that may be chosen, the one that the flow likes best. Where that
/// is out, only its own flows move, spread over all others.
pub(super) fn choose(field: &Field<'_>, flow: u64) -> Option<usize> {
    best(field, flow, |index| field.is_good(index))
        .or_else(|| best(field, flow, |index| field.may_at_all(index)))
}

fn best(field: &Field<'_>, flow: u64, may: impl Fn(usize) -> bool) -> Option<usize> {
    let able = (0..field.len()).filter(|&index| may(index));
    let scored = able.map(|index| (index, score(field.name(index), flow, field.weight(index))));
    let best = scored.max_by(|(_, one), (_, two)| one.total_cmp(two));
    best.map(|(index, _)| index)
}

/// How much a flow likes an endpoint: of all flows, an endpoint has its weight's share ("Weighted
/// distributed hash tables", Schindelhauer and Schomaker, 2005: -weight / ln(hash)).
fn score(name: u64, flow: u64, weight: u16) -> f64 {
    let hash = maglev::mix(name ^ maglev::mix(flow));
    // 53 bits, as many as a float has; above 0 and below 1.
    let unit = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(weight) / unit.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these endpoints a flow likes best.
    fn favourite(endpoints: &[(u64, u16)], flow: u64) -> u64 {
        let best = endpoints.iter().max_by(|one, two| {
            let score = |(name, weight): &(u64, u16)| score(*name, flow, *weight);
            score(one).total_cmp(&score(two))
        });
        best.expect("there are some").0
    }

    #[test]
    fn every_endpoint_has_its_weights_share_of_flows() {
        let endpoints = [(11, 1), (22, 2), (33, 5)];
        let mut counts = [0; 3];
        for flow in 0..8000 {
            let name = favourite(&endpoints, maglev::mix(flow));
            let index = endpoints.iter().position(|one| one.0 == name);
            counts[index.expect("one of them")] += 1;
        }
        for (count, weight) in counts.into_iter().zip([1, 2, 5]) {
            let wanted: i32 = weight * 1000;
            assert!((count - wanted).abs() < 200, "{counts:?}");
        }
    }

    #[test]
    fn only_the_flows_of_an_endpoint_that_goes_move() {
        let endpoints = [(1, 1), (2, 1), (3, 1), (4, 1)];
        for flow in 0..1000 {
            let (before, after) = (
                favourite(&endpoints, flow),
                favourite(&endpoints[1..], flow),
            );
            assert!(before == after || before == 1, "{flow}: {before}, {after}");
        }
    }
}
