//! ImageLists of a real cluster: what the chart's registry brings by them, what it says of them, and
//! what nobody gets by writing one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_tests::{Cluster, Process, wait};
use objects::tree::{Node, texts};
use program_tests::registry::guarded::{Guarded, htpasswd, layout, rules, skopeo};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The first node's address, which pods reach.
const NODE: &str = "10.244.0.1";

/// What everything below is installed with.
const VALUES: [&str; 8] = [
    "controller.replicaCount=1",
    "registry.enabled=true",
    "registry.insecure=true",
    "registry.storage.volume.emptyDir.sizeLimit=1Gi",
    "registry.access.anonymous=all",
    "registry.imageLists.enabled=true",
    "registry.sync.interval=1s",
    "registry.sync.dockerConfigSecret=sources",
];

/// An outside registry, of which everybody may pull `open/…` and bob the rest; without TLS.
struct Source {
    host: String,
    process: Process,
}

impl Source {
    fn start(cluster: &Cluster, folder: &Path) -> Self {
        let host = format!("{NODE}:{}", program_tests::ports::free());
        let write = |name: &str, text: &str| -> PathBuf {
            std::fs::write(folder.join(name), text).expect("a file");
            folder.join(name)
        };
        let who = rules(
            "- {repositories: ['open/**'], actions: [pull], subjects: [anonymous]}\n\
             - {repositories: ['**'], actions: ['*'], subjects: ['user:bob']}\n",
        );
        let mut command = cluster.command(program_tests::program::binary());
        command
            .args(["registry", "serve", "--insecure"])
            .arg(format!("--address={host}"))
            .arg("--storage")
            .arg(folder.join("source"))
            .arg("--htpasswd-file")
            .arg(write("users", &htpasswd(&[("bob", "build")])))
            .arg("--access-file")
            .arg(write("rules", &who));
        let process = Process::start(&mut command, folder.join("source.log"));
        let source = Self { host, process };
        let door = cluster.door(&source.host);
        let image = layout(folder, "a");
        for name in ["open/app", "private/app"] {
            let to = format!("docker://{door}/{name}:1");
            wait::eventually("the source takes an image", || {
                let from = format!("oci:{}:1", image.display());
                let credentials = ["--dest-tls-verify=false", "--dest-creds=bob:build"];
                let pushed =
                    skopeo(&[&["copy", "--all"][..], &credentials, &[&from, &to]].concat());
                match pushed.code {
                    Some(0) => Ok(()),
                    _ => Err(pushed.said()),
                }
            });
        }
        source
    }

    /// An ImageList with this `images`.
    fn list(&self, name: &str, images: &Value) -> Value {
        json!({"apiVersion": "narthex.dev/v1alpha1", "kind": "ImageList",
            "metadata": {"name": name, "namespace": "narthex"},
            "spec": {"registries": [{"host": self.host, "tls": {"mode": "disabled"}}],
                     "images": images}})
    }

    fn image(&self, name: &str, target: &str) -> Value {
        json!({"source": format!("{}/{name}", self.host), "target": target})
    }
}

fn ready(list: &Value) -> (&str, &str, &str) {
    let condition = &list["status"]["conditions"][0];
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    (text("status"), text("reason"), text("message"))
}

/// Waits until what is said of a list as it is now has this reason; gives it.
#[track_caller]
fn until(cluster: &Cluster, name: &str, reason: &str) -> Value {
    let list = format!("imagelist/{name}");
    cluster.until(&["-n", "narthex", &list], |it| {
        ready(it).1 == reason && it["status"]["observedGeneration"] == it["metadata"]["generation"]
    })
}

fn install(cluster: &Cluster, more: &[&str]) {
    cluster.install("narthex", "narthex", &[&VALUES[..], more].concat());
    cluster.rolled_out("narthex", "deployment/narthex-registry");
}

