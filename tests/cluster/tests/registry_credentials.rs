//! Credentials of outside registries, brought into a real cluster's namespaces.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::{Background, Cluster, Process, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Gives tokens as Google does: answers what the file `answer` says (a status, then a body), and notes who asked.
const PROVIDER: &str = r#"
import http.server, os, sys
folder = sys.argv[1]
class Provider(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        with open(folder + "/asked", "a") as asked:
            asked.write(body + "\n")
        status, text = open(folder + "/answer").read().split("\n", 1)
        self.send_response(int(status))
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
with open(folder + "/port.new", "w") as port:
    port.write(str(server.server_address[1]))
os.rename(folder + "/port.new", folder + "/port")
server.serve_forever()
"#;

/// A provider in the cluster's network; killed when dropped.
struct Provider {
    folder: PathBuf,
    _child: Background,
    port: String,
}

impl Provider {
    fn start(cluster: &Cluster) -> Self {
        let folder = cluster.folder().join("provider");
        std::fs::create_dir(&folder).expect("ours");
        let script = folder.join("provider.py");
        std::fs::write(&script, PROVIDER).expect("written");
        std::fs::write(folder.join("asked"), "").expect("written");
        let mut command = cluster.command("python3");
        let child = command.arg(script).arg(&folder).spawn().expect("it starts");
        let port = wait::eventually("the provider listens", || {
            std::fs::read_to_string(folder.join("port")).map_err(|error| error.to_string())
        });
        Self {
            folder,
            _child: Background(child),
            port,
        }
    }

    /// From now on.
    fn answers(&self, status: u16, body: &str) {
        let new = self.folder.join("answer.new");
        std::fs::write(&new, format!("{status}\n{body}")).expect("written");
        std::fs::rename(new, self.folder.join("answer")).expect("ours");
    }

    fn gives(&self, token: &str, seconds: u32) {
        let body = json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer"});
        self.answers(200, &body.to_string());
    }

    fn asked(&self) -> usize {
        let asked = std::fs::read_to_string(self.folder.join("asked"));
        asked.expect("written").lines().count()
    }

    /// The addon's Secret for it.
    fn secret(&self, namespace: &str, registries: &str) -> String {
        let file = json!({"type": "authorized_user", "client_id": "id", "client_secret": "s",
            "refresh_token": "r", "token_uri": format!("http://127.0.0.1:{}/token", self.port)});
        json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "registry-creds-gcr", "namespace": namespace},
            "stringData": {"application_default_credentials.json": file.to_string(),
                           "gcrurl": registries}})
        .to_string()
    }
}

/// The addon's Secret for a registry with a name and a password.
fn docker(namespace: &str, password: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "registry-creds-dpr", "namespace": namespace},
        "stringData": {"DOCKER_PRIVATE_REGISTRY_SERVER": "https://r.example",
                       "DOCKER_PRIVATE_REGISTRY_USER": "me",
                       "DOCKER_PRIVATE_REGISTRY_PASSWORD": password}})
    .to_string()
}

/// The hosts of a pull secret, with their names and passwords; as the kubelet reads them.
fn auths(secret: &Value) -> Vec<String> {
    if secret["type"] != "kubernetes.io/dockerconfigjson" {
        return vec![format!("it is of type {}", secret["type"])];
    }
    let text = secret["data"][".dockerconfigjson"]
        .as_str()
        .unwrap_or_default();
    let json: Value =
        serde_json::from_slice(&STANDARD.decode(text).expect("base64")).expect("JSON");
    // A test that has just broken it sees that, too.
    let auths = json["auths"].as_object().into_iter().flatten();
    auths
        .map(|(host, auth)| {
            let auth = STANDARD.decode(auth["auth"].as_str().unwrap_or_default());
            let auth = String::from_utf8(auth.expect("base64")).expect("UTF-8");
            format!("{host} {auth}")
        })
        .collect()
}

