//! A registry's pull-through cache, as its flags have it.

use std::sync::Arc;

use registry::cache::{Cache, Metrics, Settings};
use registry::store::Store;

use super::Plan;
use super::credentials::credentials;

/// The cache, if registries are named. The error is for people.
pub(super) fn cache(
    plan: &Plan,
    store: &Store,
    metrics: Metrics,
) -> Result<Option<Arc<Cache>>, String> {
    let flags = &plan.pull_through;
    if flags.pull_through.is_empty() {
        return Ok(None);
    }
    let mut insecure = flags.pull_through_insecure.iter();
    if let Some(host) = insecure.find(|it| !flags.pull_through.contains(it)) {
        let prefix = plan.prefix;
        return Err(format!(
            "--{prefix}pull-through-insecure names {host}, which --{prefix}pull-through does not"
        ));
    }
    let mut authorities = Vec::new();
    if let Some(file) = &flags.pull_through_ca_file {
        let read = std::fs::read(file);
        authorities.push(read.map_err(|error| format!("{}: {error}", file.display()))?);
    }
    let settings = Settings {
        hosts: flags.pull_through.clone(),
        insecure: flags.pull_through_insecure.clone(),
        authorities,
        credentials: credentials(
            flags.pull_through_authfile.as_deref(),
            &flags.pull_through_credentials_file,
        )?,
        ttl: flags.pull_through_ttl,
        keep: Some(flags.pull_through_keep).filter(|it| !it.is_zero()),
        fetches: flags.pull_through_fetches,
        largest_blob: plan.limits.largest_blob,
    };
    let cache = Cache::new(store.clone(), settings, metrics)?;
    let hosts: Vec<_> = flags.pull_through.iter().map(|it| it.as_str()).collect();
    tracing::info!(
        "what is pulled of {} and is not here is got from there",
        hosts.join(", ")
    );
    Ok(Some(Arc::new(cache)))
}
