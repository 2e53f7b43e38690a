//! A rule as Gateway API has it.

use std::time::Duration;

use model::canary::CanaryHeader;
use model::filter::ingress_cors::Origins;
use model::filter::send::Rest;
use model::filter::{IngressCors, MirrorTo, RedirectTarget, Send, Substitute};
use model::policy::Affinity;
use model::{
    Action, Backend, Filter, HttpVersion, HttpsRedirect, PathMatch, Rule, Share, Split, Target,
    Timeouts,
};
use objects::Store;
use serde_json::{Value, json};

use super::refs::backend_ref;
use crate::compare::service_of;

/// A rule in the making.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// As they stand in `spec.rules`.
    pub(super) rules: Vec<Value>,
    /// What has no equivalent: which annotation or field, and why.
    pub(super) lost: Vec<(String, String)>,
    /// Services that are spoken to over TLS, each with the backend.
    pub(super) over_tls: Vec<std::sync::Arc<Backend>>,
    /// Those that are spoken to in HTTP/2 without TLS.
    pub(super) http2: Vec<std::sync::Arc<Backend>>,
    /// Whether all backends speak HTTP/2 from the beginning.
    pub(super) is_grpc: bool,
}

/// What holds for all rules.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) store: &'a Store,
    /// The time limits of a route that names none.
    pub(super) timeouts: &'a Timeouts,
    /// How often a request is tried where a route does not say.
    pub(super) tries: u8,
    /// Where the route is.
    pub(super) namespace: &'a str,
    /// Whether it is for clients with TLS.
    pub(super) tls: bool,
    /// Whether patterns are prefixes here, because one of them has a rewrite that only prefixes have.
    pub(super) prefixes: bool,
}

/// What a pattern of ingress-nginx's is, where it is an idiom.
#[derive(Debug, PartialEq, Eq)]
struct Idiom<'a> {
    /// The text before what is captured, without a slash at its end.
    prefix: &'a str,
    /// The number of the capture that is the rest; 0 is none.
    rest: u8,
}

/// Makes the rules that one rule is; `is_default` says that it is what no path claims.
pub(super) fn make(rule: &Rule, around: Around<'_>) -> Made {
    let mut made = Made::default();
    let mut filters = Vec::new();
    let mut ends = false;
    for filter in &rule.filters {
        match one(filter, rule, around, &mut made) {
            One::Filter(filter) => filters.push(filter),
            One::Ends(filter) => {
                // Nothing else is done to who is sent elsewhere.
                filters = vec![filter];
                ends = true;
                break;
            }
            One::Nothing => {}
        }
    }
    let extras = rule.extras.as_deref();
    if let Some(hsts) = extras.and_then(|extras| extras.hsts.as_deref())
        && around.tls
        && !hsts.is_empty()
        && !ends
    {
        filters.push(json!({
            "type": "ResponseHeaderModifier",
            "responseHeaderModifier":
                {"set": [{"name": "Strict-Transport-Security", "value": hsts}]},
        }));
    }
    let filters = merged(filters);
    let path = path_of(rule, around);
    if ends {
        made.rules
            .push(rule_of(&[json!({"path": path})], &filters, None));
        return made;
    }
    let mut common = serde_json::Map::new();
    manner(rule, around, &mut common, &mut made);
    let mut add = |header: Option<Value>, references: Vec<Value>| {
        let matching = match header {
            Some(header) => json!({"path": path, "headers": [header]}),
            None => json!({"path": path}),
        };
        let mut one = rule_of(&[matching], &filters, Some(references));
        if let Value::Object(one) = &mut one {
            one.extend(common.clone());
        }
        made.rules.push(one);
    };
    match &rule.action {
        Action::NotFound => return Made::default(),
        Action::Denied => {
            made.lost.push((
                "spec".to_owned(),
                "an annotation that was to guard it is wrong, for which it is answered 503: of such \
                 a rule nothing is written, lest it be open"
                    .to_owned(),
            ));
            return made;
        }
        Action::Invalid => add(None, Vec::new()),
        Action::Forward(backend) => {
            made.is_grpc = backend.transport.http == HttpVersion::Http2;
            if made.is_grpc && backend.transport.tls.is_none() {
                made.http2.push(std::sync::Arc::clone(backend));
            }
            add(
                None,
                backend_ref(backend, None, around).into_iter().collect(),
            );
            speak(backend, &mut made);
        }
        Action::Split(split) => {
            let all: Vec<&Share> = split.shares().iter().collect();
            for (header, shares) in parts(split, &all, around.tls) {
                let references = shares
                    .iter()
                    .filter_map(|(share, weight)| match &share.target {
                        Target::Backend(backend) => backend_ref(backend, *weight, around),
                        Target::Invalid => None,
                    });
                add(header, references.collect());
            }
            for share in all {
                if let Target::Backend(backend) = &share.target {
                    speak(backend, &mut made);
                }
            }
        }
    }
    made
}

