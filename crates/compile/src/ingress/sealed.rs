//! TLS of an Ingress's hosts that goes on to the backend as it is (`ssl-passthrough`).

use std::sync::Arc;

use model::{PathMatch, Share, Split, Stream, Target};
use objects::kinds::Shared;

use super::annotations::passthrough::SSL_PASSTHROUGH;
use super::parse::{BackendRef, HostPaths, Parsed, PathRule, PortRef};
use super::resolve::World;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};
use crate::service::Spoken;

/// What the connections speak is between the client and the backend.
pub(crate) fn spoken() -> Spoken {
    Spoken {
        stream: true,
        ..Spoken::default()
    }
}

/// Every Service port that TLS of some host goes on to, as often as it does.
pub(crate) fn service_ports(parsed: &Parsed) -> impl Iterator<Item = (NameRef<'_>, &PortRef)> {
    let namespace = parsed.namespace();
    let hosts = parsed.hosts.iter().filter(|host| takes(parsed, host));
    hosts
        .filter_map(|host| chosen(host))
        .filter_map(move |path| match &path.backend {
            BackendRef::Service { name, port } => Some((NameRef { namespace, name }, port)),
            BackendRef::Unusable { .. } => None,
        })
}

/// Where TLS of each of an Ingress's hosts goes; nothing if it ends here. The Service ports are
/// acquired.
pub(super) fn resolve(
    parsed: &Parsed,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> Box<[Option<Arc<Stream>>]> {
    if !parsed.settings.passthrough || parsed.is_canary() {
        return [].into();
    }
    let prefix = &world.options.annotations_prefix;
    let field = annotation_field(&format!("{prefix}/{SSL_PASSTHROUGH}"));
    if !world.options.ssl_passthrough {
        problems.error(
            field,
            "is left out, and TLS ends here: it is not switched on",
            "--enable-ssl-passthrough",
        );
        return [].into();
    }
    let hosts = parsed.hosts.iter();
    hosts
        .map(|host| {
            if host.host.is_empty() {
                problems.error(
                    field.clone(),
                    "has no effect on rules without a host: connections are told apart by names",
                    "a host in every rule",
                );
                return None;
            }
            let path = chosen(host)?;
            if host.paths.len() > 1 {
                problems.warning(
                    field.clone(),
                    format!(
                        "all TLS of {} goes to the backend of {}: paths are not seen",
                        host.host, path.place
                    ),
                    "one path for the host",
                );
            }
            Some(Arc::new(stream(parsed, path, world)))
        })
        .collect()
}

/// Whether TLS of a host goes on as it is, where that is switched on.
fn takes(parsed: &Parsed, host: &HostPaths) -> bool {
    parsed.settings.passthrough && !parsed.is_canary() && !host.host.is_empty()
}

/// The path whose backend is meant: that of everything, or else the first.
fn chosen(host: &HostPaths) -> Option<&PathRule> {
    let is_root = |rule: &&PathRule| match rule.path.plain() {
        Ok(PathMatch::Prefix(path)) => path.is_empty(),
        Ok(PathMatch::Exact(path)) => &**path == "/",
        Ok(PathMatch::Pattern(_)) | Err(_) => false,
    };
    let mut paths = host.paths.iter();
    paths.find(is_root).or_else(|| host.paths.first())
}

fn stream(parsed: &Parsed, path: &PathRule, world: &mut World<'_>) -> Stream {
    let namespace = parsed.namespace();
    let target = match &path.backend {
        BackendRef::Service { name, port } => {
            let name = NameRef { namespace, name };
            // What is wrong with the reference is said of the path.
            let (backend, _) = world
                .services
                .acquire_with(name, port, &spoken(), world.store);
            Target::Backend(backend)
        }
        BackendRef::Unusable { .. } => Target::Invalid,
    };
    let share = Share {
        weight: 1,
        target,
        filters: [].into(),
    };
    Stream {
        route: NameRef::of(&parsed.source.metadata).to_string().into(),
        field: Shared::from(path.place.to_string()).into(),
        split: Split::new(vec![share]).map(Arc::new),
        connect: world.options.timeouts.connect,
        idle: world.options.stream_idle,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    }
}
