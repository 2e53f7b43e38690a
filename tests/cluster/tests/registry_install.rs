//! The registry as the chart installs it: beside Narthex, behind an Ingress, with rights of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::chart::template;
use cluster_tests::ingress::addresses;
use cluster_tests::{Cluster, wait};
use program_tests::certificate::Authority;
use program_tests::program::Ended;
use program_tests::registry::guarded::{Guarded, htpasswd, layout, skopeo};
use serde_json::json;

/// What everything below is installed with.
const VALUES: [&str; 17] = [
    "controller.replicaCount=1",
    "controller.networkPolicy.enabled=true",
    "registry.enabled=true",
    "registry.insecure=true",
    "registry.storage.volume.emptyDir.sizeLimit=1Gi",
    "registry.access.htpasswdSecret=users",
    "registry.access.serviceAccounts.enabled=true",
    "registry.access.rules.rules[0].repositories={**}",
    "registry.access.rules.rules[0].actions={*}",
    "registry.access.rules.rules[0].subjects={user:bob}",
    "registry.hosting.host=localhost:5000",
    LIST,
    "registry.sync.dockerConfigSecret=sources",
    "registry.ingress.enabled=true",
    "registry.ingress.host=localhost",
    "registry.ingress.tlsSecret=registry-tls",
    // Whose X-Forwarded-Host has the port by which this test comes in.
    "registry.trustedProxies={10.244.0.0/16}",
];

/// What it brings by itself: from itself, which is a registry that there is.
const LIST: &str = "registry.images=apiVersion: narthex.dev/v1alpha1
kind: ImageList
spec:
  registries:
  - host: 127.0.0.1:5000
    tls:
      mode: disabled
  images:
  - source: 127.0.0.1:5000/team/app:1
    target: mirrored/app
";

/// For a ServiceAccount, in an upgrade.
const MORE: [&str; 3] = [
    "registry.access.rules.rules[1].repositories={team/*}",
    "registry.access.rules.rules[1].actions={pull}",
    "registry.access.rules.rules[1].subjects={serviceaccount:ci/builder}",
];

fn secret(name: &str, kind: &str, data: &serde_json::Value) -> String {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name, "namespace": "narthex"}, "stringData": data});
    format!("{secret}\n---\n")
}