/// What is matched besides the path, and who answers.
type SplitPart<'a> = (Option<Value>, Vec<(&'a Share, Option<u32>)>);

fn parts<'a>(split: &Split, all: &[&'a Share], tls: bool) -> Vec<SplitPart<'a>> {
    if let Some(one) = split.of_scheme(tls) {
        return vec![(
            None,
            all.get(one)
                .map(|share| (*share, None))
                .into_iter()
                .collect(),
        )];
    }
    let weighed: Vec<_> = match all.iter().filter(|share| share.weight > 0).count() {
        1 => all
            .iter()
            .filter(|share| share.weight > 0)
            .map(|share| (*share, None))
            .collect(),
        _ => all
            .iter()
            .map(|share| (*share, Some(share.weight)))
            .collect(),
    };
    let (Some(canary), [main, other]) = (split.canary(), all) else {
        return vec![(None, weighed)];
    };
    let mut parts: Vec<SplitPart<'a>> = Vec::new();
    let mut part = |name: &str, kind: &str, value: &str, share: &'a Share| {
        let header = json!({"type": kind, "name": name, "value": value});
        parts.push((Some(header), vec![(share, None)]));
    };
    match &canary.header {
        Some((name, CanaryHeader::AlwaysNever)) => {
            part(name, "Exact", "always", other);
            part(name, "Exact", "never", main);
        }
        Some((name, CanaryHeader::Value(value))) => part(name, "Exact", value, other),
        Some((name, CanaryHeader::Pattern(pattern))) => {
            let anywhere = format!(".*(?:{}).*", pattern.as_str());
            part(name, "RegularExpression", &anywhere, other);
        }
        Some((name, CanaryHeader::Unreadable)) => part(name, "RegularExpression", ".*", main),
        None => {}
    }
    if let Some(cookie) = &canary.cookie {
        let name = pattern_of(cookie);
        for (value, share) in [("always", other), ("never", main)] {
            let pattern = format!("(?:.*; *)?(?i:{name})={value}(?:;.*)?");
            part("cookie", "RegularExpression", &pattern, share);
        }
    }
    parts.push((None, weighed));
    parts
}

fn rule_of(matches: &[Value], filters: &[Value], references: Option<Vec<Value>>) -> Value {
    let mut rule = json!({"matches": matches});
    if !filters.is_empty() {
        rule["filters"] = filters.into();
    }
    if let Some(references) = references {
        rule["backendRefs"] = references.into();
    }
    rule
}

/// Header modifiers come once in a rule.
fn merged(filters: Vec<Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for filter in filters {
        let key = match filter["type"].as_str() {
            Some("RequestHeaderModifier") => "requestHeaderModifier",
            Some("ResponseHeaderModifier") => "responseHeaderModifier",
            Some("URLRewrite") => "urlRewrite",
            _ => "",
        };
        let known = all
            .iter_mut()
            .find(|it| !key.is_empty() && it["type"] == filter["type"]);
        let Some(known) = known else {
            all.push(filter);
            continue;
        };
        let Value::Object(parts) = &filter[key] else {
            continue;
        };
        for (name, value) in parts {
            match (known[key].get_mut(name), value) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more.clone()),
                _ => known[key][name] = value.clone(),
            }
        }
    }
    all
}

