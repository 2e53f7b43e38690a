//! A cluster's objects are served as they are, and whatever its API server does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cluster_tests::{Cluster, Inside, wait};
use program_tests::certificate::Certificate;
use program_tests::tls::Client;
use serde_json::Value;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: narthex}
spec: {controller: narthex.dev/ingress}
";

fn ingress(namespace: &str, name: &str, host: &str, service: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  ingressClassName: narthex
  rules:
  - host: {host}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}
"
    )
}

/// A ServiceAccount's kubeconfig, and that it may do what `rules` say.
fn account(cluster: &Cluster, namespace: &str, kind: &str, rules: &str) -> PathBuf {
    let (role, scope) = match kind {
        "ClusterRole" => ("ClusterRole", String::new()),
        _ => ("Role", format!(", namespace: {namespace}")),
    };
    cluster.apply(&format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {role}
metadata: {{name: reader-{namespace}{scope}}}
rules: {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {role}Binding
metadata: {{name: reader-{namespace}{scope}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {role}, name: reader-{namespace}}}
subjects: [{{kind: ServiceAccount, name: reader, namespace: {namespace}}}]
"
    ));
    let token = cluster.kubectl(&["-n", namespace, "create", "token", "reader"]);
    let inside = std::fs::read_to_string(cluster.kubeconfig_inside()).expect("written at start");
    let path = cluster.folder().join(format!("reader-{namespace}"));
    std::fs::write(&path, &inside).expect("writes");
    let set = |arguments: &[&str]| {
        let mut command = cluster.kubectl_command(arguments);
        let done = command.env("KUBECONFIG", &path).status();
        assert!(done.expect("kubectl starts").success(), "{arguments:?}");
    };
    set(&[
        "config",
        "set-credentials",
        "reader",
        "--token",
        token.trim(),
    ]);
    set(&["config", "set-context", "--current", "--user", "reader"]);
    path
}

fn put_certificate(cluster: &Cluster, namespace: &str, name: &str, certificate: &Certificate) {
    let file = |ending: &str, text: &str| {
        let path = cluster
            .folder()
            .join(format!("{namespace}-{name}.{ending}"));
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let chain = file("crt", &certificate.chain_pem);
    let key = file("key", &certificate.key_pem);
    let what = ["-n", namespace, "create", "secret", "tls", name];
    cluster.kubectl(&[&what[..], &["--cert", &chain, "--key", &key]].concat());
}

fn status(narthex: &Inside<'_>) -> Value {
    let response = narthex.admin("/api/status").expect("answers");
    serde_json::from_slice(&response.body).expect("JSON")
}

fn source(narthex: &Inside<'_>, kind: &str) -> Value {
    let status = status(narthex);
    let sources = status["sources"].as_array().cloned().unwrap_or_default();
    let found = sources.into_iter().find(|source| source["kind"] == kind);
    found.unwrap_or_default()
}

#[test]
fn routes_endpoints_and_certificates_follow_the_cluster() {
    let cluster = Cluster::shared();
    cluster.namespace("follow");
    cluster.apply(CLASS);
    cluster.echo("follow", "one", 1);
    cluster.apply(&ingress("follow", "web", "web.test", "one"));
    // Not those of other tests, whose Secrets would be counted.
    let narthex = cluster.serve().arg("--watch-namespace=follow").start();
    assert_eq!(narthex.get("web.test", "/").map(|r| r.status), Ok(200));
    assert_eq!(narthex.get("other.test", "/").map(|r| r.status), Ok(404));

    cluster.apply(&ingress("follow", "other", "other.test", "one"));
    narthex.until_status("other.test", "/", 200);
    cluster.kubectl(&["-n", "follow", "scale", "deployment/one", "--replicas=0"]);
    narthex.until_status("web.test", "/", 503);
    cluster.kubectl(&["-n", "follow", "scale", "deployment/one", "--replicas=2"]);
    narthex.until_status("web.test", "/", 200);
    // Each of these was measured: what is there at the start is not.
    wait::until("three changes are measured", || {
        let metrics = narthex.admin("/metrics").expect("answers").text();
        let count = "narthex_config_event_to_served_seconds_count ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(count));
        let count: Option<u64> = count.and_then(|text| text.parse().ok());
        count >= Some(3)
    });
    cluster.delete(&["-n", "follow", "ingress/other"]);
    narthex.until_status("other.test", "/", 404);

    // Named before it is there, then there, then gone.
    let patch = r#"{"spec":{"tls":[{"hosts":["web.test"],"secretName":"web-tls"}]}}"#;
    cluster.kubectl(&["-n", "follow", "patch", "ingress/web", "-p", patch]);
    let problems = || narthex.admin("/api/problems").expect("answers").text();
    wait::until("the Secret is missed", || {
        problems().contains("there is no Secret follow/web-tls")
    });
    let certificate = Certificate::of(&["web.test"]);
    put_certificate(cluster, "follow", "web-tls", &certificate);
    let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
    let shown = || {
        let connected = Client::trusting_anything().connect_to(door, "web.test");
        connected.is_ok_and(|(_, handshake)| handshake.certificate == certificate.der)
    };
    wait::until("the certificate is served", shown);
    wait::until("nothing is missed", || !problems().contains("web-tls"));
    assert_eq!(source(&narthex, "Secret")["watches"], 1);
    cluster.delete(&["-n", "follow", "secret/web-tls"]);
    wait::until("the Secret is missed again", || {
        problems().contains("web-tls")
    });
    cluster.delete(&["-n", "follow", "ingress/web"]);
    wait::until("the Secret is watched no more", || {
        source(&narthex, "Secret").is_null()
    });
}

#[test]
fn secrets_are_read_with_no_right_to_list_them() {
    let cluster = Cluster::shared();
    cluster.namespace("rights");
    cluster.apply(CLASS);
    cluster.echo("rights", "echo", 1);
    cluster.apply(&ingress("rights", "web", "rights.test", "echo"));
    let certificate = Certificate::of(&["rights.test"]);
    put_certificate(cluster, "rights", "here", &certificate);
    let patch = r#"{"spec":{"tls":[{"hosts":["rights.test"],"secretName":"here"}]}}"#;
    cluster.kubectl(&["-n", "rights", "patch", "ingress/web", "-p", patch]);
    let rules = r#"
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [get, watch]}
"#;
    let kubeconfig = account(cluster, "rights", "ClusterRole", rules);
    let narthex = cluster.serve().kubeconfig(&kubeconfig).start();
    // From the first handshake on: there was no moment without it.
    let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
    let (_, handshake) = Client::trusting_anything()
        .connect_to(door, "rights.test")
        .expect("a handshake");
    assert_eq!(handshake.certificate, certificate.der);
    let problems = narthex.admin("/api/problems").expect("answers").text();
    assert!(!problems.contains("may not be read"), "{problems}");
}

