//! Label selectors, of namespaces here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kinds::{Shared, StringMap};

/// A `LabelSelector` of meta/v1: everything that is said must hold; one that says nothing selects
/// everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub match_labels: Option<Box<BTreeMap<Box<str>, Box<str>>>>,
    /// `matchExpressions`.
    pub match_expressions: Option<Box<[Requirement]>>,
}

/// One of a selector's `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Requirement {
    /// `key`.
    pub key: Box<str>,
    /// `operator`: In, NotIn, Exists or DoesNotExist.
    pub operator: Shared,
    /// `values`.
    pub values: Option<Box<[Box<str>]>>,
}

impl LabelSelector {
    /// Whether it selects what has these labels. An operator that is not known selects nothing.
    pub fn matches(&self, labels: &StringMap) -> bool {
        let mut equal = self.match_labels.iter().flat_map(|map| map.iter());
        let mut required = self.match_expressions.iter().flatten();
        equal.all(|(key, value)| labels.get(key) == Some(&**value))
            && required.all(|requirement| requirement.matches(labels.get(&requirement.key)))
    }
}

impl Requirement {
    fn matches(&self, label: Option<&str>) -> bool {
        let is_in = |label: &str| {
            let mut values = self.values.iter().flatten();
            values.any(|value| **value == *label)
        };
        match &*self.operator {
            "In" => label.is_some_and(is_in),
            "NotIn" => !label.is_some_and(is_in),
            "Exists" => label.is_some(),
            "DoesNotExist" => label.is_none(),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_selects_what_meets_everything_it_says() {
        let labels: StringMap = [("team", "web"), ("tier", "front")].into();
        for (selector, selects) in [
            (json!({}), true),
            (json!({"matchLabels": {"team": "web"}}), true),
            (json!({"matchLabels": {"team": "db"}}), false),
            (json!({"matchLabels": {"team": "web", "a": "b"}}), false),
            (expression("team", "In", &["db", "web"]), true),
            (expression("other", "In", &["db", "web"]), false),
            (expression("team", "NotIn", &["db"]), true),
            (expression("other", "NotIn", &["db"]), true),
            (expression("team", "NotIn", &["web"]), false),
            (expression("tier", "Exists", &[]), true),
            (expression("other", "Exists", &[]), false),
            (expression("other", "DoesNotExist", &[]), true),
            (expression("tier", "DoesNotExist", &[]), false),
            (expression("tier", "Gt", &["1"]), false),
        ] {
            let read: LabelSelector = serde_json::from_value(selector.clone()).expect("a selector");
            assert_eq!(read.matches(&labels), selects, "{selector}");
        }
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> serde_json::Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }
}
