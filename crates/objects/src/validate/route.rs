//! HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, UDPRoute.

use super::{Findings, names, quote};
use crate::kinds::gateway::{
    BackendRef, GrpcRoute, HttpRoute, HttpRouteMatch, HttpRouteRule, ParentReference,
    PathMatchType, RouteFilter, RouteFilterType, StreamRouteSpec, duration,
};

/// The most rules of an HTTPRoute or GRPCRoute.
const MOST_RULES: usize = 16;

pub(super) fn http(route: &HttpRoute, found: &mut Findings) {
    parents(route.spec.parent_refs(), found);
    hostnames(route.spec.hostnames(), found);
    let rules = route.spec.rules.as_deref().unwrap_or_default();
    count(rules.len(), found);
    for (index, rule) in rules.iter().enumerate() {
        http_rule(rule, &format!("spec.rules[{index}]"), found);
    }
}

pub(super) fn grpc(route: &GrpcRoute, found: &mut Findings) {
    parents(route.spec.parent_refs(), found);
    hostnames(route.spec.hostnames(), found);
    let rules = route.spec.rules.as_deref().unwrap_or_default();
    count(rules.len(), found);
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        filters(rule.filters.as_deref(), &field, found);
        backends(rule.backend_refs.as_deref(), &field, found);
    }
}

pub(super) fn stream(spec: &StreamRouteSpec, found: &mut Findings) {
    parents(spec.parent_refs(), found);
    hostnames(spec.hostnames(), found);
    let rules = spec.rules.as_deref().unwrap_or_default();
    if rules.len() != 1 {
        let message = format!("has {} entries", rules.len());
        found.error("spec.rules", message, "exactly one");
    }
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        if rule.backend_refs.as_deref().unwrap_or_default().is_empty() {
            let field = format!("{field}.backendRefs");
            found.error(field, "is missing or empty", "at least one Service");
        }
        backends(rule.backend_refs.as_deref(), &field, found);
    }
}

fn parents(parents: &[ParentReference], found: &mut Findings) {
    for (index, parent) in parents.iter().enumerate() {
        if parent.name.is_empty() {
            let field = format!("spec.parentRefs[{index}].name");
            found.error(field, "is missing", "the name of a Gateway");
        }
    }
}

fn hostnames(hostnames: &[Box<str>], found: &mut Findings) {
    for (index, host) in hostnames.iter().enumerate() {
        let field = format!("spec.hostnames[{index}]");
        found.check(&field, host, names::host(host));
    }
}

fn count(rules: usize, found: &mut Findings) {
    if rules > MOST_RULES {
        let message = format!("has {rules} entries");
        found.error("spec.rules", message, "at most 16; more in other routes");
    }
}

fn http_rule(rule: &HttpRouteRule, field: &str, found: &mut Findings) {
    for (index, one) in rule.matches.iter().flatten().enumerate() {
        http_match(one, &format!("{field}.matches[{index}]"), found);
    }
    filters(rule.filters.as_deref(), field, found);
    backends(rule.backend_refs.as_deref(), field, found);
    let references = rule.backend_refs.as_deref().unwrap_or_default();
    let list = rule.filters.as_deref().unwrap_or_default();
    let redirects = list
        .iter()
        .any(|one| one.type_ == RouteFilterType::RequestRedirect);
    if redirects && !references.is_empty() {
        let message = "a rule that redirects sends requests nowhere else";
        found.error(format!("{field}.backendRefs"), message, "no backendRefs");
    }
    if let Some(timeouts) = &rule.timeouts {
        let [request, backend] = [&timeouts.request, &timeouts.backend_request];
        let request = time(
            request.as_deref(),
            &format!("{field}.timeouts.request"),
            found,
        );
        let place = format!("{field}.timeouts.backendRequest");
        let backend = time(backend.as_deref(), &place, found);
        if let (Some(request), Some(backend)) = (request, backend)
            && !request.is_zero()
            && backend > request
        {
            let message = "is longer than timeouts.request";
            found.error(place, message, "at most as long");
        }
    }
    if let Some(retry) = &rule.retry {
        time(
            retry.backoff.as_deref(),
            &format!("{field}.retry.backoff"),
            found,
        );
    }
}

fn time(text: Option<&str>, field: &str, found: &mut Findings) -> Option<std::time::Duration> {
    let text = text?;
    let parsed = duration::parse(text);
    if parsed.is_none() {
        let message = format!("{} is no duration", quote(text));
        found.error(field, message, "as 1h30m, 10s or 250ms");
    }
    parsed
}

fn http_match(one: &HttpRouteMatch, field: &str, found: &mut Findings) {
    if let Some(path) = &one.path
        && matches!(
            path.type_(),
            PathMatchType::Exact | PathMatchType::PathPrefix
        )
    {
        let (text, field) = (path.value(), format!("{field}.path.value"));
        if !text.starts_with('/') {
            let message = format!("{} does not begin with `/`", quote(text));
            found.error(&*field, message, format!("/{text}"));
        }
        for sequence in ["//", "/./", "/../", "%2f", "%2F", "#"] {
            if text.contains(sequence) {
                let message = format!("{} has `{sequence}` in it", quote(text));
                found.error(
                    &*field,
                    message,
                    "a path as requests have it once normalised",
                );
            }
        }
        if text.ends_with("/..") || text.ends_with("/.") {
            let message = format!("{} ends in dots", quote(text));
            found.error(
                &*field,
                message,
                "a path as requests have it once normalised",
            );
        }
    }
    let lists = [
        ("headers", &one.headers),
        ("queryParams", &one.query_params),
    ];
    for (name, list) in lists {
        for (index, field_match) in list.iter().flatten().enumerate() {
            if field_match.name.is_empty() {
                found.error(
                    format!("{field}.{name}[{index}].name"),
                    "is missing",
                    "a name",
                );
            }
        }
    }
}