/// The `imagePullSecrets` of a ServiceAccount.
fn pulls(cluster: &Cluster, namespace: &str, account: &str) -> Vec<String> {
    let account = cluster.get(&["-n", namespace, &format!("serviceaccount/{account}")]);
    let account = account.expect("there");
    let pulls = account["imagePullSecrets"].as_array().into_iter().flatten();
    pulls
        .map(|one| one["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn until_pulls(cluster: &Cluster, namespace: &str, account: &str, expected: &[&str]) {
    wait::eventually(&format!("{namespace}/{account} names {expected:?}"), || {
        let pulls = pulls(cluster, namespace, account);
        match pulls == expected {
            true => Ok(()),
            false => Err(format!("it names {pulls:?}")),
        }
    });
}

fn until_auths(cluster: &Cluster, namespace: &str, name: &str, expected: &[&str]) {
    wait::eventually(&format!("{namespace}/{name} has {expected:?}"), || {
        let secret = cluster.get(&["-n", namespace, &format!("secret/{name}")])?;
        let auths = auths(&secret);
        match auths == expected {
            true => Ok(()),
            false => Err(format!("it has {auths:?}")),
        }
    });
}

fn is_there(cluster: &Cluster, namespace: &str, name: &str) -> bool {
    cluster
        .get(&["-n", namespace, &format!("secret/{name}")])
        .is_ok()
}

/// The notes of Events on a Secret.
fn events(cluster: &Cluster, namespace: &str, secret: &str) -> Vec<String> {
    let events = cluster.get(&["-n", namespace, "events.events.k8s.io"]);
    let events = events.unwrap_or_default()["items"].take();
    let events = events.as_array().cloned().unwrap_or_default();
    let of = events.iter().filter(|it| it["regarding"]["name"] == secret);
    of.map(|it| format!("{} {}", it["type"], it["note"]))
        .collect()
}

/// `narthex registry creds run`; killed when dropped.
struct Alone<'a> {
    cluster: &'a Cluster,
    process: Process,
    admin: u16,
}

impl<'a> Alone<'a> {
    fn start(cluster: &'a Cluster, kubeconfig: &Path, arguments: &[&str]) -> Self {
        let admin = program_tests::ports::free();
        let log = cluster.folder().join(format!("creds-{admin}.log"));
        let mut command = cluster.command(program_tests::program::binary());
        command
            .args([
                "registry",
                "creds",
                "run",
                "--namespace",
                "narthex",
                "--kubeconfig",
            ])
            .arg(kubeconfig)
            .args(["--admin-address", &format!("127.0.0.1:{admin}")])
            .args(arguments);
        Self {
            cluster,
            process: Process::start(&mut command, log),
            admin,
        }
    }

    fn log(&self) -> String {
        self.process.log()
    }

    fn page(&self, path: &str) -> String {
        let address = format!("127.0.0.1:{}", self.admin);
        let answer = self.cluster.ask(&address, &address, path);
        answer.map(|it| it.text()).unwrap_or_default()
    }

    /// What it knows of credentials.
    fn known(&self) -> Value {
        serde_json::from_str(&self.page("/api/registry/credentials")).unwrap_or_default()
    }

    fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }
}