#[test]
fn all_secrets_are_read_by_one_watch_where_that_is_asked_for() {
    let cluster = Cluster::shared();
    cluster.namespace("all-secrets");
    cluster.apply(CLASS);
    cluster.echo("all-secrets", "echo", 1);
    cluster.apply(&ingress("all-secrets", "web", "all.test", "echo"));
    let patch = r#"{"spec":{"tls":[{"hosts":["all.test"],"secretName":"here"}]}}"#;
    let what = ["-n", "all-secrets", "patch", "ingress/web", "-p", patch];
    cluster.kubectl(&what);
    let narthex = cluster.serve().arg("--watch-all-secrets").start();
    let certificate = Certificate::of(&["all.test"]);
    put_certificate(cluster, "all-secrets", "here", &certificate);
    let door = cluster.door(format!("10.244.0.1:{}", narthex.https));
    wait::until("the certificate is served", || {
        let connected = Client::trusting_anything().connect_to(door, "all.test");
        connected.is_ok_and(|(_, handshake)| handshake.certificate == certificate.der)
    });
    assert_eq!(source(&narthex, "Secret")["watches"], 1);
    assert_eq!(source(&narthex, "ConfigMap")["watches"], 1);
}

#[test]
fn a_role_in_one_namespace_is_enough_for_it() {
    let cluster = Cluster::shared();
    for namespace in ["mine", "theirs"] {
        cluster.namespace(namespace);
        cluster.echo(namespace, "echo", 1);
        cluster.apply(&ingress(
            namespace,
            "web",
            &format!("{namespace}.test"),
            "echo",
        ));
    }
    let rules = r#"
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [get, watch]}
"#;
    let kubeconfig = account(cluster, "mine", "Role", rules);
    let arguments = ["--watch-namespace", "mine", "--ingress-class", "narthex"];
    let narthex = cluster
        .serve()
        .kubeconfig(&kubeconfig)
        .args(&arguments)
        .start();
    assert_eq!(narthex.get("mine.test", "/").map(|r| r.status), Ok(200));
    assert_eq!(narthex.get("theirs.test", "/").map(|r| r.status), Ok(404));
    let problems = wait::eventually("it is told who tells of classes", || {
        let problems = narthex.admin("/api/problems")?.text();
        match problems.contains("classes are told by --ingress-class alone") {
            true => Ok(problems),
            false => Err(problems),
        }
    });
    assert_eq!(problems.matches("may not be read").count(), 1, "{problems}");
    cluster.kubectl(&["-n", "mine", "scale", "deployment/echo", "--replicas=0"]);
    narthex.until_status("mine.test", "/", 503);
}

