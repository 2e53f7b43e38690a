//! The admission webhook against a real API server.

use cluster_tests::{Cluster, Inside, Said, wait};

const SERVICES: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: narthex}
spec: {controller: narthex.dev/ingress}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.com/other}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec: {ports: [{port: 80}]}
";

/// The namespace of the webhook's Secret.
const NAMESPACE: &str = "narthex";

const CONFIGURATION: &str = "validatingwebhookconfiguration/narthex-admission";

fn ingress(name: &str, class: &str, path: &str, service: &str) -> String {
    format!(
        "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: {name}, namespace: default}}
spec:
  ingressClassName: {class}
  rules:
  - host: x.test
    http:
      paths:
      - path: \"{path}\"
        pathType: ImplementationSpecific
        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}
"
    )
}

fn try_apply(cluster: &Cluster, manifest: &str) -> Said {
    cluster.try_kubectl(&["apply", "-f", "-"], manifest)
}

/// The webhook on the node's address.
fn serve(cluster: &Cluster, port: u16) -> Inside<'_> {
    cluster
        .serve()
        .env("POD_NAMESPACE", NAMESPACE)
        .args(&["--validating-webhook", &format!("10.244.0.1:{port}")])
        .start()
}

fn configure(cluster: &Cluster, port: u16) {
    cluster.apply(&format!(
        "
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: narthex-admission}}
webhooks:
- name: validate.narthex.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  # Whoever is late is ignored: no machine is as slow as this.
  timeoutSeconds: 30
  rules:
  - {{apiGroups: [networking.k8s.io], apiVersions: [v1], operations: [CREATE, UPDATE],
     resources: [ingresses]}}
  clientConfig: {{url: \"https://10.244.0.1:{port}/validate\"}}
"
    ));
}

/// Waits until the API server asks, trusts what answers, and is told no.
#[track_caller]
fn until_asked(cluster: &Cluster) {
    wait::eventually("the API server asks the webhook", || {
        let probe = ingress("probe", "narthex", "/a?b", "web");
        let said = cluster.try_kubectl(&["apply", "--dry-run=server", "-f", "-"], &probe);
        match said.success {
            true => Err(format!("allowed: {}", said.stderr)),
            false => Ok(()),
        }
    });
}

fn bundle(cluster: &Cluster) -> String {
    let path = "jsonpath={.webhooks[0].clientConfig.caBundle}";
    cluster.kubectl(&["get", CONFIGURATION, "-o", path])
}

#[test]
fn what_is_wrong_is_told_by_kubectl_apply() {
    let cluster = Cluster::start();
    cluster.namespace(NAMESPACE);
    cluster.apply(SERVICES);
    // Before anybody is asked.
    cluster.apply(&ingress("bad-before", "narthex", "/c?d", "web"));
    cluster.apply(&ingress("first", "narthex", "/a", "web"));
    let port = program_tests::ports::free();
    let mut narthex = serve(&cluster, port);
    configure(&cluster, port);
    until_asked(&cluster);

    let said = try_apply(&cluster, &ingress("bad", "narthex", "/a?b", "web"));
    assert!(!said.success);
    let field = "spec.rules[0].http.paths[0].path";
    assert!(said.stderr.contains(field), "{}", said.stderr);
    assert!(said.stderr.contains("has a query"), "{}", said.stderr);

    let said = try_apply(&cluster, &ingress("theirs", "other", "/a?b", "web"));
    assert!(said.success && said.stderr.is_empty(), "{}", said.stderr);

    let said = try_apply(&cluster, &ingress("late", "narthex", "/b", "later"));
    assert!(said.success, "{}", said.stderr);
    let warning = "Warning: spec.rules[0].http.paths[0].backend.service.name: there is no Service";
    assert!(said.stderr.contains(warning), "{}", said.stderr);

    let said = try_apply(&cluster, &ingress("second", "narthex", "/a", "web"));
    assert!(said.success, "{}", said.stderr);
    let warning = "is taken by Ingress default/first";
    assert!(said.stderr.contains(warning), "{}", said.stderr);

    // What was bad before may be labelled and finalized, and deleted, but not made worse.
    cluster.kubectl(&["label", "ingress/bad-before", "a=b"]);
    let finalizer = r#"{"metadata":{"finalizers":["example.com/x"]}}"#;
    cluster.kubectl(&[
        "patch",
        "ingress/bad-before",
        "--type=merge",
        "-p",
        finalizer,
    ]);
    cluster.kubectl(&["delete", "ingress/bad-before", "--wait=false"]);
    let none = r#"{"metadata":{"finalizers":null}}"#;
    cluster.kubectl(&["patch", "ingress/bad-before", "--type=merge", "-p", none]);
    let worse = r#"[{"op":"replace","path":"/spec/rules/0/http/paths/0/path","value":"/%zz"}]"#;
    let said = cluster.try_kubectl(&["patch", "ingress/first", "--type=json", "-p", worse], "");
    assert!(
        !said.success && said.stderr.contains(field),
        "{}",
        said.stderr
    );

    for line in [
        "narthex_admission_reviews_total{result=\"refused\"} ",
        "narthex_admission_reviews_total{result=\"warned\"} ",
        "narthex_admission_seconds_count ",
    ] {
        wait::eventually(line, || {
            let metrics = narthex.admin("/metrics")?.text();
            let found = metrics.lines().find_map(|metric| metric.strip_prefix(line));
            match found.and_then(|count| count.parse::<u32>().ok()) >= Some(2) {
                true => Ok(()),
                false => Err(metrics),
            }
        });
    }

    // Without Narthex nothing is held up.
    narthex.child.kill().expect("our child");
    narthex.child.wait().expect("our child");
    let said = try_apply(&cluster, &ingress("bad", "narthex", "/a?b", "web"));
    assert!(said.success, "{}", said.stderr);
}

#[test]
fn two_replicas_share_a_certificate_that_they_mend_while_they_serve() {
    let cluster = Cluster::start();
    cluster.namespace(NAMESPACE);
    cluster.apply(SERVICES);
    let ports = [program_tests::ports::free(), program_tests::ports::free()];
    // Both at once, and neither finds a configuration yet.
    let replicas = std::thread::scope(|scope| {
        let started = ports.map(|port| {
            let cluster = &cluster;
            scope.spawn(move || serve(cluster, port))
        });
        started.map(|started| started.join().expect("it starts"))
    });
    wait::eventually("the missing configuration is told", || {
        match replicas[0]
            .log()
            .contains("there is no ValidatingWebhookConfiguration")
        {
            true => Ok(()),
            false => Err(replicas[0].log()),
        }
    });
    configure(&cluster, ports[0]);
    until_asked(&cluster);
    let first = bundle(&cluster);
    // The other one has the same certificate.
    configure(&cluster, ports[1]);
    until_asked(&cluster);
    assert_eq!(bundle(&cluster), first);

    // A new authority, and nobody restarts.
    cluster.delete(&["-n", NAMESPACE, "secret/narthex-admission"]);
    wait::until("another authority is told", || {
        let now = bundle(&cluster);
        !now.is_empty() && now != first
    });
    until_asked(&cluster);

    // Somebody's helm upgrade.
    let empty = r#"[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]"#;
    cluster.kubectl(&["patch", CONFIGURATION, "--type=json", "-p", empty]);
    until_asked(&cluster);
    for replica in &replicas {
        assert!(!replica.log().contains("panicked"), "{}", replica.log());
    }
}