#[test]
fn pull_secrets_come_to_every_namespace_outlive_a_failing_provider_and_go_with_their_source() {
    let cluster = &Cluster::start();
    let provider = Provider::start(cluster);
    provider.gives("one", 3600);
    cluster.namespace("early");
    let mine = r#"{"imagePullSecrets": [{"name": "mine"}]}"#;
    cluster.kubectl(&["-n", "early", "patch", "serviceaccount/default", "-p", mine]);
    cluster.kubectl(&["-n", "early", "create", "serviceaccount", "builder"]);
    cluster.apply(&provider.secret("kube-system", "https://gcr.io"));
    let narthex = cluster
        .serve()
        .args(&["--registry-credentials", "--pod-namespace=default"])
        .start();
    let one = ["gcr.io oauth2accesstoken:one"];
    until_auths(cluster, "early", "gcr-secret", &one);
    until_pulls(cluster, "early", "default", &["mine", "gcr-secret"]);
    until_pulls(cluster, "default", "default", &["gcr-secret"]);
    assert_eq!(pulls(cluster, "early", "builder"), [""; 0]);
    for later in ["later", "last"] {
        cluster.namespace(later);
        until_auths(cluster, later, "gcr-secret", &one);
        until_pulls(cluster, later, "default", &["gcr-secret"]);
    }
    assert_eq!(provider.asked(), 1, "however many namespaces");
    assert!(!is_there(cluster, "kube-system", "gcr-secret"));
    assert_eq!(pulls(cluster, "kube-system", "default"), [""; 0]);
    for other in ["awsecr-cred", "dpr-secret", "acr-secret"] {
        assert!(
            !is_there(cluster, "early", other),
            "what is not configured is not there"
        );
    }

    // Somebody breaks it.
    let broken = r#"{"metadata": {"labels": {"x": "y"}}, "data": {".dockerconfigjson": "e30="}}"#;
    cluster.kubectl(&["-n", "early", "patch", "secret/gcr-secret", "-p", broken]);
    until_auths(cluster, "early", "gcr-secret", &one);

    // A shorter life, and then a failure.
    provider.gives("two", 6);
    cluster.apply(&provider.secret("kube-system", "gcr.io,eu.gcr.io"));
    let two = [
        "eu.gcr.io oauth2accesstoken:two",
        "gcr.io oauth2accesstoken:two",
    ];
    until_auths(cluster, "later", "gcr-secret", &two);
    provider.answers(503, "");
    let metric = "narthex_registry_credential_refreshes_total{secret=\"gcr-secret\",provider=\"gcr\",outcome=\"error\"}";
    wait::until("the failure is counted", || {
        let metrics = narthex.admin("/metrics").map(|it| it.text());
        metrics.unwrap_or_default().contains(metric)
    });
    wait::until("the failure is told", || {
        let told = events(cluster, "kube-system", "registry-creds-gcr");
        told.iter()
            .any(|it| it.contains("Warning") && it.contains("503"))
    });
    let known = narthex
        .admin("/api/registry/credentials")
        .expect("known")
        .text();
    assert!(
        known.contains("answers 503") && known.contains("\"namespaces\":"),
        "{known}"
    );
    assert!(!known.contains("two"), "no secret is told: {known}");
    until_auths(cluster, "later", "gcr-secret", &two);
    provider.gives("three", 3600);
    let three = [
        "eu.gcr.io oauth2accesstoken:three",
        "gcr.io oauth2accesstoken:three",
    ];
    until_auths(cluster, "early", "gcr-secret", &three);
    wait::until("that it is well again is told", || {
        let told = events(cluster, "kube-system", "registry-creds-gcr");
        told.iter()
            .any(|it| it.contains("Normal") && it.contains("fresh again"))
    });

    cluster.delete(&["-n", "kube-system", "secret/registry-creds-gcr"]);
    for namespace in ["early", "later", "last", "default"] {
        wait::until("what is no longer wanted goes", || {
            !is_there(cluster, namespace, "gcr-secret")
        });
    }
    until_pulls(cluster, "early", "default", &["mine"]);
    until_pulls(cluster, "later", "default", &[]);
    let account = cluster.get(&["-n", "early", "serviceaccount/default"]);
    let annotations = account.expect("there")["metadata"]["annotations"].take();
    assert!(
        annotations["narthex.dev/registry-credentials"].is_null(),
        "{annotations}"
    );
    let log = narthex.log();
    for secret in ["oauth2accesstoken", "three", "client_secret"] {
        assert!(!log.contains(secret), "{secret} is logged");
    }
}

