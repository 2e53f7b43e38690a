//! Certificates and redirects to HTTPS, case by case.

use serde_json::{Value, json};

use super::behaviour::{NOW, backend, compile, compile_with, put_ingress, rule_for, store, target};
use super::{answer, certificates, problems};
use crate::testing::{self, options};
use crate::{Compiled, Compiler, Options};

#[test]
fn certificates_are_chosen_by_host_and_broken_ones_fall_back() {
    let tls = |hosts: &[&str], secret: &str| json!({"hosts": hosts, "secretName": secret});
    let mut store = store(&[
        (
            "a",
            json!({
                "rules": [rule_for("x.test", "/", "web"), rule_for("y.test", "/", "web"), rule_for("z.test", "/", "web")],
                "tls": [
                    tls(&["x.test"], "x"), tls(&["y.test", "unused.test"], "missing"), tls(&["z.test"], "x"),
                    {"secretName": "wild"}
                ]
            }),
        ),
        (
            "b",
            json!({"rules": [rule_for("x.test", "/b", "web")], "tls": [tls(&["x.test"], "x2")]}),
        ),
    ]);
    store.apply(testing::tls_secret("default", "x", &["x.test"]));
    store.apply(testing::tls_secret("default", "x2", &["x.test"]));
    store.apply(testing::tls_secret("default", "wild", &["*.wild.test"]));
    store.apply(testing::tls_secret("default", "default", &["default.test"]));
    let compiled = compile_with(&store, |options| {
        options.default_certificate = Some(("default".into(), "default".into()));
    });
    assert_eq!(certificates(&compiled, "x.test"), ["Secret default/x"]);
    assert_eq!(
        certificates(&compiled, "y.test"),
        ["Secret default/default"]
    );
    assert_eq!(
        certificates(&compiled, "a.wild.test"),
        ["Secret default/wild"]
    );
    assert_eq!(
        certificates(&compiled, "other.test"),
        ["Secret default/default"]
    );
    assert_eq!(
        problems(&compiled),
        [
            "error Ingress default/a spec.tls[1].secretName",
            "warning Ingress default/a spec.tls[2].hosts[0]",
            "warning Ingress default/a spec.tls[1].hosts[1]",
            "warning Ingress default/b spec.tls[0].secretName",
        ]
    );
    assert_eq!(compiled.report.counts.certificates, 3);
}

#[test]
fn a_broken_default_certificate_is_reported_and_replaced() {
    let mut store = store(&[]);
    let by_flag = |options: &mut Options| {
        options.default_certificate = Some(("default".into(), "default".into()));
    };
    let compiled = compile_with(&store, by_flag);
    assert_eq!(certificates(&compiled, "x.test"), ["fallback"]);
    assert_eq!(problems(&compiled), ["error Secret default/default"]);

    store.apply(testing::tls_secret("default", "default", &["default.test"]));
    let mut options = options();
    by_flag(&mut options);
    let mut compiler = Compiler::new(options);
    let first = compiler.compile(&store, NOW);
    assert_eq!(certificates(&first, "x.test"), ["Secret default/default"]);
    assert!(!compiler.compile(&store, NOW).changed);
    store.apply(testing::tls_secret("default", "default", &["default.test"]));
    assert!(compiler.compile(&store, NOW).changed);
}

#[test]
fn both_key_types_of_a_host_are_kept_ecdsa_first() {
    let mut store = store(&[(
        "a",
        json!({
            "rules": [rule_for("x.test", "/", "web")],
            "tls": [{"hosts": ["x.test"], "secretName": "ed"}, {"hosts": ["x.test"], "secretName": "ec"}]
        }),
    )]);
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let made = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).expect("names");
    let made = made.self_signed(&ed25519).expect("a certificate");
    store.apply(testing::secret(
        "default",
        "ed",
        json!({"stringData": {
            "tls.crt": made.pem(), "tls.key": ed25519.serialize_pem()
        }}),
    ));
    store.apply(testing::tls_secret("default", "ec", &["x.test"]));
    let compiled = compile(&store);
    assert_eq!(
        certificates(&compiled, "x.test"),
        ["Secret default/ec", "Secret default/ed"]
    );
    assert!(problems(&compiled).is_empty());
}