#[test]
fn what_is_not_allowed_is_named_and_served_once_it_is() {
    let cluster = Cluster::shared();
    cluster.namespace("later");
    cluster.apply(CLASS);
    cluster.echo("later", "echo", 1);
    cluster.apply(&ingress("later", "web", "later.test", "echo"));
    let some = r#"
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
"#;
    let kubeconfig = account(cluster, "later", "ClusterRole", some);
    let narthex = cluster.serve().kubeconfig(&kubeconfig).spawn();
    wait::eventually("/readyz says what is missing", || {
        let response = narthex.admin("/readyz")?;
        let text = response.text();
        match text.starts_with("starting: waiting for EndpointSlice (refused (403)") {
            true if response.status == 503 => Ok(()),
            _ => Err(text),
        }
    });
    wait::until("it is logged", || narthex.log().contains("endpointslices"));
    let all = format!(
        "{some}- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}"
    );
    account(cluster, "later", "ClusterRole", &all);
    narthex.until_status("later.test", "/", 200);
    wait::until("it is ready", || {
        narthex
            .admin("/readyz")
            .is_ok_and(|response| response.status == 200)
    });
}

#[test]
fn namespaces_come_and_go_by_their_labels() {
    let cluster = Cluster::shared();
    cluster.apply(CLASS);
    cluster.namespace("labelled");
    cluster.echo("labelled", "echo", 1);
    cluster.apply(&ingress("labelled", "web", "labelled.test", "echo"));
    let narthex = cluster
        .serve()
        .arg("--watch-namespace-selector=team in (web, shop)")
        .start();
    assert_eq!(narthex.get("labelled.test", "/").map(|r| r.status), Ok(404));
    cluster.kubectl(&["label", "namespace/labelled", "team=web"]);
    narthex.until_status("labelled.test", "/", 200);
    cluster.kubectl(&["label", "--overwrite", "namespace/labelled", "team=other"]);
    narthex.until_status("labelled.test", "/", 404);
}

#[test]
fn an_api_server_that_is_killed_hangs_or_cuts_changes_nothing_for_clients() {
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    cluster.echo("default", "echo", 2);
    cluster.apply(&ingress("default", "web", "web.test", "echo"));
    let narthex = cluster.serve().start();
    let served = || assert_eq!(narthex.get("web.test", "/").map(|r| r.status), Ok(200));
    let readiness = || narthex.admin("/readyz").expect("answers");

    cluster.kill_apiserver();
    wait::until("it is told", || {
        readiness().text().contains("not followed for")
    });
    assert_eq!(readiness().status, 200);
    served();
    cluster.start_apiserver();
    wait::until("all is well again", || readiness().text() == "ok\n");
    served();
    cluster.apply(&ingress("default", "after", "after-kill.test", "echo"));
    narthex.until_status("after-kill.test", "/", 200);

    cluster.stop_apiserver();
    wait::until("it is told", || {
        readiness().text().contains("not followed for")
    });
    served();
    cluster.resume_apiserver();
    cluster.apply(&ingress("default", "after", "after-stop.test", "echo"));
    narthex.until_status("after-stop.test", "/", 200);
    narthex.until_status("after-kill.test", "/", 404);

    cluster.cut_watches_every(Duration::from_millis(200), 11);
    for round in 0..20 {
        cluster.apply(&ingress(
            "default",
            &format!("r{round}"),
            &format!("r{round}.test"),
            "echo",
        ));
        if round % 2 == 0 {
            cluster.delete(&["-n", "default", &format!("ingress/r{}", round / 2)]);
        }
        served();
    }
    cluster.cut_watches_every(Duration::ZERO, 0);
    for round in 0..20 {
        let expected = if round < 10 { 404 } else { 200 };
        narthex.until_status(&format!("r{round}.test"), "/", expected);
    }
    let metrics = narthex.admin("/metrics").expect("answers").text();
    let restarts = "narthex_cluster_watch_restarts_total{kind=\"Ingress\"} ";
    let restarts = metrics.lines().find_map(|line| line.strip_prefix(restarts));
    let restarts: u64 = restarts
        .and_then(|text| text.parse().ok())
        .expect("a count");
    assert!(restarts > 2, "{metrics}");
    wait::eventually("it is connected", || {
        let metrics = narthex.admin("/metrics")?.text();
        match metrics.contains("narthex_cluster_connected{kind=\"Ingress\"} 1") {
            true => Ok(()),
            false => Err(metrics),
        }
    });
}

