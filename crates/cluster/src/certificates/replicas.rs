//! Whether all replicas serve a Secret as it is.
//!
//! Each replica tells in its Lease how new what it serves is (see `crate::replicas`); of this one
//! Secret too, if its watches were told to count it. The Leases are asked for while somebody
//! waits, and not otherwise.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use objects::kinds::ObjectKey;
use tokio::time::{Instant, sleep};

use super::Shared;
use super::requests::within;
use crate::replicas::{LABEL, Position, SERVED, parse_version};

/// How long replicas are waited for that do not serve it. One that died is as one that is slow,
/// until its Lease is gone.
const LIMIT: Duration = Duration::from_secs(10);

/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// The most replicas.
const MOST: u32 = 500;

/// Waits until every replica serves `key` as it is in `version`, for some seconds at most. The
/// names of those that do not, or why that is not known.
pub(super) async fn wait(shared: &Shared, key: &ObjectKey, version: &str) -> Vec<String> {
    let end = Instant::now() + LIMIT;
    loop {
        let behind = match behind(shared, key, version).await {
            Ok(behind) if behind.is_empty() => return behind,
            Ok(behind) => behind,
            Err(error) => vec![error],
        };
        if Instant::now() >= end {
            return behind;
        }
        sleep(LOOK).await;
    }
}

async fn behind(shared: &Shared, key: &ObjectKey, version: &str) -> Result<Vec<String>, String> {
    let selector = format!("{LABEL}={}", shared.place.election_id);
    let parameters = ListParams::default().labels(&selector).limit(MOST);
    let leases = within(shared.leases().list(&parameters)).await;
    let leases = leases.map_err(|wrong| format!("the replicas' Leases: {wrong}"))?;
    let version = parse_version(version);
    let behind = leases.items.into_iter().filter_map(|lease| {
        let position = position(&lease);
        let name = lease.spec.and_then(|spec| spec.holder_identity);
        (!position.reaches_object(key, version)).then(|| name.unwrap_or_default())
    });
    Ok(behind.collect())
}

fn position(lease: &Lease) -> Position {
    let annotations = lease.metadata.annotations.as_ref();
    let served = annotations.and_then(|all| all.get(SERVED));
    served
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}
