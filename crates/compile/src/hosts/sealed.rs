//! One host's TLS that goes on as it is, out of every Ingress that names the host.

use std::sync::Arc;

use model::Stream;

use super::Claim;
use crate::ingress::key;
use crate::report::Problems;

/// Where TLS of a host goes; none if it ends here. The first Ingress by precedence decides, since a
/// host has one end of TLS. `problems` has one entry for each claim.
pub(super) fn build(
    host: &str,
    claims: &[Claim],
    problems: &mut [Problems],
) -> Option<Arc<Stream>> {
    let mut first: Option<(&Claim, Option<&Arc<Stream>>)> = None;
    for (claim, problems) in claims.iter().zip(problems) {
        let Some(index) = claim.ingress.parsed.host_index(host) else {
            continue;
        };
        let own = claim.ingress.sealed(index);
        let Some((winner, stream)) = first else {
            first = Some((claim, own));
            continue;
        };
        let winner = key(&winner.ingress.parsed.source);
        let hint = "the same in all Ingresses of a host; the older one's is taken";
        match (stream.is_some(), own.is_some()) {
            (true, false) => problems.warning(
                "spec.rules",
                format!("TLS of {host} is passed on as {winner} says; these answer HTTP alone"),
                hint,
            ),
            (true, true) => problems.warning(
                "spec.rules",
                format!("TLS of {host} is passed on as {winner} says"),
                hint,
            ),
            (false, true) => problems.warning(
                "spec.rules",
                format!("TLS of {host} is not passed on: it ends here, as {winner} says"),
                hint,
            ),
            (false, false) => {}
        }
    }
    first?.1.cloned()
}
