//! What a filter is there.

use model::filter::ingress_cors::Origins;
use model::filter::send::Rest;
use model::filter::{IngressCors, MirrorTo, RedirectTarget, Send, Substitute};
use model::{Filter, HttpsRedirect, PathMatch, Rule};
use serde_json::{Value, json};

use super::paths::{idiom, replaced};
use super::{Around, Made};
use crate::compare::service_of;

pub(super) enum One {
    Filter(Value),
    /// The client is sent elsewhere.
    Ends(Value),
    Nothing,
}

pub(super) fn one(filter: &Filter, rule: &Rule, around: Around<'_>, made: &mut Made) -> One {
    let mut lose = |what: &str, why: &str| {
        made.lost.push((what.to_owned(), why.to_owned()));
        One::Nothing
    };
    match filter {
        Filter::HttpsRedirect(_) if around.tls => One::Nothing,
        Filter::HttpsRedirect(redirect) => {
            let keeps = |target| {
                matches!(
                    target,
                    RedirectTarget::Sent {
                        keeps_slash: false,
                        ..
                    }
                )
            };
            if keeps(redirect.target) {
                lose(
                    "ssl-redirect",
                    "the redirect to HTTPS has no slash at the end of its path: Gateway API's keeps it",
                );
            }
            One::Ends(to_https(*redirect))
        }
        Filter::Send(send) => match sent(send) {
            Ok(filter) => One::Ends(filter),
            Err(why) => lose("redirect", why),
        },
        Filter::Substitute(substitute) => rewrite(substitute, rule, around, made),
        Filter::UpstreamHost(host) => match host.as_literal() {
            Some(host) => One::Filter(json!({
                "type": "URLRewrite", "urlRewrite": {"hostname": host},
            })),
            None => lose("upstream-vhost", "a host of Gateway API has no variables"),
        },
        Filter::RequestHeaders(edit) => One::Filter(json!({
            "type": "RequestHeaderModifier", "requestHeaderModifier": header_edit(edit),
        })),
        Filter::ResponseHeaders(edit) => One::Filter(json!({
            "type": "ResponseHeaderModifier", "responseHeaderModifier": header_edit(edit),
        })),
        Filter::IngressCors(cors) => One::Filter(self::cors(cors)),
        Filter::MirrorTo(mirror) => match self::mirror(mirror, around) {
            Ok(filter) => One::Filter(filter),
            Err(why) => lose("mirror-target", why),
        },
        // Ingresses have none of these.
        Filter::Redirect(_)
        | Filter::Rewrite(_)
        | Filter::Mirror(_)
        | Filter::Cors(_)
        | Filter::Auth(_) => One::Nothing,
        Filter::Compress(_) => lose(
            "ConfigMap: use-gzip, enable-brotli",
            "Gateway API compresses nothing",
        ),
        // Named by the annotations that they come from, and by what the ConfigMap says of all.
        Filter::Access(_)
        | Filter::Limit(_)
        | Filter::Pace(_)
        | Filter::ErrorPages(_)
        | Filter::ResponseRewrite(_)
        | Filter::Snippet(_) => One::Nothing,
    }
}

fn to_https(redirect: HttpsRedirect) -> Value {
    let mut to = json!({"scheme": "https", "statusCode": redirect.status});
    let names_port = matches!(
        redirect.target,
        RedirectTarget::Sent {
            names_port: true,
            ..
        }
    );
    if redirect.port != 443 && !names_port {
        to["port"] = redirect.port.into();
    }
    json!({"type": "RequestRedirect", "requestRedirect": to})
}

fn sent(send: &Send) -> Result<Value, &'static str> {
    let to = send.to.to_string();
    let mut redirect = json!({"statusCode": send.status});
    if ![301, 302, 303, 307, 308].contains(&send.status) {
        return Err("Gateway API sends nobody elsewhere with such a status");
    }
    let own = ["$pass_access_scheme://", "$scheme://"];
    let rest = match own.iter().find_map(|own| to.strip_prefix(own)) {
        Some(rest) => Some(rest),
        None => ["http", "https"].iter().find_map(|scheme| {
            let rest = to.strip_prefix(scheme)?.strip_prefix("://")?;
            redirect["scheme"] = (*scheme).into();
            Some(rest)
        }),
    };
    let (host, path) = match rest {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => ("", to.as_str()),
    };
    let (host, path) = match host.strip_suffix("$request_uri") {
        Some(host) => (host, "$request_uri"),
        None => (host, path),
    };
    let host = host.strip_suffix(":$pass_port").unwrap_or(host);
    let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
    if host.contains('$') && host != "$host" && host != "$http_host" {
        return Err("a redirect of Gateway API has no variables");
    }
    if !host.is_empty() && !host.contains('$') {
        redirect["hostname"] = host.into();
    }
    if let Ok(port) = port.parse::<u16>() {
        redirect["port"] = port.into();
    }
    match (path, send.rest) {
        ("$request_uri", _) | ("", Rest::TargetWithoutSlash) => {}
        (path, _) if path.contains('$') => {
            return Err("a redirect of Gateway API has no variables");
        }
        (path, _) if path.contains('?') => {
            return Err(
                "a redirect of Gateway API keeps the request's query and has none of its own",
            );
        }
        (path, _) => {
            let path = if path.is_empty() { "/" } else { path };
            redirect["path"] = json!({"type": "ReplaceFullPath", "replaceFullPath": path});
        }
    }
    Ok(json!({"type": "RequestRedirect", "requestRedirect": redirect}))
}