#[test]
fn who_is_selected_gets_it_and_what_is_not_ours_is_left_alone_and_said() {
    let cluster = &Cluster::start();
    for namespace in ["narthex", "team-a", "team-b", "team-c", "web"] {
        cluster.namespace(namespace);
    }
    cluster.kubectl(&["label", "namespace", "team-c", "stage=test"]);
    cluster.kubectl(&["-n", "team-a", "create", "serviceaccount", "builder"]);
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": "dpr-secret", "namespace": "team-b"}, "stringData": {"a": "b"}});
    cluster.apply(&foreign.to_string());
    cluster.apply(&docker("narthex", "pass:word"));
    let folder = cluster.folder().join("manifests");
    std::fs::create_dir(&folder).expect("ours");
    std::fs::write(folder.join("password"), "quay\n").expect("written");
    let manifest = "
apiVersion: narthex.dev/v1alpha1
kind: RegistryCredentials
metadata: {name: quay-pull}
spec:
  namespaces: {names: [web]}
  serviceAccounts: ['*']
  docker: {server: quay.io, username: robot, passwordFile: password}
";
    let path = folder.join("credentials.yaml");
    std::fs::write(&path, manifest).expect("written");
    let file = path.display().to_string();
    let arguments = [
        "--registry-credentials-namespaces=team-*",
        "--registry-credentials-namespace-selector=stage!=test",
        "--registry-credentials-service-accounts=default,builder",
        "--registry-credentials-file",
        &file,
    ];
    let narthex = Alone::start(cluster, &cluster.kubeconfig_inside(), &arguments);
    let auth = ["r.example me:pass:word"];
    until_auths(cluster, "team-a", "dpr-secret", &auth);
    for account in ["default", "builder"] {
        until_pulls(cluster, "team-a", account, &["dpr-secret"]);
    }
    until_auths(cluster, "web", "quay-pull", &["quay.io robot:quay"]);
    until_pulls(cluster, "web", "default", &["quay-pull"]);
    wait::until("what is in the way is told", || {
        let told = events(cluster, "team-b", "dpr-secret");
        told.iter().any(|it| it.contains("left alone"))
    });
    wait::until("it is a problem", || {
        let problems = narthex.known()["problems"].to_string();
        problems.contains("Secret team-b/dpr-secret")
    });
    let still = cluster
        .get(&["-n", "team-b", "secret/dpr-secret"])
        .expect("there");
    assert_eq!(
        (&still["type"], &still["data"]),
        (&json!("Opaque"), &json!({"a": "Yg=="}))
    );
    assert_eq!(pulls(cluster, "team-b", "default"), [""; 0]);
    for unselected in ["team-c", "narthex", "default"] {
        assert!(!is_there(cluster, unselected, "dpr-secret"), "{unselected}");
    }

    // The command that people ask with.
    wait::eventually("all of it is listed", || {
        let mut list = cluster.command(program_tests::program::binary());
        list.args(["registry", "creds", "list", "--admin-address"]);
        let said = list
            .arg(format!("127.0.0.1:{}", narthex.admin))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(!said.contains("word"), "{said}");
        let mut lines = said
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let is_quay = |it: Vec<&str>| it.starts_with(&["quay-pull", "docker", "valid", "-", "1"]);
        match said.contains("Secret narthex/registry-creds-dpr") && lines.any(is_quay) {
            true => Ok(()),
            false => Err(said.clone()),
        }
    });

    // What was in the way goes, and what was selected is not any more.
    cluster.delete(&["-n", "team-b", "secret/dpr-secret"]);
    until_auths(cluster, "team-b", "dpr-secret", &auth);
    cluster.kubectl(&["label", "namespace", "team-a", "stage=test"]);
    wait::until("team-a is left", || {
        !is_there(cluster, "team-a", "dpr-secret")
    });
    for account in ["default", "builder"] {
        until_pulls(cluster, "team-a", account, &[]);
    }
    cluster.apply(&docker("narthex", "new"));
    until_auths(cluster, "team-b", "dpr-secret", &["r.example me:new"]);

    // A manifest that is wrong now takes nothing away; one that says something else does.
    // Nobody sees a part of it.
    let write = |text: &str| {
        let new = folder.join("new");
        std::fs::write(&new, text).expect("written");
        std::fs::rename(new, &path).expect("ours");
    };
    write("{");
    wait::until("it is said what is wrong", || {
        narthex.known()["problems"]
            .to_string()
            .contains("credentials.yaml")
    });
    assert!(is_there(cluster, "web", "quay-pull"));
    write(&manifest.replace("quay-pull", "quay-other"));
    until_auths(cluster, "web", "quay-other", &["quay.io robot:quay"]);
    wait::until("the one before goes", || {
        !is_there(cluster, "web", "quay-pull")
    });
    until_pulls(cluster, "web", "default", &["quay-other"]);
}