#[test]
fn lists_of_the_cluster_are_brought_and_say_how_they_stand() {
    let cluster = &Cluster::start();
    cluster.namespace("narthex");
    let folder = Guarded::folder();
    let source = Source::start(cluster, folder.path());
    let sources = json!({"auths": {&source.host: {"auth": STANDARD.encode("bob:build")}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": {"name": "sources", "namespace": "narthex"},
        "stringData": {".dockerconfigjson": sources.to_string()}});
    cluster.apply(&secret.to_string());
    install(cluster, &[]);
    let crd = "crd/imagelists.narthex.dev";
    cluster.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=180s"]);

    let shop = |images: Value| cluster.apply(&source.list("shop", &images).to_string());
    shop(json!([source.image("open/app:1", "mirrored/app:1")]));
    let list = until(cluster, "shop", "Synced");
    assert_eq!(ready(&list), ("True", "Synced", "its image is there"));
    let status = &list["status"];
    assert_eq!(
        [&status["images"], &status["present"], &status["failing"]],
        [1, 1, 0]
    );
    assert!(status["lastSyncTime"].is_string() && status["failures"].is_null());
    let service = cluster.get(&["-n", "narthex", "service/narthex-registry"]);
    let service = service.expect("there")["spec"]["clusterIP"].take();
    let door = cluster.door(format!("{}:5000", service.as_str().expect("an address")));
    let pull = |image: &str| {
        let image = format!("docker://{door}/{image}");
        skopeo(&["inspect", "--raw", "--tls-verify=false", &image])
    };
    assert_eq!(pull("mirrored/app:1").code, Some(0));
    let shown = cluster.kubectl(&["-n", "narthex", "get", "il"]);
    let words: Vec<_> = shown
        .lines()
        .last()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    assert_eq!(words[..5], ["shop", "True", "Synced", "1", "0"], "{shown}");

    // Rounds that find the same write nothing.
    let version = || until(cluster, "shop", "Synced")["metadata"]["resourceVersion"].take();
    let before = version();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(version(), before, "it is written again and again");

    // While the API server is away, what was known is followed on; and what comes then, once it is back.
    cluster.kill_apiserver();
    let image = format!("docker://{door}/mirrored/app:1");
    let deleted = skopeo(&["delete", "--tls-verify=false", &image]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.said());
    wait::eventually("it is brought again", || {
        let pulled = pull("mirrored/app:1");
        match pulled.code {
            Some(0) => Ok(()),
            _ => Err(pulled.said()),
        }
    });
    cluster.start_apiserver();
    wait::until("the API server is back", || {
        cluster.get(&["namespace/narthex"]).is_ok()
    });
    shop(json!([
        source.image("open/app:1", "mirrored/app:1"),
        source.image("open/app:1", "mirrored/late:1"),
    ]));
    assert_eq!(until(cluster, "shop", "Synced")["status"]["images"], 2);
    assert_eq!(pull("mirrored/late:1").code, Some(0));

    // What cannot be had is named, and keeps no other.
    shop(json!([
        source.image("open/none:1", "mirrored/none:1"),
        source.image("open/app:1", "mirrored/other:1"),
    ]));
    let list = until(cluster, "shop", "Failing");
    let name = format!("{}/open/none:1", source.host);
    assert_eq!(list["status"]["failures"][0]["image"], name.as_str());
    let (is_ready, _, message) = ready(&list);
    assert!(is_ready == "False" && message.contains(&name), "{message}");
    assert_eq!(
        [&list["status"]["images"], &list["status"]["present"]],
        [2, 1]
    );
    assert_eq!(pull("mirrored/other:1").code, Some(0));

    // How far it is can be seen where a source keeps it waiting.
    let other = Guarded::folder();
    let slow = Source::start(cluster, other.path());
    slow.process.send(Signal::STOP);
    let mut list = slow.list(
        "slow",
        &json!([
            slow.image("open/app:1", "slow/app:1"),
            source.image("open/app:1", "slow/other:1"),
        ]),
    );
    let registries = list["spec"]["registries"].as_array_mut().expect("ours");
    registries.push(json!({"host": source.host, "tls": {"mode": "disabled"}}));
    cluster.apply(&list.to_string());
    cluster.until(&["-n", "narthex", "imagelist/slow"], |it| {
        ready(it) == ("False", "Syncing", "1 of 2 images are there")
            && it["status"]["images"] == 2
            && it["status"]["present"] == 1
    });
    slow.process.send(Signal::CONT);
    assert_eq!(until(cluster, "slow", "Synced")["status"]["present"], 2);
    cluster.delete(&["-n", "narthex", "imagelist/slow"]);

    // A list that makes no sense says where, and is followed as it was.
    let wrong = json!([{"source": "a.example/b", "tags": {"semver": [">=one"]}}]);
    shop(wrong);
    let list = until(cluster, "shop", "Invalid");
    let message = ready(&list).2;
    assert!(message.contains("spec.images[0].tags.semver"), "{message}");
    assert!(message.contains("followed on"), "{message}");

    // The registry's own credential is not sent without TLS because a list says so …
    let private = json!([source.image("private/app:1", "private/app:1")]);
    cluster.apply(&source.list("private", &private).to_string());
    let list = until(cluster, "private", "Failing");
    assert!(
        ready(&list).2.contains("certificate is not verified"),
        "{list:#}"
    );
    assert!(!list.to_string().contains("build"), "{list:#}");
    assert_ne!(pull("private/app:1").code, Some(0));

    // … but because its administrator does.
    let own = format!(
        "registry.images=apiVersion: narthex.dev/v1alpha1\nkind: ImageList\nspec:\n  registries:\n  \
         - host: {}\n    tls:\n      mode: disabled\n",
        source.host
    );
    cluster.delete(&["-n", "narthex", "imagelist/shop"]);
    install(cluster, &[&own]);
    until(cluster, "private", "Synced");
    wait::eventually("it is there", || {
        let pulled = pull("private/app:1");
        match pulled.code {
            Some(0) => Ok(()),
            _ => Err(pulled.said()),
        }
    });
    assert_ne!(
        pull("mirrored/app:1").code,
        Some(0),
        "of the list that has gone"
    );

    // A list that goes while it is followed is followed no more; its images stay.
    cluster.delete(&["-n", "narthex", "imagelist/private"]);
    let log = || cluster.kubectl(&["-n", "narthex", "logs", "deployment/narthex-registry"]);
    wait::until("it is followed no more", || {
        log().contains("ImageList narthex/private is followed no more")
    });
    assert_eq!(pull("private/app:1").code, Some(0));
    let log = log();
    assert!(
        !log.contains("forbidden") && !log.contains("build"),
        "{log}"
    );

    // It may do this, and nothing else.
    let account = "narthex:narthex-registry";
    for allowed in [
        "list imagelists.narthex.dev -n narthex",
        "watch imagelists.narthex.dev -n narthex",
        "patch imagelists.narthex.dev --subresource=status -n narthex",
    ] {
        assert!(cluster.may(account, allowed), "{allowed}");
    }
    for refused in [
        "get secrets -n narthex",
        "list secrets -n narthex",
        "patch imagelists.narthex.dev -n narthex",
        "create imagelists.narthex.dev -n narthex",
        "list imagelists.narthex.dev -n default",
        "list imagelists.narthex.dev -A",
        "patch imagelists.narthex.dev --subresource=status -n default",
        "create events.events.k8s.io -n narthex",
        "create tokenreviews.authentication.k8s.io",
    ] {
        assert!(!cluster.may(account, refused), "{refused}");
    }
}

/// The documentation's example, as an object of a cluster: without what names files.
fn documented() -> Value {
    let page = cluster_tests::chart::root().join("docs/registry/image-lists.md");
    let page = std::fs::read_to_string(page).expect("a page");
    let example = page.split("```yaml\n").nth(1).expect("an example");
    let example = example.split("```").next().expect("its text");
    let (text, line) = texts(example).next().expect("a document");
    let mut list = Node::parse(text, line).expect("YAML").to_json();
    list["metadata"] = json!({"name": "documented", "namespace": "default"});
    for registry in list["spec"]["registries"].as_array_mut().expect("some") {
        let fields = registry.as_object_mut().expect("fields");
        fields.remove("credentials");
        if let Some(tls) = fields.get_mut("tls").and_then(Value::as_object_mut) {
            tls.remove("caFile");
        }
    }
    let images = list["spec"]["images"].as_array_mut().expect("some");
    let before = images.len();
    images.retain(|it| !it["source"].as_str().expect("a text").starts_with("oci:"));
    assert_eq!((before, images.len()), (3, 2), "the example is another one");
    list
}

#[test]
fn the_api_server_takes_what_is_documented_and_says_what_is_wrong_with_other_things() {
    let cluster = &Cluster::start();
    let rendered = cluster_tests::chart::template(&VALUES).expect("rendered");
    let crd = rendered
        .split("\n---")
        .find(|it| it.contains("\nkind: CustomResourceDefinition"));
    cluster.apply(crd.expect("it is among the templates"));
    let crd = "crd/imagelists.narthex.dev";
    cluster.kubectl(&["wait", "--for=condition=Established", crd, "--timeout=180s"]);
    let conditions = cluster.get(&[crd]).expect("there")["status"]["conditions"].to_string();
    assert!(!conditions.contains("NonStructuralSchema"), "{conditions}");
    let dry = |list: &Value| {
        let arguments = ["apply", "--dry-run=server", "-f", "-"];
        cluster.try_kubectl(&arguments, &list.to_string())
    };
    let right = documented();
    wait::eventually("the example is taken", || {
        let said = dry(&right);
        match said.success {
            true => Ok(()),
            false => Err(said.stderr),
        }
    });
    let image = "/spec/images/0";
    for (at, field, value, said) in [
        ("/spec", "other", json!(1), "spec.other"),
        (image, "platform", json!("linux/amd64"), "platform"),
        (image, "source", json!(1), "spec.images[0].source"),
        (image, "tags", json!(["1"]), "spec.images[0].tags"),
        (
            image,
            "tags",
            json!({"exact": [1.36]}),
            "spec.images[0].tags.exact[0]",
        ),
        (image, "index", json!("some"), "filtered"),
        (image, "source", json!("oci:/etc"), "push what is in it"),
        (
            image,
            "source",
            json!("docker-archive:/a.tar"),
            "push what is in it",
        ),
        (
            "/spec/registries/0",
            "credentials",
            json!({"username": "a", "passwordFile": "/etc/passwd"}),
            "registry.sync.dockerConfigSecret",
        ),
        (
            "/spec/registries/0",
            "tls",
            json!({"caFile": "/ca"}),
            "registry.images",
        ),
        (
            "/spec/registries/0",
            "tls",
            json!({"certDir": "/ca"}),
            "registry.images",
        ),
        (
            "/spec/registries/0",
            "tls",
            json!({"mode": "none"}),
            "insecure",
        ),
        ("/spec", "images", json!([]), "spec.images"),
    ] {
        let mut wrong = right.clone();
        let place = wrong.pointer_mut(at).expect("there");
        place[field] = value.clone();
        let refused = dry(&wrong);
        let is_told = refused.stderr.contains(said);
        assert!(
            !refused.success && is_told,
            "{at}/{field} {value}: {}",
            refused.stderr
        );
    }
}
