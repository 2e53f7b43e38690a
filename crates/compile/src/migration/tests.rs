//! One test a surprise, and what becomes of annotations and keys.

use std::sync::Arc;

use objects::Store;
use objects::kinds::Object;
use serde_json::{Value, json};

use super::*;
use crate::testing;

/// An Ingress: its name, its annotations without their prefix, its paths with their types.
type Written<'a> = (&'a str, Value, &'a [(&'a str, &'a str)]);

fn store(ingresses: &[Written<'_>]) -> Store {
    let mut store = Store::default();
    for (name, annotations, paths) in ingresses {
        let said: serde_json::Map<String, Value> = annotations
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (format!("nginx.ingress.kubernetes.io/{name}"), value.clone()))
            .collect();
        let paths: Vec<_> = paths
            .iter()
            .map(|(path, kind)| {
                json!({"path": path, "pathType": kind,
                "backend": {"service": {"name": "web", "port": {"number": 80}}}})
            })
            .collect();
        let object = json!({
            "metadata": {"annotations": said},
            "spec": {"ingressClassName": "nginx",
                "tls": [{"hosts": ["a.test"], "secretName": "a"}],
                "rules": [{"host": "a.test", "http": {"paths": paths}}]}
        });
        let made = testing::ingress("default", name, object);
        store.apply(Object::Ingress(Arc::new(made)));
    }
    store
}