/// The rights of docs/registry/credentials.md.
const RIGHTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: narthex, namespace: narthex}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: narthex}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [list, watch, patch]}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [awsecr-cred, gcr-secret, dpr-secret, acr-secret]
  verbs: [list, watch, create, patch, delete]
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: narthex}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex, namespace: narthex}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex, namespace: narthex}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
"#;

/// The same, in both namespaces of the Secrets that say whom to ask.
const SOURCES: &str = r#"
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex-sources, namespace: NAMESPACE}
rules:
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [registry-creds-ecr, registry-creds-gcr, registry-creds-dpr, registry-creds-acr]
  verbs: [list, watch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex-sources, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex-sources}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
"#;

#[test]
fn one_of_two_replicas_asks_and_writes_with_no_more_than_the_documented_rights() {
    let cluster = &Cluster::start();
    let provider = Provider::start(cluster);
    provider.gives("one", 3600);
    for namespace in ["narthex", "shop"] {
        cluster.namespace(namespace);
    }
    let sources = ["narthex", "kube-system"].map(|it| SOURCES.replace("NAMESPACE", it));
    cluster.apply(&(RIGHTS.to_owned() + &sources.concat()));
    cluster.apply(&provider.secret("narthex", "gcr.io"));
    let kubeconfig = as_account(cluster);
    let mut both = [
        Alone::start(cluster, &kubeconfig, &[]),
        Alone::start(cluster, &kubeconfig, &[]),
    ];
    until_auths(
        cluster,
        "shop",
        "gcr-secret",
        &["gcr.io oauth2accesstoken:one"],
    );
    until_pulls(cluster, "shop", "default", &["gcr-secret"]);
    let leader = || both.iter().position(|one| one.known()["writes"] == true);
    let first = wait::eventually("one writes", || leader().ok_or_else(|| "none".to_owned()));
    wait::until("the other knows that it does not", || {
        both[1 - first].known()["credentials"][0]["state"] == "another replica's"
    });
    assert_eq!(provider.asked(), 1);
    let secret = cluster
        .get(&["-n", "shop", "secret/gcr-secret"])
        .expect("there");

    provider.gives("two", 3600);
    both[first].signal(Signal::TERM);
    until_auths(
        cluster,
        "shop",
        "gcr-secret",
        &["gcr.io oauth2accesstoken:two"],
    );
    assert_eq!(provider.asked(), 2);
    let again = cluster
        .get(&["-n", "shop", "secret/gcr-secret"])
        .expect("there");
    assert_eq!(
        secret["metadata"]["uid"], again["metadata"]["uid"],
        "it is the same one"
    );
    cluster.namespace("later");
    until_auths(
        cluster,
        "later",
        "gcr-secret",
        &["gcr.io oauth2accesstoken:two"],
    );
    cluster.delete(&["-n", "narthex", "secret/registry-creds-gcr"]);
    wait::until("it goes", || !is_there(cluster, "shop", "gcr-secret"));
    until_pulls(cluster, "later", "default", &[]);
    for one in &both {
        let log = one.log();
        assert!(!log.contains("forbidden"), "{log}");
    }
    for right in [
        "list secrets",
        "get secrets/gcr-secret",
        "create secrets",
        "patch secrets/other",
    ] {
        let all = format!("{right} --all-namespaces");
        assert!(!cluster.may("narthex:narthex", &all), "{right}");
    }
}