#[test]
fn behind_its_ingress_it_is_pushed_to_and_pulled_from_by_who_may() {
    let cluster = &Cluster::start();
    for namespace in ["narthex", "ci"] {
        cluster.namespace(namespace);
    }
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    cluster.kubectl(&["label", "namespace", "narthex", restricted]);
    cluster.kubectl(&["-n", "ci", "create", "serviceaccount", "builder"]);
    let authority = Authority::new();
    let certificate = authority.ecdsa(&["localhost"]);
    let users = json!({"htpasswd": htpasswd(&[("bob", "build")])});
    let tls = json!({"tls.crt": certificate.chain_pem, "tls.key": certificate.key_pem});
    let sources = json!({"auths": {"127.0.0.1:5000": {"auth": STANDARD.encode("bob:build")}}});
    let sources = json!({".dockerconfigjson": sources.to_string()});
    cluster.apply(
        &[
            secret("users", "Opaque", &users),
            secret("registry-tls", "kubernetes.io/tls", &tls),
            secret("sources", "kubernetes.io/dockerconfigjson", &sources),
        ]
        .concat(),
    );
    cluster.install("narthex", "narthex", &VALUES);
    cluster.rolled_out("narthex", "deployment/narthex-registry");

    let balancer = ["-n", "narthex", "service/narthex"];
    let balancer = cluster.until(&balancer, |it| !addresses(it).is_empty());
    let door = cluster.door(format!("{}:443", addresses(&balancer)));
    let at = |name: &str| format!("docker://localhost:{}/{name}:1", door.port());
    let image = at("team/app");
    let folder = Guarded::folder();
    let certs = folder.path().join("certs");
    std::fs::create_dir(&certs).expect("a folder");
    std::fs::write(certs.join("ca.crt"), &authority.pem).expect("a file");
    let source = format!("oci:{}:1", layout(folder.path(), "a").display());
    let to = format!("--dest-cert-dir={}", certs.display());
    let push = |credentials: &str| {
        let credentials = format!("--dest-creds={credentials}");
        skopeo(&["copy", "--all", &to, &credentials, &source, &image])
    };
    let from = format!("--cert-dir={}", certs.display());
    let inspect = |credentials: &str, image: &str| -> Ended {
        let credentials = format!("--creds={credentials}");
        skopeo(&["inspect", "--raw", &from, &credentials, image])
    };
    let pull = |credentials: &str| inspect(credentials, &image);
    wait::eventually("an image is pushed", || {
        let pushed = push("bob:build");
        match pushed.code {
            Some(0) => Ok(()),
            _ => Err(pushed.said()),
        }
    });
    assert_eq!(pull("bob:build").code, Some(0));

    // What is on its list, which was not there yet when it looked first.
    wait::eventually("it brings what it lists", || {
        let brought = inspect("bob:build", &at("mirrored/app"));
        match brought.code {
            Some(0) => Ok(()),
            _ => Err(brought.said()),
        }
    });

    // Rules are read again where they are.
    let token = cluster.kubectl(&["-n", "ci", "create", "token", "builder"]);
    let builder = format!("builder:{}", token.trim());
    let refused = pull(&builder);
    assert!(refused.said().contains("denied"), "{}", refused.said());
    let pods = || {
        let label = "app.kubernetes.io/name=narthex-registry";
        let pods = cluster.get(&["-n", "narthex", "pods", "-l", label]);
        pods.expect("lists")["items"][0]["metadata"]["uid"].take()
    };
    let before = pods();
    let more = [&VALUES[..], &MORE].concat();
    cluster.install("narthex", "narthex", &more);
    wait::eventually("the ServiceAccount may pull", || {
        let pulled = pull(&builder);
        match pulled.code {
            Some(0) => Ok(()),
            _ => Err(pulled.said()),
        }
    });
    assert_eq!(before, pods(), "no other pod is needed for it");
    let refused = push(&builder);
    assert!(refused.said().contains("denied"), "{}", refused.said());

    let told = ["-n", "kube-public", "configmap/local-registry-hosting"];
    let told = cluster.until(&told, |_| true)["data"].to_string();
    assert!(told.contains("narthex-registry.narthex.svc:5000"), "{told}");

    // It has no more rights than that; and is none of those that kubectl narthex asks.
    let account = "narthex:narthex-registry";
    let review = "create tokenreviews.authentication.k8s.io";
    assert!(cluster.may(account, review) && !cluster.may("narthex:narthex", review));
    for refused in [
        "get secrets -n narthex",
        "list ingresses -A",
        "get leases.coordination.k8s.io -n narthex",
        "create configmaps -n kube-public",
        "patch configmaps/cluster-info -n kube-public",
    ] {
        assert!(!cluster.may(account, refused), "{refused}");
    }
    let said = cluster.narthex(&["status"]);
    assert!(
        said.success && !said.stdout.contains("registry"),
        "{said:?}"
    );
    let logs = ["-n", "narthex", "logs", "deployment/narthex-registry"];
    let log = cluster.kubectl(&logs);
    assert!(
        log.contains("are served at") && !log.contains("forbidden"),
        "{log}"
    );

    // What needs more than this cluster has is at least what the API takes.
    for more in [
        &["registry.insecure=true"][..],
        &[
            "registry.storage.bucket=s3://images/here",
            "registry.storage.bucketSecret=s3",
            "registry.tls.secret=tls",
            "registry.access.clientCASecret=clients",
            "registry.service.type=NodePort",
            "registry.service.nodePort=30500",
        ],
    ] {
        let rendered = template(&[&["registry.enabled=true"], more].concat());
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        let said = cluster.try_kubectl(&dry, &rendered.expect("rendered"));
        let is_warned = said.stderr.contains("PodSecurity");
        assert!(said.success && !is_warned, "{}", said.stderr);
    }
}
