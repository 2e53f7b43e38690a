//! A rule as Gateway API has it.

mod filters;
mod manner;
mod paths;

use model::canary::CanaryHeader;
use model::{Action, Backend, HttpVersion, Rule, Share, Split, Target, Timeouts};
use objects::Store;
use serde_json::{Value, json};

use self::filters::{One, one};
pub(super) use self::filters::{all_to_https, only_to_https};
use self::manner::{manner, speak};
pub(super) use self::paths::asks_for_prefixes;
use self::paths::{path_of, pattern_of};
use super::refs::backend_ref;

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