fn of(ingresses: &[Written<'_>]) -> Migration {
    migration(&store(ingresses), &testing::options())
}

/// `NUMBER NAME` of each that was found; 9 and 10 only where they are asked for.
fn found(migration: &Migration) -> Vec<(u8, String)> {
    let surprises = migration.surprises.iter();
    surprises
        .flat_map(|it| {
            let places = it.places.iter();
            places.map(|place| (it.number, place.object.name.to_string()))
        })
        .filter(|(number, _)| ![9, 10].contains(number))
        .collect()
}

#[track_caller]
fn assert_found(ingresses: &[Written<'_>], expected: &[(u8, &str)]) {
    let found = found(&of(ingresses));
    let found: Vec<_> = found.iter().map(|(n, name)| (*n, &**name)).collect();
    assert_eq!(found, expected);
}

const SPECIFIC: &str = "ImplementationSpecific";

#[test]
fn a_plain_host_depends_on_nothing() {
    assert_found(&[("a", json!({}), &[("/a", "Prefix")])], &[]);
}

#[test]
fn surprise_1_a_regular_expression_matches_more() {
    let on = json!({"use-regex": "true"});
    assert_found(&[("a", on.clone(), &[("/v[0-9]", SPECIFIC)])], &[(1, "a")]);
    assert_found(&[("a", on, &[("/[0-9]+$", SPECIFIC)])], &[]);
}

#[test]
fn surprises_2_and_3_reach_other_ingresses_of_the_host() {
    for (annotation, number) in [("use-regex", 2), ("rewrite-target", 3)] {
        let value = if number == 2 { "true" } else { "/$1" };
        assert_found(
            &[
                ("a", json!({annotation: value}), &[("/[0-9]$", SPECIFIC)]),
                ("b", json!({}), &[("/plainly", "Exact")]),
            ],
            &[(number, "b")],
        );
    }
}

#[test]
fn surprise_4_a_slash_is_added_where_nobody_has_the_path_without() {
    assert_found(&[("a", json!({}), &[("/x/", "Prefix")])], &[(4, "a")]);
    assert_found(
        &[("a", json!({}), &[("/x/", "Prefix"), ("/x", "Exact")])],
        &[],
    );
}

#[test]
fn surprise_5_a_path_that_is_never_asked_for() {
    assert_found(&[("a", json!({}), &[("/x//y", "Prefix")])], &[(5, "a")]);
}

#[test]
fn surprise_6_the_longer_text_goes_first() {
    let paths = [("/[0-9]+/x$", SPECIFIC), ("/[0-9]+$", SPECIFIC)];
    assert_found(&[("a", json!({"use-regex": "true"}), &paths)], &[(6, "a")]);
}

#[test]
fn surprise_7_a_canary_is_not_asked_for_the_rest() {
    let said = json!({"canary": "true", "canary-weight": "5", "affinity": "cookie",
        "proxy-body-size": "8m"});
    assert_found(&[("a", said, &[("/", "Prefix")])], &[(7, "a")]);
}

#[test]
fn surprises_8_and_15_a_limit_is_by_address_and_replica() {
    let said = json!({"limit-rps": "5"});
    assert_found(&[("a", said, &[("/", "Prefix")])], &[(8, "a"), (15, "a")]);
    let said = json!({"whitelist-source-range": "10.0.0.0/8"});
    assert_found(&[("a", said, &[("/", "Prefix")])], &[(15, "a")]);
}

#[test]
fn surprises_9_and_10_hold_where_nothing_is_said() {
    let numbers = |annotations: Value| -> Vec<u8> {
        let made = of(&[("a", annotations, &[("/", "Prefix")])]);
        made.surprises.iter().map(|it| it.number).collect()
    };
    assert_eq!(numbers(json!({})), [9, 10]);
    let said = json!({"ssl-redirect": "false", "proxy-body-size": "8m",
        "proxy-request-buffering": "off"});
    assert!(numbers(said).is_empty());
}

#[test]
fn surprises_11_to_13_are_of_those_who_say_so() {
    for (annotation, value, number) in [
        ("proxy-body-size", "1g", 11),
        ("proxy-next-upstream", "error", 12),
        ("proxy-read-timeout", "3600", 13),
    ] {
        let said = json!({annotation: value});
        assert_found(&[("a", said, &[("/", "Prefix")])], &[(number, "a")]);
    }
}

#[test]
fn surprise_14_a_cookie_needs_a_path() {
    let mut said = json!({"use-regex": "true", "affinity": "cookie"});
    assert_found(
        &[("a", said.clone(), &[("/[0-9]$", SPECIFIC)])],
        &[(14, "a")],
    );
    said["session-cookie-path"] = json!("/");
    assert_found(&[("a", said, &[("/[0-9]$", SPECIFIC)])], &[]);
}

#[test]
fn fates_are_the_tables() {
    let said = json!({"ssl-redirect": "false", "force-ssl-redirect": "perhaps",
        "enable-modsecurity": "true", "ssl-redirct": "true"});
    let made = of(&[("a", said, &[("/", "Prefix")])]);
    let fates: Vec<_> = made.items.iter().map(|it| (&*it.name, it.fate)).collect();
    assert_eq!(
        fates,
        [
            ("enable-modsecurity", Fate::Refused),
            ("force-ssl-redirect", Fate::Invalid),
            ("ssl-redirct", Fate::Unknown),
            ("ssl-redirect", Fate::Works),
        ]
    );
    assert_eq!(made.hosts[0].verdict, Verdict::Cannot);
    assert!(made.hosts[0].tls && !made.carries_over());
}

#[test]
fn keys_of_the_config_map_have_fates_and_change_what_is_said() {
    let mut store = store(&[("a", json!({}), &[("/", "Prefix")])]);
    let map = json!({"metadata": {"namespace": "i", "name": "c"}, "data": {
        "proxy-body-size": "8m", "ssl-redirect": "perhaps", "http-snippet": "x;", "no-such": "1"}});
    let map = serde_json::from_value(map).expect("a ConfigMap");
    store.apply(Object::ConfigMap(Arc::new(map)));
    let mut options = testing::options();
    options.config_map = Some(("i".into(), "c".into()));
    let made = migration(&store, &options);
    let fates: Vec<_> = made.items.iter().map(|it| (&*it.name, it.fate)).collect();
    assert_eq!(
        fates,
        [
            ("http-snippet", Fate::Refused),
            ("no-such", Fate::Unknown),
            ("proxy-body-size", Fate::Works),
            ("ssl-redirect", Fate::Invalid),
        ]
    );
    assert!(made.surprises.iter().all(|it| it.number != 10));
    assert_eq!(made.inventory.config_map.as_deref(), Some("i/c"));
}

#[test]
fn ingresses_of_others_are_only_counted() {
    let mut store = store(&[("a", json!({}), &[("/", "Prefix")])]);
    let other = json!({"spec": {"ingressClassName": "other", "rules": [{"host": "b.test"}]}});
    let other = testing::ingress("default", "b", other);
    store.apply(Object::Ingress(Arc::new(other)));
    let made = migration(&store, &testing::options());
    assert_eq!(
        (made.inventory.ingresses, made.inventory.other_ingresses),
        (1, 1)
    );
    assert_eq!(made.hosts.len(), 1);
    assert_eq!(made.hosts[0].verdict, Verdict::Ready);
}