fn rewrite(substitute: &Substitute, rule: &Rule, around: Around<'_>, made: &mut Made) -> One {
    let mut lose = |what: &str, why: &str| made.lost.push((what.to_owned(), why.to_owned()));
    if substitute.redirects {
        lose(
            "rewrite-target",
            "Gateway API redirects with nothing that a pattern has captured",
        );
        return One::Nothing;
    }
    if let Some(prefix) = &substitute.prefix {
        match prefix.as_literal() {
            None => lose(
                "x-forwarded-prefix",
                "values of Gateway API have no variables",
            ),
            Some(prefix) => {
                // Both of them, as one filter each.
                let header = json!({
                    "type": "RequestHeaderModifier",
                    "requestHeaderModifier":
                        {"set": [{"name": "X-Forwarded-Prefix", "value": prefix}]},
                });
                return match edit_of(substitute, rule, around) {
                    Some(edit) if edit.is_null() => One::Filter(header),
                    _ => {
                        lose("x-forwarded-prefix", "it stands beside a rewrite");
                        path_filter(substitute, rule, around, made)
                    }
                };
            }
        }
    }
    path_filter(substitute, rule, around, made)
}

fn path_filter(substitute: &Substitute, rule: &Rule, around: Around<'_>, made: &mut Made) -> One {
    match edit_of(substitute, rule, around) {
        Some(edit) if edit.is_null() => One::Nothing,
        Some(edit) => One::Filter(json!({"type": "URLRewrite", "urlRewrite": {"path": edit}})),
        None => {
            let why = "Gateway API replaces a whole path or a prefix, and has nothing that a pattern \
                has captured";
            made.lost
                .push(("rewrite-target".to_owned(), why.to_owned()));
            One::Nothing
        }
    }
}

/// The edit that a rewrite is; null if it changes nothing.
fn edit_of(substitute: &Substitute, rule: &Rule, around: Around<'_>) -> Option<Value> {
    if let Some(whole) = substitute.to.as_literal() {
        let whole = if whole.starts_with('/') {
            whole.to_owned()
        } else {
            format!("/{whole}")
        };
        return Some(json!({"type": "ReplaceFullPath", "replaceFullPath": whole}));
    }
    let PathMatch::Pattern(pattern) = &rule.path else {
        return None;
    };
    let found = idiom(pattern.as_str())?;
    let to = replaced(substitute, &found)?;
    if to.trim_end_matches('/') == found.prefix {
        return Some(Value::Null);
    }
    around.prefixes.then(|| {
        let to = match to.trim_end_matches('/') {
            "" => "/",
            to => to,
        };
        json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": to})
    })
}

fn header_edit(edit: &model::filter::HeaderEdit) -> Value {
    let pairs = |pairs: &[(Box<str>, Box<str>)]| -> Vec<Value> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    let mut to = json!({});
    if !edit.set.is_empty() {
        to["set"] = pairs(&edit.set).into();
    }
    if !edit.add.is_empty() {
        to["add"] = pairs(&edit.add).into();
    }
    if !edit.remove.is_empty() {
        to["remove"] = json!(edit.remove);
    }
    to
}

fn cors(cors: &IngressCors) -> Value {
    let list = |text: &str| -> Vec<String> {
        let names = text.split(',').map(|name| name.trim().to_owned());
        names.filter(|name| !name.is_empty()).collect()
    };
    let origins: Vec<String> = match &cors.origins {
        Origins::Any => vec!["*".to_owned()],
        Origins::These(all) => all.iter().map(ToString::to_string).collect(),
    };
    let mut to = json!({
        "allowOrigins": origins,
        "allowMethods": list(&cors.methods),
        "allowHeaders": list(&cors.headers),
        "maxAge": cors.max_age.clamp(0, i64::from(i32::MAX)),
    });
    // With the asterisk browsers send none, whatever else is said.
    if cors.credentials && cors.origins != Origins::Any {
        to["allowCredentials"] = true.into();
    }
    if !cors.expose.is_empty() {
        to["exposeHeaders"] = list(&cors.expose).into();
    }
    json!({"type": "CORS", "cors": to})
}

fn mirror(mirror: &MirrorTo, around: Around<'_>) -> Result<Value, &'static str> {
    let service = service_of(&mirror.backend)
        .ok_or("RequestMirror copies to Services of the cluster: make one for it")?;
    if mirror.target.to_string() != "$request_uri" {
        return Err("RequestMirror keeps the path");
    }
    let reference = super::super::refs::named_ref(&service, None, around)
        .ok_or("RequestMirror copies to a port of a Service")?;
    Ok(json!({"type": "RequestMirror", "requestMirror": {"backendRef": reference}}))
}

/// Whether a rule sends every client without TLS to HTTPS, and how.
pub(in super::super) fn only_to_https(rule: &Rule) -> Option<HttpsRedirect> {
    rule.filters.iter().find_map(|filter| match filter {
        Filter::HttpsRedirect(redirect) => Some(*redirect),
        _ => None,
    })
}

/// The rule of a route that sends all its clients to HTTPS.
pub(in super::super) fn all_to_https(redirect: HttpsRedirect) -> Value {
    json!({"filters": [to_https(redirect)]})
}
