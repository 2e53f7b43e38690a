//! Nodes that pull from the image registry: containerd, with the files that `node-config` writes.

use std::fs;

use program_tests::certificate::Authority;
use program_tests::registry::guarded::{Guarded, htpasswd, layout, pem, skopeo};
use program_tests::registry::{Containerd, node_config};
use program_tests::run;

fn push(registry: &Guarded, more: &[&str], name: &str) -> String {
    let source = layout(registry.path(), "a");
    let image = format!("docker://{}/{name}", registry.host());
    let from = format!("oci:{}:1", source.display());
    let digest = registry.path().join("digest");
    let digestfile = format!("--digestfile={}", digest.display());
    let mut arguments = vec!["copy", "--all", "--dest-tls-verify=false", &digestfile];
    arguments.extend(more);
    arguments.extend([from.as_str(), image.as_str()]);
    let pushed = skopeo(&arguments);
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    // skopeo writes indexes anew.
    fs::read_to_string(digest).expect("a digest")
}

/// The image of this machine's platform was unpacked: the layer's only file is where the
/// snapshotter has it.
#[track_caller]
fn assert_unpacked(containerd: &Containerd) {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => panic!("the test's image has nothing for {other}"),
    };
    let expected = [format!("a on {architecture}")];
    assert_eq!(containerd.unpacked("content"), expected);
}

#[test]
fn containerd_pulls_from_an_insecure_registry_and_through_a_mirror() {
    let registry = Guarded::start(Guarded::folder(), &[]);
    let digest = push(&registry, &[], "hub/library/app:1");
    let host = registry.host();
    let mirrors = "--mirror=docker.io=hub,mirrored.example=hub/library";
    let (hosts, said) = node_config(registry.path(), &[&host, "--insecure", mirrors]);
    assert!(said.stderr.contains("config_path"), "{}", said.said());
    for image in [
        format!("{host}/hub/library/app:1"),
        "docker.io/library/app:1".to_owned(),
        "mirrored.example/app:1".to_owned(),
    ] {
        let containerd = Containerd::start();
        let pulled = containerd.pull(&hosts, &[], &image);
        assert_eq!(pulled.code, Some(0), "{image}: {}", pulled.said());
        assert_eq!(containerd.digest(&image).as_deref(), Some(&*digest));
        assert_unpacked(&containerd);
    }
}

#[test]
fn containerd_pulls_by_tls_with_a_password() {
    let folder = Guarded::folder();
    let authority = Authority::new();
    pem(
        folder.path(),
        "server",
        &authority.ecdsa(&["127.0.0.1", "localhost"]),
    );
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("a file");
    fs::write(
        folder.path().join("users"),
        htpasswd(&[("alice", "wonder")]),
    )
    .expect("a file");
    let arguments = [
        "--tls-cert-file=server.crt",
        "--tls-key-file=server.key",
        "--htpasswd-file=users",
    ];
    let registry = Guarded::start(folder, &arguments);
    let digest = push(&registry, &["--dest-creds=alice:wonder"], "app:1");
    let host = format!("localhost:{}", registry.port);
    let ca = format!("--ca-file={}", registry.path().join("ca.crt").display());
    let (hosts, _) = node_config(registry.path(), &[&host, &ca]);
    let containerd = Containerd::start();
    let image = format!("{host}/app:1");
    let refused = containerd.pull(&hosts, &["--user=alice:wrong"], &image);
    assert_ne!(refused.code, Some(0));
    let pulled = containerd.pull(&hosts, &["--user=alice:wonder"], &image);
    assert_eq!(pulled.code, Some(0), "{}", pulled.said());
    assert_eq!(containerd.digest(&image).as_deref(), Some(&*digest));
    assert_unpacked(&containerd);
}

#[test]
fn a_kubelets_containerd_pulls_with_a_pods_secret_and_through_a_mirror() {
    let folder = Guarded::folder();
    let users = htpasswd(&[("alice", "wonder")]);
    fs::write(folder.path().join("users"), users).expect("a file");
    let registry = Guarded::start(folder, &["--htpasswd-file=users"]);
    push(&registry, &["--dest-creds=alice:wonder"], "library/app:1");
    let host = registry.host();
    let (hosts, _) = node_config(
        registry.path(),
        &[&host, "--insecure", "--mirror=mirrored.example"],
    );
    let login = Some(("alice", "wonder"));
    for image in [
        format!("{host}/library/app:1"),
        "mirrored.example/library/app:1".to_owned(),
    ] {
        let node = Containerd::of_a_node(&hosts);
        let wrong = Some(("alice", "wrong"));
        assert!(node.pull_for_a_pod(&image, wrong).is_err(), "{image}");
        let pulled = node.pull_for_a_pod(&image, login);
        assert!(pulled.is_ok(), "{image}: {pulled:?}");
        assert_unpacked(&node);
    }
}

#[test]
fn what_is_written_is_shown_where_no_folder_is_named() {
    let ended = run(&[
        "registry",
        "node-config",
        "registry.example:5000",
        "--mirror=quay.io",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    for part in [
        "# /etc/containerd/certs.d/registry.example:5000/hosts.toml",
        "# /etc/containerd/certs.d/quay.io/hosts.toml",
        "server = \"https://quay.io\"",
        "[host.\"https://registry.example:5000\"]",
    ] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.said());
    }
    let map = [
        "registry",
        "node-config",
        "localhost:5000",
        "--config-map",
        "--host-from-nodes=registry:5000",
    ];
    let ended = run(&map);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    assert!(
        ended.stdout.contains("localRegistryHosting.v1"),
        "{}",
        ended.said()
    );
    assert!(
        ended
            .stdout
            .contains("hostFromContainerRuntime: \"registry:5000\""),
        "{}",
        ended.said()
    );
    assert_eq!(
        run(&["registry", "node-config", "http://a/b"]).code,
        Some(2)
    );
}
