//! The rules of a host, and the same as rules of GRPCRoutes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::MOST_RULES;

/// The rules of a host.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// By the namespace of their route.
    pub(super) by: BTreeMap<String, Vec<Value>>,
    pub(super) policies: Vec<Value>,
    /// Whether all backends speak HTTP/2 from the beginning.
    pub(super) is_grpc: bool,
}

impl Rules {
    pub(super) fn same(&self, other: &Self) -> bool {
        self.by == other.by
    }

    /// The same as rules of GRPCRoutes, if they can be.
    pub(super) fn grpc(&self) -> Option<BTreeMap<String, Vec<Value>>> {
        if !self.is_grpc {
            return None;
        }
        let of = |(namespace, rules): (&String, &Vec<Value>)| {
            let rules: Option<Vec<Value>> = rules.iter().map(grpc_rule).collect();
            Some((
                namespace.clone(),
                rules.filter(|rules| rules.len() <= MOST_RULES)?,
            ))
        };
        let all: Option<BTreeMap<_, _>> = self.by.iter().map(of).collect();
        all.filter(|all| all.values().any(|rules| !rules.is_empty()))
    }
}

fn grpc_rule(rule: &Value) -> Option<Value> {
    let filters = rule.get("filters").and_then(Value::as_array);
    let known = [
        "RequestHeaderModifier",
        "ResponseHeaderModifier",
        "RequestMirror",
    ];
    let fits = |filter: &Value| {
        filter["type"]
            .as_str()
            .is_some_and(|it| known.contains(&it))
    };
    if !filters.into_iter().flatten().all(fits) || rule.get("timeouts").is_some() {
        return None;
    }
    rule.get("backendRefs")?;
    let mut to = rule.clone();
    let matches = rule["matches"].as_array()?.iter().map(|one| {
        let (kind, value) = (
            one["path"]["type"].as_str()?,
            one["path"]["value"].as_str()?,
        );
        let path = value.trim_start_matches('/');
        let mut matching = match (kind, path.split_once('/')) {
            ("PathPrefix", _) if path.is_empty() => json!({}),
            ("PathPrefix", None) => json!({"method": {"service": path}}),
            ("Exact", Some((service, method))) if !method.contains('/') => {
                json!({"method": {"service": service, "method": method}})
            }
            _ => return None,
        };
        if let Some(headers) = one.get("headers") {
            matching["headers"] = headers.clone();
        }
        Some(matching)
    });
    let matches: Vec<Value> = matches.collect::<Option<_>>()?;
    let fields = to.as_object_mut()?;
    fields.remove("retry");
    match matches.iter().all(|one| *one == json!({})) {
        true => fields.remove("matches"),
        false => fields.insert("matches".to_owned(), matches.into()),
    };
    Some(to)
}
