//! What one host's clients have to show, out of every Ingress that names the host.

use std::sync::Arc;

use model::ClientPolicy;
use model::clients::Demand;

use super::Claim;
use crate::ingress::key;
use crate::report::Problems;

/// The first Ingress by precedence that asks decides for the host as a whole: a connection is asked
/// before it says which path it wants. But nobody gets in where any of them cannot be read, and who
/// has nobody asked is no match for who asks. `problems` has one entry for each claim.
pub(super) fn build(
    host: &str,
    claims: &[Claim],
    problems: &mut [Problems],
) -> Option<Arc<ClientPolicy>> {
    let mut first: Option<(&Claim, &Arc<ClientPolicy>)> = None;
    for (claim, problems) in claims.iter().zip(problems) {
        if !claim.ingress.claims_requests(host) {
            continue;
        }
        let Some(own) = &claim.ingress.clients else {
            continue;
        };
        match first {
            None => first = Some((claim, own)),
            Some((_, policy)) if **policy == **own => {}
            Some((_, policy)) if rank(own) > rank(policy) => first = Some((claim, own)),
            Some((winner, _)) => problems.warning(
                "metadata.annotations",
                format!(
                    "clients of {host} are asked for certificates as {} says",
                    key(&winner.ingress.parsed.source)
                ),
                "the same auth-tls annotations in all Ingresses of a host; the older one's are taken",
            ),
        }
    }
    first.map(|(_, policy)| Arc::clone(policy))
}

fn rank(policy: &ClientPolicy) -> u8 {
    match policy.demand {
        Demand::Unasked => 0,
        Demand::Required | Demand::Optional | Demand::Any => 1,
        Demand::Nothing => 2,
    }
}
