use objects::kinds::{IngressClass, Object, Service};
use serde_json::json;

use super::*;

fn options() -> Options {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;

    let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = rustls::sign::CertifiedKey::from_der(
        vec![made.cert.der().clone()],
        key.expect("a key"),
        &provider,
    );
    Options::new(Arc::new(model::Certificate {
        key: Arc::new(key.expect("they fit")),
        source: "fallback".into(),
        not_after: i64::MAX,
        staple: model::Staple::default(),
    }))
}

fn store() -> Store {
    let mut store = Store::default();
    for (name, controller) in [("ours", "narthex.dev/ingress"), ("theirs", "example.com/x")] {
        let class = json!({"metadata": {"name": name}, "spec": {"controller": controller}});
        let class: IngressClass = serde_json::from_value(class).expect("a class");
        store.apply(Object::IngressClass(Arc::new(class)));
    }
    let web = json!({"metadata": {"name": "web", "namespace": "default"},
        "spec": {"ports": [{"port": 80}]}});
    let web: Service = serde_json::from_value(web).expect("a Service");
    store.apply(Object::Service(Arc::new(web)));
    store
}

fn judge() -> Judge {
    Judge::new(|| Some(store()), options(), Scope::default())
}

/// An Ingress of a class with a path that nobody can serve, or can.
fn ingress(class: &str, path: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "a", "namespace": "default",
            "creationTimestamp": "2025-01-01T00:00:00Z", "managedFields": [{"manager": "kubectl"}]},
        "spec": {"ingressClassName": class, "rules": [{"host": "x.test", "http": {"paths": [
            {"path": path, "pathType": "ImplementationSpecific",
             "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]},
        "status": {"loadBalancer": {}},
    })
}

fn ask(operation: &str, object: &Value, old: &Value) -> (Value, Outcome) {
    ask_of(&judge(), operation, object, old)
}

fn ask_of(judge: &Judge, operation: &str, object: &Value, old: &Value) -> (Value, Outcome) {
    let review = json!({
        "apiVersion": API_VERSION, "kind": "AdmissionReview",
        "request": {
            "uid": "u-1", "kind": {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"},
            "resource": {"group": "networking.k8s.io", "version": "v1", "resource": "ingresses"},
            "operation": operation, "object": object, "oldObject": old, "dryRun": true,
        },
    });
    let asked = Asked::read(review.to_string().as_bytes()).expect("a review");
    let answer = judge.answer(&asked, 0);
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body["apiVersion"], API_VERSION);
    assert_eq!(body["kind"], "AdmissionReview");
    assert_eq!(body["response"]["uid"], "u-1");
    (body["response"].clone(), answer.outcome)
}

#[test]
fn a_good_ingress_is_allowed_without_a_word() {
    let (answer, outcome) = ask("CREATE", &ingress("ours", "/a"), &Value::Null);
    assert_eq!(answer, json!({"uid": "u-1", "allowed": true}));
    assert_eq!(outcome, Outcome::Allowed);
}

#[test]
fn what_could_not_be_served_is_refused_and_the_field_is_named() {
    let (answer, outcome) = ask("CREATE", &ingress("ours", "/a?b"), &Value::Null);
    assert_eq!(outcome, Outcome::Refused);
    assert_eq!(answer["allowed"], false);
    let status = &answer["status"];
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&json!(422), &json!("Invalid"))
    );
    let field = "spec.rules[0].http.paths[0].path";
    let message = status["message"].as_str().expect("a message");
    assert!(
        message.starts_with(&format!("{field}: \"/a?b\" has a query")),
        "{message}"
    );
    assert_eq!(status["details"]["name"], "a");
    assert_eq!(status["details"]["causes"][0]["field"], field);
}

#[test]
fn what_is_not_ours_is_nobodys_business_here() {
    for class in ["theirs", "unknown"] {
        let (answer, _) = ask("CREATE", &ingress(class, "/a?b"), &Value::Null);
        assert_eq!(answer["allowed"], true, "{class}");
    }
    let (answer, outcome) = ask("CREATE", &ingress("theirs", "/a?b"), &Value::Null);
    assert_eq!(
        (outcome, &answer["warnings"]),
        (Outcome::Allowed, &Value::Null)
    );
    // From ours to theirs, and the other way round.
    let (ours, theirs) = (ingress("ours", "/a?b"), ingress("theirs", "/a?b"));
    assert_eq!(ask("UPDATE", &theirs, &ours).1, Outcome::Allowed);
    assert_eq!(ask("UPDATE", &ours, &theirs).1, Outcome::Refused);
}

#[test]
fn what_is_not_watched_is_not_looked_at() {
    for (namespaces, selected, expected) in [
        (&["other"][..], false, Outcome::Allowed),
        (&["other", "default"], false, Outcome::Refused),
        // No Namespace with the right labels is there.
        (&[], true, Outcome::Allowed),
    ] {
        let scope = Scope {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            selected,
            ..Scope::default()
        };
        let judge = Judge::new(|| Some(store()), options(), scope);
        let (_, outcome) = ask_of(&judge, "CREATE", &ingress("ours", "/a?b"), &Value::Null);
        assert_eq!(outcome, expected, "{namespaces:?}");
    }
}

#[test]
fn an_update_is_refused_for_what_it_breaks_and_not_for_what_was_broken() {
    let (good, bad) = (ingress("ours", "/a"), ingress("ours", "/a?b"));
    assert_eq!(ask("UPDATE", &bad, &good).1, Outcome::Refused);
    assert_eq!(ask("UPDATE", &good, &bad).1, Outcome::Allowed);
    // A finalizer goes away, and an owner's label comes.
    let mut finalized = bad.clone();
    finalized["metadata"]["labels"] = json!({"owner": "x"});
    assert_eq!(ask("UPDATE", &finalized, &bad).1, Outcome::Allowed);
    // Another path is added before the bad one, which moves: told, not refused.
    let mut more = bad.clone();
    let path = ingress("ours", "/b")["spec"]["rules"][0]["http"]["paths"][0].clone();
    let paths = more["spec"]["rules"][0]["http"]["paths"]
        .as_array_mut()
        .expect("paths");
    paths.insert(0, path);
    let (answer, outcome) = ask("UPDATE", &more, &bad);
    assert_eq!(outcome, Outcome::Warned);
    let warning = answer["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.starts_with("spec.rules[0].http.paths[1].path: "),
        "{warning}"
    );
    // The same mistake once more is one more.
    let path = bad["spec"]["rules"][0]["http"]["paths"][0].clone();
    let mut twice = bad.clone();
    let paths = twice["spec"]["rules"][0]["http"]["paths"]
        .as_array_mut()
        .expect("paths");
    paths.push(path);
    assert_eq!(ask("UPDATE", &twice, &bad).1, Outcome::Refused);
}

#[test]
fn what_may_still_come_is_a_warning() {
    let mut object = ingress("ours", "/a");
    object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = json!("later");
    object["spec"]["tls"] = json!([{"hosts": ["x.test"], "secretName": "made-by-cert-manager"}]);
    let (answer, outcome) = ask("CREATE", &object, &Value::Null);
    assert_eq!(outcome, Outcome::Warned);
    assert_eq!(
        answer["warnings"].as_array().map(Vec::len),
        Some(2),
        "{answer}"
    );
    // Nobody knows of a Secret that is not read before something refers to it.
    let scope = Scope {
        secrets_by_reference: true,
        ..Scope::default()
    };
    let by_reference = Judge::new(|| Some(store()), options(), scope);
    let (answer, _) = ask_of(&by_reference, "CREATE", &object, &Value::Null);
    let warnings = answer["warnings"].as_array().expect("one");
    assert!(warnings.len() == 1 && warnings[0].as_str().expect("text").contains("later"));
    // A Service that is there and has no such port contradicts the Ingress already.
    let mut object = ingress("ours", "/a");
    object["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"] =
        json!(81);
    assert_eq!(ask("CREATE", &object, &Value::Null).1, Outcome::Refused);
}

#[test]
fn a_taken_path_is_a_warning_that_names_the_winner() {
    let judge = Judge::new(
        || {
            let mut store = store();
            let mut other = ingress("ours", "/a");
            other["metadata"]["name"] = json!("first");
            other["metadata"]["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
            let other: Ingress = serde_json::from_value(other).expect("an Ingress");
            store.apply(Object::Ingress(Arc::new(other)));
            Some(store)
        },
        options(),
        Scope::default(),
    );
    let (answer, _) = ask_of(&judge, "CREATE", &ingress("ours", "/a"), &Value::Null);
    let warning = answer["warnings"][0].as_str().expect("a warning");
    assert!(
        warning.contains("is taken by Ingress default/first"),
        "{warning}"
    );
}

#[test]
fn deletions_other_kinds_and_subresources_pass() {
    let bad = ingress("ours", "/a?b");
    assert_eq!(ask("DELETE", &Value::Null, &bad).1, Outcome::Allowed);
    assert_eq!(ask("CONNECT", &bad, &Value::Null).1, Outcome::Allowed);
    let other = json!({"apiVersion": API_VERSION, "request": {"uid": "u", "operation": "CREATE",
        "kind": {"group": "", "kind": "Pod"}, "object": {"spec": 1}}});
    let asked = Asked::read(other.to_string().as_bytes()).expect("a review");
    assert_eq!(judge().answer(&asked, 0).outcome, Outcome::Allowed);
}

#[test]
fn what_cannot_be_looked_at_passes_with_a_warning() {
    let mut broken = ingress("ours", "/a");
    broken["spec"]["rules"] = json!("none");
    for (judge, object) in [
        (judge(), broken),
        (
            Judge::new(|| None, options(), Scope::default()),
            ingress("ours", "/a?b"),
        ),
    ] {
        let (answer, outcome) = ask_of(&judge, "CREATE", &object, &Value::Null);
        assert_eq!(
            (&answer["allowed"], outcome),
            (&json!(true), Outcome::Unchecked)
        );
        let warning = answer["warnings"][0].as_str().expect("a warning");
        assert!(
            warning.starts_with("Narthex did not check this object: "),
            "{warning}"
        );
    }
}

#[test]
fn what_is_no_review_has_no_answer() {
    let deep = "[".repeat(100_000);
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "\u{0}",
        deep.as_str(),
        r#"{"apiVersion":"admission.k8s.io/v1"}"#,
        r#"{"apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"a"}}"#,
        r#"{"apiVersion":"admission.k8s.io/v1","request":{"uid":7}}"#,
    ] {
        assert!(Asked::read(body.as_bytes()).is_err(), "{body:.40}");
    }
}

#[test]
fn mangled_reviews_are_answered_or_refused_and_never_a_panic() {
    let review = json!({"apiVersion": API_VERSION, "request": {
        "uid": "u-1", "kind": {"group": "networking.k8s.io", "kind": "Ingress"},
        "operation": "UPDATE", "object": ingress("ours", "/a?b"), "oldObject": ingress("ours", "/"),
    }});
    let good = review.to_string().into_bytes();
    let judge = judge();
    let mut random = fastrand::Rng::with_seed(7);
    let mut answered = 0;
    for _ in 0..2_000 {
        let mut body = good.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..body.len());
            match random.u8(..3) {
                0 => body[at] = random.u8(..),
                1 => drop(body.remove(at)),
                _ => body.insert(at, *random.choice(b"{}[]\",:0e-").expect("some")),
            }
        }
        if let Ok(asked) = Asked::read(&body) {
            let answer = judge.answer(&asked, 0);
            serde_json::from_slice::<Value>(&answer.body).expect("JSON");
            answered += 1;
        }
    }
    assert!(answered > 50, "{answered} were readable");
}