fn path_of(rule: &Rule, around: Around<'_>) -> Value {
    let (kind, value) = match &rule.path {
        PathMatch::Exact(path) => ("Exact", path.to_string()),
        PathMatch::Prefix(path) if path.is_empty() => ("PathPrefix", "/".to_owned()),
        PathMatch::Prefix(path) => ("PathPrefix", path.to_string()),
        PathMatch::Pattern(pattern) if !pattern.is_location() => {
            ("RegularExpression", pattern.as_str().to_owned())
        }
        PathMatch::Pattern(pattern) => {
            let text = pattern.as_str();
            match idiom(text) {
                Some(idiom) if around.prefixes || text == "/" => {
                    let prefix = if idiom.prefix.is_empty() {
                        "/"
                    } else {
                        idiom.prefix
                    };
                    ("PathPrefix", prefix.to_owned())
                }
                _ => ("RegularExpression", format!("(?i){text}")),
            }
        }
    };
    json!({"type": kind, "value": value})
}

/// Whether a rule's rewrite is of a prefix alone, and its path is a pattern.
pub(super) fn asks_for_prefixes(rule: &Rule) -> bool {
    let PathMatch::Pattern(pattern) = &rule.path else {
        return false;
    };
    rule.filters.iter().any(|filter| match filter {
        Filter::Substitute(it) => {
            let found = idiom(pattern.as_str());
            found.is_some_and(|found| found.rest > 0 && replaced(it, &found).is_some())
        }
        _ => false,
    })
}

fn idiom(text: &str) -> Option<Idiom<'_>> {
    let special = |text: &str| text.contains(|c| r"\^$*+?()[]{}|".contains(c));
    for (ending, rest) in [
        ("(/|$)(.*)", 2),
        ("/(.*)", 1),
        ("/?(.*)", 1),
        ("(.*)", 1),
        ("", 0),
    ] {
        if let Some(prefix) = text.strip_suffix(ending)
            && !special(prefix)
        {
            // `/x(.*)` begins within an element, which no prefix does.
            let whole = !ending.starts_with("(.") || prefix.ends_with('/');
            let prefix = prefix.trim_end_matches('/');
            return whole.then_some(Idiom { prefix, rest });
        }
    }
    None
}

/// What takes the place of a prefix, if that is all that a rewrite does.
fn replaced(substitute: &Substitute, idiom: &Idiom<'_>) -> Option<String> {
    let to = substitute.to.to_string();
    let before = to.strip_suffix(&format!("${}", idiom.rest))?;
    let plain = !before.contains('$') && before.ends_with('/') && !substitute.redirects;
    plain.then(|| before.to_owned())
}

enum One {
    Filter(Value),
    /// The client is sent elsewhere.
    Ends(Value),
    Nothing,
}

fn one(filter: &Filter, rule: &Rule, around: Around<'_>, made: &mut Made) -> One {
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
    let reference = super::refs::named_ref(&service, None, around)
        .ok_or("RequestMirror copies to a port of a Service")?;
    Ok(json!({"type": "RequestMirror", "requestMirror": {"backendRef": reference}}))
}

/// What is said besides filters and backends.
fn manner(
    rule: &Rule,
    around: Around<'_>,
    to: &mut serde_json::Map<String, Value>,
    made: &mut Made,
) {
    let mut lose = |what: &str, why: &str| made.lost.push((what.to_owned(), why.to_owned()));
    let (own, usual) = (&rule.timeouts, around.timeouts);
    let mut limits = json!({});
    for (name, own, usual) in [
        ("request", own.total, usual.total),
        ("backendRequest", own.attempt, usual.attempt),
    ] {
        if own != usual {
            limits[name] = duration(own).into();
        }
    }
    if limits != json!({}) {
        to.insert("timeouts".to_owned(), limits);
    }
    for (name, own, usual) in [
        ("proxy-connect-timeout", own.connect, usual.connect),
        ("proxy-send-timeout", own.send, usual.send),
        ("proxy-read-timeout", own.read, usual.read),
    ] {
        if own != usual {
            lose(
                name,
                &format!(
                    "{own:?} here and {usual:?} of a route: Gateway API limits a whole request or \
                     attempt alone (timeouts.request, timeouts.backendRequest)"
                ),
            );
        }
    }
    if let Some(retry) = &rule.retry
        && (retry.attempts.saturating_add(1) != around.tries || !retry.codes.is_empty())
    {
        let codes: Vec<u16> = retry
            .codes
            .iter()
            .copied()
            .filter(|code| *code >= 400)
            .collect();
        let mut value = json!({"attempts": retry.attempts});
        if !codes.is_empty() {
            value["codes"] = json!(codes);
        }
        to.insert("retry".to_owned(), value);
        if !retry.on.non_idempotent {
            lose(
                "proxy-next-upstream",
                "a retry of Gateway API is for every method, POST and PATCH, too",
            );
        }
    }
    if let Some(affinity) = &rule.affinity {
        to.insert(
            "sessionPersistence".to_owned(),
            session(affinity, &mut lose),
        );
    }
}

