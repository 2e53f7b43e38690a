//! XBackendTrafficPolicies: how much of a Service's requests may be sent again (GEP-3388), and what
//! keeps its clients with an endpoint (GEP-1619).
//!
//! The budget's interval is not read: it is a share of the requests of the last seconds.

use std::sync::Arc;

use hashbrown::HashMap;
use objects::Store;
use objects::kinds::gateway::{RetryConstraint, XBackendTrafficPolicy, duration};
use objects::kinds::{Kind, ObjectKey};

use super::rank::Age;
use super::session;
use super::tls_policy::Policy;
use super::topology::age;
use crate::name::{Name, NameRef};
use crate::service::Traffic;
use crate::status::Wrong;

/// What holds where a policy says nothing (GEP-3388).
const PERCENT: u8 = 20;
const PER_SECOND: u16 = 10;

/// The policies, the older ones first, and what they say of which Services.
pub(super) fn read(store: &Store) -> (Vec<Policy>, HashMap<Name, Arc<Traffic>>) {
    let mut sources: Vec<_> = store.backend_traffic_policies().collect();
    sources.sort_by(|a, b| age(&a.metadata).cmp(&age(&b.metadata)));
    let mut said = HashMap::new();
    let policies = sources
        .into_iter()
        .map(|source| policy(source, &mut said))
        .collect();
    (policies, said)
}

fn policy(source: &XBackendTrafficPolicy, said: &mut HashMap<Name, Arc<Traffic>>) -> Policy {
    let name = NameRef::of(&source.metadata);
    let mut policy = Policy {
        key: ObjectKey::new(Kind::XBackendTrafficPolicy, name.namespace, name.name),
        generation: source.metadata.generation,
        tls: None,
        refused: None,
        unresolved: None,
        services: Vec::new(),
    };
    let traffic = match traffic(source, name) {
        Ok(traffic) => Arc::new(traffic),
        Err(wrong) => {
            policy.refused = Some(wrong);
            return policy;
        }
    };
    for target in source.spec.target_refs.iter().flatten() {
        if !target.group.is_empty() || *target.kind != *"Service" {
            continue;
        }
        let service = Name::new(name.namespace, &target.name);
        policy.services.push(service.clone());
        if said.contains_key(&service) {
            policy.refused = Some(Wrong::new(
                "Conflicted",
                "spec.targetRefs",
                "an older XBackendTrafficPolicy is about the same Service",
                "one policy for each Service",
            ));
        } else {
            said.insert(service, Arc::clone(&traffic));
        }
    }
    policy
}

fn traffic(source: &XBackendTrafficPolicy, name: NameRef<'_>) -> Result<Traffic, Wrong> {
    let age = Age {
        not_created: source.metadata.creation_timestamp.is_none(),
        created: source
            .metadata
            .creation_timestamp
            .clone()
            .unwrap_or_default(),
        name: name.to_owned(),
    };
    let affinity = source.spec.session_persistence.as_deref();
    let affinity = affinity.map(|wanted| session::read(wanted, "spec", &source.metadata.uid, &age));
    let constraint = source.spec.retry_constraint.as_deref();
    Ok(Traffic {
        affinity: affinity.transpose()?,
        retry: constraint.map(budget).transpose()?,
    })
}

/// The budget in percent, and what may be sent again each second in any case.
fn budget(constraint: &RetryConstraint) -> Result<(u8, u16), Wrong> {
    let percent = constraint.budget.as_ref().and_then(|budget| budget.percent);
    let percent = percent.map_or(PERCENT, |percent| {
        u8::try_from(percent.clamp(0, 100)).unwrap_or(PERCENT)
    });
    let Some(rate) = &constraint.min_retry_rate else {
        return Ok((percent, PER_SECOND));
    };
    let text = rate.interval.as_deref().unwrap_or("1s");
    let interval = duration::parse(text).filter(|interval| !interval.is_zero());
    let interval = interval.ok_or_else(|| {
        Wrong::new(
            "Invalid",
            "spec.retryConstraint.minRetryRate.interval",
            format!("{text:?} is no duration above zero"),
            "a number and a unit, as 1s",
        )
    })?;
    let count = u128::try_from(rate.count.unwrap_or(10).max(0)).unwrap_or_default();
    // Rounded up: so much is allowed at the least.
    let per_second = (count * 1000).div_ceil(interval.as_millis().max(1));
    Ok((percent, u16::try_from(per_second).unwrap_or(u16::MAX)))
}