#[test]
fn an_expired_certificate_is_served_with_a_warning_from_that_moment_on() {
    let mut store = store(&[(
        "a",
        json!({
            "rules": [rule_for("x.test", "/", "web")],
            "tls": [{"hosts": ["x.test"], "secretName": "x"}]
        }),
    )]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut made = rcgen::CertificateParams::new(vec!["x.test".to_owned()]).expect("names");
    made.not_before = rcgen::date_time_ymd(2024, 1, 1);
    made.not_after = rcgen::date_time_ymd(2025, 1, 1);
    let made = made.self_signed(&key).expect("a certificate");
    store.apply(testing::secret(
        "default",
        "x",
        json!({"stringData": {
            "tls.crt": made.pem(), "tls.key": key.serialize_pem()
        }}),
    ));
    const IN_2024: i64 = 1_710_000_000;
    const IN_2025: i64 = 1_740_000_000;
    let mut compiler = Compiler::new(options());
    assert!(problems(&compiler.compile(&store, IN_2024)).is_empty());
    let later = compiler.compile(&store, IN_2025);
    assert_eq!(
        problems(&later),
        ["warning Ingress default/a spec.tls[0].secretName"]
    );
    assert_eq!(certificates(&later, "x.test"), ["Secret default/x"]);
    assert!(!later.changed, "nothing else is served than before");
}

#[test]
fn clients_are_redirected_where_there_is_tls() {
    let spec = |host: &str, tls: Value| {
        json!({
            "rules": [rule_for(host, "/a", "web")], "tls": tls, "defaultBackend": backend("api")
        })
    };
    let mut store = store(&[
        ("a", spec("x.test", json!([{"hosts": ["x.test"]}]))),
        ("b", spec("y.test", json!([]))),
        ("c", json!({"rules": [rule_for("x.test", "/other", "web")]})),
        (
            "d",
            json!({"rules": [rule_for("z.w.test", "/", "web"), rule_for("*.w.test", "/", "web")],
                     "tls": [{"hosts": ["*.w.test"]}]}),
        ),
    ]);
    let redirects =
        |compiled: &Compiled, host: &str, path: &str| answer(compiled, host, path).redirect;
    let compiled = compile(&store);
    assert!(redirects(&compiled, "x.test", "/a"));
    assert!(
        redirects(&compiled, "x.test", "/b"),
        "the host's own default backend too"
    );
    assert!(
        redirects(&compiled, "x.test", "/other"),
        "TLS is the host's, not the Ingress's"
    );
    assert!(redirects(&compiled, "z.w.test", "/"));
    assert!(!redirects(&compiled, "y.test", "/a"));
    assert!(!redirects(&compiled, "unclaimed.test", "/"));
    let off = compile_with(&store, |options| options.ssl_redirect = false);
    assert!(!redirects(&off, "x.test", "/a"));

    for (annotation, host, expected) in [
        (("ssl-redirect", "false"), "x.test", false),
        // As in ingress-nginx, the default stands where this cannot be read.
        (("ssl-redirect", "nonsense"), "x.test", true),
        (("force-ssl-redirect", "true"), "y.test", true),
    ] {
        let name = if host == "x.test" { "a" } else { "b" };
        let tls = if host == "x.test" {
            json!([{"hosts": [host]}])
        } else {
            json!([])
        };
        let (key, value) = (
            format!("nginx.ingress.kubernetes.io/{}", annotation.0),
            annotation.1,
        );
        let object = json!({"metadata": {"annotations": {key: value}}, "spec": spec(host, tls)});
        put_ingress(&mut store, name, object);
        assert_eq!(
            redirects(&compile(&store), host, "/a"),
            expected,
            "{annotation:?}"
        );
    }
}

#[test]
fn a_host_named_for_tls_alone_goes_to_the_default_backend_of_its_ingress() {
    let compiled = compile(&store(&[
        (
            "a",
            json!({"defaultBackend": backend("web"), "tls": [{"hosts": ["x.test"]}]}),
        ),
        ("b", json!({"rules": [rule_for("", "/", "api")]})),
        (
            "c",
            json!({"rules": [rule_for("", "/c", "web")], "tls": [{"hosts": ["y.test"]}]}),
        ),
    ]));
    assert_eq!(
        answer(&compiled, "x.test", "/a").rule,
        "default/a spec.defaultBackend"
    );
    assert!(answer(&compiled, "x.test", "/a").redirect);
    // Its rule for all hosts is meant.
    assert_eq!(
        target(&compiled, "y.test", "/c"),
        "default/web:80 10.0.0.1:8080"
    );
    assert_eq!(
        target(&compiled, "y.test", "/"),
        "default/api:80 10.0.0.1:8080"
    );
    assert!(problems(&compiled).is_empty());
}