fn filters(list: Option<&[RouteFilter]>, field: &str, found: &mut Findings) {
    let list = list.unwrap_or_default();
    for (index, filter) in list.iter().enumerate() {
        let place = format!("{field}.filters[{index}]");
        let (name, is_there) = match &filter.type_ {
            RouteFilterType::RequestHeaderModifier => (
                "requestHeaderModifier",
                filter.request_header_modifier.is_some(),
            ),
            RouteFilterType::ResponseHeaderModifier => (
                "responseHeaderModifier",
                filter.response_header_modifier.is_some(),
            ),
            RouteFilterType::RequestMirror => ("requestMirror", filter.request_mirror.is_some()),
            RouteFilterType::RequestRedirect => {
                ("requestRedirect", filter.request_redirect.is_some())
            }
            RouteFilterType::UrlRewrite => ("urlRewrite", filter.url_rewrite.is_some()),
            RouteFilterType::Cors => ("cors", filter.cors.is_some()),
            RouteFilterType::ExternalAuth => ("externalAuth", filter.external_auth.is_some()),
            RouteFilterType::ExtensionRef => ("extensionRef", filter.extension_ref.is_some()),
            // Said where routes are compiled.
            RouteFilterType::Other(_) => continue,
        };
        if !is_there {
            let message = format!("has no `{name}`, which its type wants");
            found.error(&*place, message, format!("`{name}`"));
        }
        let status = filter
            .request_redirect
            .as_ref()
            .and_then(|one| one.status_code);
        if let Some(status) = status
            && !matches!(status, 301 | 302 | 303 | 307 | 308)
        {
            let message = format!("{status} is no redirect");
            let hint = "301, 302, 303, 307 or 308";
            found.error(format!("{place}.requestRedirect.statusCode"), message, hint);
        }
    }
    for (one, name) in [
        (
            RouteFilterType::RequestHeaderModifier,
            "RequestHeaderModifier",
        ),
        (
            RouteFilterType::ResponseHeaderModifier,
            "ResponseHeaderModifier",
        ),
        (RouteFilterType::RequestRedirect, "RequestRedirect"),
        (RouteFilterType::UrlRewrite, "URLRewrite"),
        (RouteFilterType::Cors, "CORS"),
    ] {
        if list.iter().filter(|filter| filter.type_ == one).count() > 1 {
            let message = format!("has more than one {name}");
            found.error(format!("{field}.filters"), message, "each once");
        }
    }
}

fn backends(list: Option<&[BackendRef]>, field: &str, found: &mut Findings) {
    for (index, backend) in list.unwrap_or_default().iter().enumerate() {
        let place = format!("{field}.backendRefs[{index}]");
        if backend.name.is_empty() {
            found.error(
                format!("{place}.name"),
                "is missing",
                "the name of a Service",
            );
        }
        if backend.kind() == "Service" && backend.group().is_empty() && backend.port.is_none() {
            found.error(
                format!("{place}.port"),
                "is missing",
                "a port of the Service",
            );
        }
        filters(backend.filters.as_deref(), &place, found);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use crate::kinds::Object;
    use crate::validate::validate;

    fn fields(spec: &Value) -> Vec<String> {
        let route = json!({"metadata": {"name": "a", "namespace": "default"}, "spec": spec});
        let route = serde_json::from_value(route).expect("a route");
        let problems = validate(&Object::HttpRoute(Arc::new(route)));
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn what_the_api_server_would_refuse_is_told_by_its_field() {
        let good = json!({
            "parentRefs": [{"name": "gw"}], "hostnames": ["a.example", "*.b.example"],
            "rules": [{
                "matches": [{"path": {"type": "Exact", "value": "/a"}}],
                "filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "x"}}],
                "backendRefs": [{"name": "web", "port": 80}],
                "timeouts": {"request": "10s", "backendRequest": "2s"},
            }],
        });
        assert_eq!(fields(&good), [""; 0]);
        for (spec, field) in [
            (json!({"parentRefs": [{}]}), "spec.parentRefs[0].name"),
            (json!({"hostnames": ["1.2.3.4"]}), "spec.hostnames[0]"),
            (
                json!({"rules": [{"matches": [{"path": {"value": "a"}}]}]}),
                "spec.rules[0].matches[0].path.value",
            ),
            (
                json!({"rules": [{"filters": [{"type": "CORS"}]}]}),
                "spec.rules[0].filters[0]",
            ),
            (
                json!({"rules": [{"backendRefs": [{"name": "web"}]}]}),
                "spec.rules[0].backendRefs[0].port",
            ),
            (
                json!({"rules": [{"timeouts": {"request": "soon"}}]}),
                "spec.rules[0].timeouts.request",
            ),
            (
                json!({"rules": [{"timeouts": {"request": "1s", "backendRequest": "2s"}}]}),
                "spec.rules[0].timeouts.backendRequest",
            ),
            (
                json!({"rules": [{"filters": [
                    {"type": "RequestRedirect", "requestRedirect": {"statusCode": 200}}
                ]}]}),
                "spec.rules[0].filters[0].requestRedirect.statusCode",
            ),
        ] {
            assert_eq!(fields(&spec), [field], "{spec}");
        }
    }
}