fn session(affinity: &Affinity, lose: &mut impl FnMut(&str, &str)) -> Value {
    let mut session = json!({
        "sessionName": affinity.cookie,
        "type": if affinity.header { "Header" } else { "Cookie" },
    });
    let Some(terms) = &affinity.cookie_terms else {
        return session;
    };
    if let Some(age) = terms.max_age.filter(|age| *age > 0) {
        let age = Duration::from_secs(age.unsigned_abs());
        session["absoluteTimeout"] = duration(age).into();
        session["cookieConfig"] = json!({"lifetimeType": "Permanent"});
        lose(
            "session-cookie-max-age",
            "a session of Gateway API ends then, too, and not its cookie alone",
        );
    }
    let said = [
        ("session-cookie-path", terms.path.is_some()),
        ("session-cookie-domain", terms.domain.is_some()),
        ("session-cookie-expires", terms.expires.is_some()),
        ("session-cookie-samesite", terms.same_site.is_some()),
        ("session-cookie-secure", terms.secure),
    ];
    for (name, _) in said.iter().filter(|(_, said)| *said) {
        lose(
            name,
            "Gateway API's sessionPersistence does not say this of its cookie",
        );
    }
    session
}

/// As Gateway API writes it: at most five digits of each unit (GEP-2257).
fn duration(time: Duration) -> String {
    let millis = time.as_millis();
    let units = [
        (millis / 3_600_000, "h"),
        (millis / 60_000 % 60, "m"),
        (millis / 1000 % 60, "s"),
        (millis % 1000, "ms"),
    ];
    let units = units.iter().filter(|(count, _)| *count > 0);
    let text: String = units
        .map(|(count, unit)| format!("{}{unit}", (*count).min(99_999)))
        .collect();
    match text.is_empty() {
        true => "0s".to_owned(),
        false => text,
    }
}

/// What a backend's endpoints speak, as far as routes say it.
fn speak(backend: &std::sync::Arc<Backend>, made: &mut Made) {
    let transport = &backend.transport;
    if transport.fastcgi.is_some() {
        made.lost.push((
            "backend-protocol".to_owned(),
            "Gateway API knows no FastCGI".to_owned(),
        ));
    }
    if transport.tls.is_some() {
        made.over_tls.push(std::sync::Arc::clone(backend));
    }
}

/// A text as a pattern that is that text.
fn pattern_of(text: &str) -> String {
    regex_syntax::escape(text)
}

/// Whether a rule sends every client without TLS to HTTPS, and how.
pub(super) fn only_to_https(rule: &Rule) -> Option<HttpsRedirect> {
    rule.filters.iter().find_map(|filter| match filter {
        Filter::HttpsRedirect(redirect) => Some(*redirect),
        _ => None,
    })
}

/// The rule of a route that sends all its clients to HTTPS.
pub(super) fn all_to_https(redirect: HttpsRedirect) -> Value {
    json!({"filters": [to_https(redirect)]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_five_digits_of_a_unit() {
        let of = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(of(172_800), "48h");
        assert_eq!(of(3_725), "1h2m5s");
        assert_eq!(of(0), "0s");
        assert_eq!(duration(Duration::from_millis(250)), "250ms");
        assert_eq!(of(u64::MAX), "99999h15s");
    }

    #[test]
    fn idioms_of_rewrites_are_prefixes() {
        let of = |text| idiom(text).map(|found| (found.prefix, found.rest));
        assert_eq!(of("/api(/|$)(.*)"), Some(("/api", 2)));
        assert_eq!(of("/api/(.*)"), Some(("/api", 1)));
        assert_eq!(of("/(.*)"), Some(("", 1)));
        assert_eq!(of("/api"), Some(("/api", 0)));
        assert_eq!(of("/api(.*)"), None);
        assert_eq!(of("/a[0-9]+/(.*)"), None);
    }
}