/// A kubeconfig of the administrator, who acts as Narthex's account.
fn as_account(cluster: &Cluster) -> PathBuf {
    let account = "user: {as: 'system:serviceaccount:narthex:narthex', ";
    let text = std::fs::read_to_string(cluster.kubeconfig_inside()).expect("a kubeconfig");
    let text = text.replacen("user: {", account, 1);
    assert!(text.contains(account), "{text}");
    let path = cluster.folder().join("kubeconfig-account");
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn what_is_configured_by_command_is_what_the_addon_reads() {
    let cluster = &Cluster::start();
    cluster.namespace("shop");
    let configure = |more: &[&str]| {
        let mut command = cluster.command(program_tests::program::binary());
        command
            .args(["registry", "creds", "configure", "--provider=docker"])
            .args(["--namespace=kube-system", "--kubeconfig"])
            .arg(cluster.kubeconfig_inside())
            .args(["--set", "DOCKER_PRIVATE_REGISTRY_SERVER=r.example"])
            .args(["--set", "DOCKER_PRIVATE_REGISTRY_USER=me"])
            .args(more)
            .stdin(Stdio::null());
        command.output().expect("it runs")
    };
    let half = configure(&[]);
    let said = String::from_utf8_lossy(&half.stderr).into_owned();
    assert!(
        !half.status.success() && said.contains("DOCKER_PRIVATE_REGISTRY_PASSWORD"),
        "{said}"
    );
    // By a URL alone, as the addon's program takes it; of somebody who may do everything.
    let port = program_tests::ports::free();
    let mut proxy = cluster.kubectl_command(&["proxy", &format!("--port={port}")]);
    let proxy = Background(proxy.stdout(Stdio::null()).spawn().expect("it starts"));
    let url = format!("--kube-master-url=http://127.0.0.1:{port}");
    wait::until("it is written by way of a proxy", || {
        let mut command = std::process::Command::new(program_tests::program::binary());
        command
            .args(["registry", "creds", "configure", "--provider=docker", &url])
            .args(["--namespace=shop", "--set"])
            .args(["DOCKER_PRIVATE_REGISTRY_SERVER=r.example", "--set"])
            .args(["DOCKER_PRIVATE_REGISTRY_USER=me", "--set"])
            .arg("DOCKER_PRIVATE_REGISTRY_PASSWORD=pass");
        command.output().expect("it runs").status.success()
    });
    assert!(is_there(cluster, "shop", "registry-creds-dpr"));
    drop(proxy);
    let whole = ["--set", "DOCKER_PRIVATE_REGISTRY_PASSWORD=pass"];
    let dry = configure(&[whole[0], whole[1], "--dry-run"]);
    let dry = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(!is_there(cluster, "kube-system", "registry-creds-dpr"));
    let written = configure(&whole);
    assert!(
        written.status.success(),
        "{}",
        String::from_utf8_lossy(&written.stderr)
    );
    let secret = cluster
        .get(&["-n", "kube-system", "secret/registry-creds-dpr"])
        .expect("there");
    assert_eq!(
        secret["data"]["DOCKER_PRIVATE_REGISTRY_PASSWORD"],
        "cGFzcw=="
    );
    assert_eq!(secret["metadata"]["labels"]["cloud"], "private");
    let said = cluster.try_kubectl(
        &[
            "diff",
            "--server-side",
            "--field-manager=narthex",
            "-f",
            "-",
        ],
        &dry,
    );
    assert!(
        said.success,
        "what is printed is what is written: {}",
        said.stdout
    );
    cluster.namespace("narthex");
    let _narthex = Alone::start(cluster, &cluster.kubeconfig_inside(), &[]);
    until_auths(cluster, "shop", "dpr-secret", &["r.example me:pass"]);
}

/// Namespaces are looked at everywhere, and what is in them nowhere; for [`WITHIN`] and [`SOURCES`].
const NAMESPACES: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: narthex, namespace: narthex}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: narthex}
rules:
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: narthex}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex, namespace: narthex}
rules:
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, update]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex, namespace: narthex}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
"#;

/// The rights in one of the namespaces that are named.
const WITHIN: &str = r#"
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: narthex-pull-secrets, namespace: NAMESPACE}
rules:
- {apiGroups: [""], resources: [serviceaccounts], verbs: [list, watch, patch]}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [awsecr-cred, gcr-secret, dpr-secret, acr-secret]
  verbs: [list, watch, create, patch, delete]
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: narthex-pull-secrets, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: narthex-pull-secrets}
subjects: [{kind: ServiceAccount, name: narthex, namespace: narthex}]
"#;

