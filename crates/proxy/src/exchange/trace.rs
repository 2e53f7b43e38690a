//! What an exchange tells of itself to a trace, where it is in one that is told.

use std::net::SocketAddr;

use model::{HostName, NormalPath, PathMatch, Rule};

use super::parts::{Facts, Parts};
use crate::forwarded::Client;
use crate::record::{Reason, Record};
use crate::telemetry::{Ended, Trace};
use crate::variables::{Scope, expand};

/// An attempt at an endpoint begins.
#[inline]
pub(super) fn attempt(parts: &mut Parts<'_>, facts: &Facts, endpoint: SocketAddr) {
    if let Some(mut trace) = facts.trace.take() {
        let headers = &mut parts.request.headers;
        trace.attempt(endpoint, parts.upstream_out, headers);
        facts.trace.set(Some(trace));
    }
}

/// It has failed.
pub(super) fn failed(facts: &Facts, reason: Reason) {
    if let Some(mut trace) = facts.trace.take() {
        trace.failed(reason);
        facts.trace.set(Some(trace));
    }
}

/// The exchange has ended.
pub(super) fn tell(
    parts: &Parts<'_>,
    trace: Trace,
    record: &Record<'_>,
    rule: Option<&Rule>,
    secure_backend: bool,
) {
    let path = rule.map(|rule| match &rule.path {
        PathMatch::Prefix(path) if path.is_empty() => "/",
        PathMatch::Exact(path) | PathMatch::Prefix(path) => path,
        PathMatch::Pattern(pattern) => pattern.as_str(),
    });
    let ended = Ended {
        record,
        connection: parts.connection,
        start: parts.start,
        path,
        operation: rule.and_then(|rule| operation(parts, record, rule)),
        secure_backend,
    };
    let worker = parts.worker;
    worker
        .traces
        .take(&worker.settings().tracing, trace, &ended);
}

/// What the rule calls its requests' spans.
fn operation(parts: &Parts<'_>, record: &Record<'_>, rule: &Rule) -> Option<Vec<u8>> {
    let traced = rule.extras.as_ref()?.traced.as_ref()?;
    let text = traced.operation.as_ref()?;
    let host = HostName::parse(parts.request.authority());
    let path = NormalPath::parse(parts.request.path());
    let client = Client {
        address: record.client,
        secure: parts.connection.tls.is_some(),
    };
    let scope = Scope {
        request: parts.request,
        connection: parts.connection,
        client,
        host: host.as_ref().map_or("", HostName::as_str),
        path: path.as_ref().map_or(&b""[..], |path| path.routed()),
        rule,
        backend: record.backend,
        captures: &[],
        response: None,
    };
    Some(expand(text, &scope))
}
