//! ServiceAccounts' tokens at the registry, which a real API server knows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cluster_tests::{Cluster, Registry, wait};
use program_tests::registry::guarded::rules;
use serde_json::Value;

const RULES: &str =
    "- {repositories: ['ci/**'], actions: [pull, push], subjects: ['serviceaccount:ci/builder']}
- {repositories: ['ci/**'], actions: [pull], subjects: ['group:system:serviceaccounts:shop']}
";

/// Who asks the API server.
const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: registry, namespace: images}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: images-registry}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: registry, namespace: images}]
";

/// Has a token for the registry, as a build has that pushes.
const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: ci}
spec:
  serviceAccountName: builder
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: rig/host
    command: [sleep, '1000']
    volumeMounts: [{name: registry, mountPath: /registry}]
  volumes:
  - name: registry
    projected: {sources: [{serviceAccountToken: {audience: registry, path: token}}]}
";

/// Whether a token may pull: 404 is of a repository that is not there.
fn pull(registry: &Registry<'_>, token: &str) -> u16 {
    let bearer = format!("Authorization: Bearer {token}");
    registry.status(&["-H", &bearer, "/v2/ci/app/tags/list"])
}

fn push(registry: &Registry<'_>, token: &str) -> u16 {
    let user = format!("anybody:{token}");
    registry.status(&["-X", "POST", "-u", &user, "/v2/ci/app/blobs/uploads/"])
}

/// Of a TokenRequest.
fn token(cluster: &Cluster, namespace: &str, account: &str, more: &[&str]) -> String {
    let create = ["-n", namespace, "create", "token", account];
    let token = cluster.kubectl(&[&create[..], more].concat());
    token.trim().to_owned()
}

/// The token in a pod of [`POD`].
fn token_in(cluster: &Cluster, pod: &str) -> String {
    let pod = cluster.until(&["-n", "ci", &format!("pod/{pod}")], |pod| {
        pod["status"]["phase"] == "Running"
    });
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    // In memory, and mounted where the cluster's processes see it alone.
    let (first, folder) = (cluster.pid(), cluster.folder().display());
    let file = format!("/proc/{first}/root{folder}/pods/{uid}/volumes/registry/token");
    wait::eventually("the pod has a token", || {
        std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))
    })
}

#[test]
fn tokens_are_good_for_their_account_their_audience_and_their_life() {
    let cluster = &Cluster::start();
    for namespace in ["images", "ci", "shop"] {
        cluster.namespace(namespace);
    }
    cluster.kubectl(&["-n", "ci", "create", "serviceaccount", "builder"]);
    cluster.apply(ACCOUNT);
    for pod in ["one", "two"] {
        cluster.apply(&POD.replace("NAME", pod));
    }
    let file = cluster.folder().join("rules.yaml");
    std::fs::write(&file, rules(RULES)).expect("written");
    let arguments = [
        "--service-accounts",
        "--service-account-audience=registry",
        "--access-file",
        &file.display().to_string(),
    ];
    let kubeconfig = cluster.kubeconfig_as("images", "registry");
    let registry = &Registry::start(cluster, kubeconfig, &arguments);
    let builder = token_in(cluster, "one");
    assert_eq!(
        (push(registry, &builder), pull(registry, &builder)),
        (202, 404),
        "404: nothing has been pushed yet"
    );
    // By its group, as every account of that namespace.
    let ours = ["--audience=registry"];
    let shop = token(cluster, "shop", "default", &ours);
    assert_eq!((push(registry, &shop), pull(registry, &shop)), (403, 404));
    let stranger = token(cluster, "images", "default", &ours);
    assert_eq!(pull(registry, &stranger), 403);
    // For the API server itself, and for somebody else.
    for audience in [&[][..], &["--audience=vault"]] {
        let foreign = token(cluster, "ci", "builder", audience);
        assert_eq!(pull(registry, &foreign), 401, "{audience:?}");
    }
    let (head, tail) = builder.rsplit_once('.').expect("three parts");
    let forged = format!("{head}.{}", tail.chars().rev().collect::<String>());
    assert_eq!(pull(registry, &forged), 401);

    // A token ends with its time, and with its pod: once what was known of it is a minute old.
    cluster.limit_tokens(Duration::from_secs(10));
    let short = wait::eventually("the pod has a shorter one", || {
        let token = token_in(cluster, "two");
        let is_new = life(&token) < 60 && pull(registry, &token) == 404;
        is_new.then_some(token).ok_or_else(|| "not yet".to_owned())
    });
    cluster.delete(&["-n", "ci", "pod/one"]);
    for (token, what) in [(&short, "time"), (&builder, "pod")] {
        wait::eventually(&format!("its {what} is over"), || {
            match pull(registry, token) {
                401 => Ok(()),
                other => Err(other.to_string()),
            }
        });
    }

    // While nobody can tell, that is what is said: it is not the client who is wrong.
    let later = token(cluster, "ci", "builder", &ours);
    cluster.kill_apiserver();
    assert_eq!(pull(registry, &later), 503);
    assert_eq!(registry.status(&["/v2/ci/app/tags/list"]), 401);
    wait::until("it is logged", || {
        registry.log().contains("cannot be verified")
    });
    let log = registry.log();
    assert!(!log.contains("forbidden"), "{log}");
    cluster.start_apiserver();
    wait::eventually("it is known again", || match pull(registry, &later) {
        404 => Ok(()),
        other => Err(other.to_string()),
    });
}

/// In how many seconds a token says that it ends.
fn life(token: &str) -> u64 {
    let claims = token.split('.').nth(1).expect("three parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("Base64");
    let claims: Value = serde_json::from_slice(&claims).expect("JSON");
    let end = claims["exp"].as_u64().expect("a number");
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    end.saturating_sub(now.expect("after 1970").as_secs())
}