#[test]
fn rights_in_the_namespaces_that_are_named_are_enough_for_those() {
    let cluster = &Cluster::start();
    for namespace in ["narthex", "shop", "web", "other"] {
        cluster.namespace(namespace);
    }
    let sources = ["narthex", "kube-system"].map(|it| SOURCES.replace("NAMESPACE", it));
    let within = ["shop", "web"].map(|it| WITHIN.replace("NAMESPACE", it));
    cluster.apply(&(NAMESPACES.to_owned() + &sources.concat() + &within.concat()));
    cluster.apply(&docker("narthex", "word"));
    let kubeconfig = cluster.kubeconfig_as("narthex", "narthex");
    let flag = "--registry-credentials-within";
    let narthex = Alone::start(cluster, &kubeconfig, &[flag, "shop,web"]);
    for namespace in ["shop", "web"] {
        until_auths(cluster, namespace, "dpr-secret", &["r.example me:word"]);
        until_pulls(cluster, namespace, "default", &["dpr-secret"]);
    }
    wait::until("both are counted", || {
        narthex.known()["credentials"][0]["namespaces"] == 2
    });
    cluster.apply(&docker("narthex", "new"));
    until_auths(cluster, "web", "dpr-secret", &["r.example me:new"]);
    assert!(!is_there(cluster, "other", "dpr-secret"));
    // Who changes it again and again is not fought as quickly as both can.
    let broken = r#"{"data": {".dockerconfigjson": "e30="}}"#;
    for _ in 0..5 {
        cluster.kubectl(&["-n", "web", "patch", "secret/dpr-secret", "-p", broken]);
        until_auths(cluster, "web", "dpr-secret", &["r.example me:new"]);
    }
    wait::until("that is told", || {
        let log = narthex.log();
        log.contains("Secret web/dpr-secret is changed or taken away by somebody else")
    });
    let log = narthex.log();
    assert!(!log.contains("forbidden"), "{log}");
    let account = "narthex:narthex";
    for (namespace, may) in [("shop", true), ("other", false)] {
        for right in [
            "patch secrets/dpr-secret",
            "create secrets/dpr-secret",
            "patch serviceaccounts/default",
        ] {
            let right = format!("{right} -n {namespace}");
            assert_eq!(cluster.may(account, &right), may, "{right}");
        }
        let list = format!("list secrets -n {namespace}");
        assert!(!cluster.may(account, &list), "{list}");
    }

    // A namespace without rights keeps nothing from the others; and is served once it has them.
    drop(narthex);
    cluster.delete(&["-n", "shop", "secret/dpr-secret"]);
    let narthex = Alone::start(cluster, &kubeconfig, &[flag, "shop,web,other"]);
    until_auths(cluster, "shop", "dpr-secret", &["r.example me:new"]);
    wait::until("what is missing is told", || {
        narthex.known()["problems"]
            .to_string()
            .contains("Secret other/dpr-secret")
    });
    cluster.apply(&WITHIN.replace("NAMESPACE", "other"));
    until_auths(cluster, "other", "dpr-secret", &["r.example me:new"]);
    until_pulls(cluster, "other", "default", &["dpr-secret"]);

    // A source that may not be read when it begins is none that is gone.
    drop(narthex);
    cluster.delete(&["-n", "narthex", "rolebinding/narthex-sources"]);
    let narthex = Alone::start(cluster, &kubeconfig, &[flag, "shop,web,other"]);
    let counted = "narthex_registry_credential_namespaces{secret=\"dpr-secret\"}";
    wait::until("it has looked at what there is", || {
        narthex.page("/metrics").contains(&format!("{counted} 3"))
    });
    let problems = || narthex.known()["problems"].to_string();
    let unread = "Secret narthex/registry-creds-dpr may not be read";
    assert!(problems().contains(unread), "{}", problems());
    for namespace in ["shop", "web", "other"] {
        assert!(is_there(cluster, namespace, "dpr-secret"));
        until_pulls(cluster, namespace, "default", &["dpr-secret"]);
    }
    cluster.apply(&SOURCES.replace("NAMESPACE", "narthex"));
    wait::until("it is read", || !problems().contains(unread));

    // With its source it goes everywhere.
    cluster.delete(&["-n", "narthex", "secret/registry-creds-dpr"]);
    for namespace in ["shop", "web", "other"] {
        wait::until("it goes", || !is_there(cluster, namespace, "dpr-secret"));
        until_pulls(cluster, namespace, "default", &[]);
    }
    wait::until("it is counted no more", || {
        !narthex.page("/metrics").contains(counted)
    });
}