#[test]
fn a_cluster_that_was_wiped_is_served_as_it_is_then() {
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    cluster.echo("default", "echo", 1);
    // So that versions are well beyond those of a cluster that begins.
    for round in 0..30 {
        cluster.apply(&ingress(
            "default",
            "web",
            &format!("r{round}.test"),
            "echo",
        ));
    }
    let narthex = cluster.serve().start();
    assert_eq!(narthex.get("r29.test", "/").map(|r| r.status), Ok(200));
    cluster.wipe();
    narthex.until_status("r29.test", "/", 404);
    cluster.apply(CLASS);
    cluster.echo("default", "again", 1);
    cluster.apply(&ingress("default", "web", "again.test", "again"));
    narthex.until_status("again.test", "/", 200);
}

/// The CustomResourceDefinitions of Gateway API's experimental channel, each for itself.
fn definitions() -> Vec<(String, String)> {
    let rig = concat!(env!("CARGO_MANIFEST_DIR"), "/rig");
    let output = Command::new("go")
        .args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"])
        .current_dir(rig)
        .output()
        .expect("go, which the rig is built with");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let module = String::from_utf8(output.stdout).expect("a path");
    let folder = Path::new(module.trim()).join("config/crd/experimental");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let definition = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a file").path();
        let name = path.file_name()?.to_str()?;
        let (group, plural) = name.strip_suffix(".yaml")?.split_once('_')?;
        let name = format!("crd/{plural}.{group}");
        let text = std::fs::read_to_string(&path).expect("text");
        text.contains("kind: CustomResourceDefinition")
            .then_some((name, text))
    };
    files.filter_map(definition).collect()
}

/// One object of each kind of two.
const GATEWAY: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  gatewayClassName: narthex
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: stream, namespace: default}
spec:
  parentRefs: [{name: web}]
  rules: [{backendRefs: [{name: web, port: 80}]}]
";

#[test]
fn gateway_api_is_read_as_soon_as_it_is_there_and_no_longer() {
    // Of its own: what all others would read too is not what they expect.
    let cluster = &Cluster::start();
    cluster.apply(CLASS);
    let narthex = cluster.serve().start();
    let apis = || status(&narthex)["apis"].clone();
    let objects = |kind: &str| status(&narthex)["counts"]["objects"][kind].as_u64();
    assert_eq!(apis(), Value::Null);
    let definitions = definitions();
    assert!(definitions.len() > 10, "{definitions:?}");
    for (_, definition) in &definitions {
        cluster.apply(definition);
    }
    for (name, _) in &definitions {
        cluster.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=180s",
            name,
        ]);
    }
    cluster.apply(GATEWAY);
    wait::eventually("the objects are read", || {
        match objects("Gateway") == Some(1) && objects("TCPRoute") == Some(1) {
            true => Ok(()),
            false => Err(status(&narthex).to_string()),
        }
    });
    assert_eq!(apis()[0]["group"], "gateway.networking.k8s.io");
    assert_eq!(apis()[0]["is_read"], true);
    wait::until("it is logged", || {
        narthex.log().contains("the cluster serves Gateway API")
    });

    cluster.delete(&["crd/tcproutes.gateway.networking.k8s.io"]);
    wait::until("a kind is gone", || objects("TCPRoute") == Some(0));
    assert_eq!(objects("Gateway"), Some(1));
    for (name, _) in &definitions {
        if name != "crd/tcproutes.gateway.networking.k8s.io" {
            cluster.delete(&[name]);
        }
    }
    wait::until("it is noticed that it is gone", || {
        apis() == Value::Null && objects("Gateway") == Some(0)
    });
}