#[test]
fn warnings_are_few_short_and_on_one_line() {
    let shown = few((0..30).map(|n| format!("{n}\u{1b}[31m\n{}", "\u{e4}".repeat(400))));
    assert_eq!(shown.len(), MAX_WARNINGS + 1);
    assert!(shown.iter().all(|line| line.len() <= MAX_WARNING));
    assert!(shown.iter().all(|line| !line.chars().any(char::is_control)));
    assert!(shown[10].contains("20 more"), "{}", shown[10]);
}

#[test]
fn an_answer_among_many_routes_costs_a_small_part_of_a_compilation() {
    let mut store = store();
    for n in 0..4_000 {
        let mut other = ingress("ours", "/a");
        other["metadata"]["name"] = json!(format!("i{n}"));
        other["spec"]["rules"][0]["host"] = json!(format!("h{n}.test"));
        let other: Ingress = serde_json::from_value(other).expect("an Ingress");
        store.apply(Object::Ingress(Arc::new(other)));
    }
    let whole = std::time::Instant::now();
    drop(compile::Compiler::new(options()).compile(&store, 0));
    let whole = whole.elapsed();
    let judge = Judge::new(move || Some(store.clone()), options(), Scope::default());
    let mut object = ingress("ours", "/a");
    object["spec"]["rules"][0]["host"] = json!("h17.test");
    let one = std::time::Instant::now();
    let (answer, _) = ask_of(&judge, "CREATE", &object, &Value::Null);
    let one = one.elapsed();
    // It is older than none, and by its name comes first: the other one loses.
    assert!(
        answer["warnings"][0]
            .as_str()
            .expect("one")
            .contains("default/i17"),
        "{answer}"
    );
    assert!(one * 4 < whole, "{one:?} of {whole:?}");
}
