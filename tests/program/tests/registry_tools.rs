//! Looking at registries and changing what is in them, with `narthex registry`.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use program_tests::certificate::Authority;
use program_tests::program::{Ended, binary};
use program_tests::registry::guarded::{
    Guarded, authfile, htpasswd, layout, parsed, pem, rules, skopeo,
};
use program_tests::run;

const RULES: &str = "- {repositories: ['**'], actions: ['*'], subjects: ['user:alice']}
- {repositories: ['team/**'], actions: [pull], subjects: ['user:bob']}
";

fn registry() -> Guarded {
    let folder = Guarded::folder();
    let users = htpasswd(&[("alice", "wonder"), ("bob", "build")]);
    fs::write(folder.path().join("users"), users).expect("a file");
    fs::write(folder.path().join("rules.yaml"), rules(RULES)).expect("a file");
    let registry = Guarded::start(
        folder,
        &["--htpasswd-file=users", "--access-file=rules.yaml"],
    );
    for (name, salt) in [
        ("team/app:1", "a"),
        ("team/app:2", "b"),
        ("secret/app:1", "c"),
    ] {
        let source = format!("oci:{}:1", layout(registry.path(), salt).display());
        let target = format!("docker://{}/{name}", registry.host());
        let creds = "--dest-creds=alice:wonder";
        let pushed = skopeo(&[
            "copy",
            "--all",
            "--dest-tls-verify=false",
            creds,
            &source,
            &target,
        ]);
        assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    }
    registry
}

/// `narthex registry …` as this user.
fn tool(registry: &Guarded, user: &str, password: &str, arguments: &[&str]) -> Ended {
    let file = authfile(registry.path(), &registry.host(), user, password);
    let file = format!("--authfile={}", file.display());
    let mut all = vec!["registry"];
    all.extend(arguments);
    all.extend(["--insecure", file.as_str()]);
    run(&all)
}

#[test]
fn what_is_there_is_listed_as_far_as_one_may_see_it() {
    let registry = registry();
    let host = registry.host();
    let ls = tool(&registry, "alice", "wonder", &["ls", &host]);
    assert_eq!(ls.code, Some(0), "{}", ls.said());
    assert_eq!(ls.stdout, "secret/app\nteam/app\n");
    let app = format!("{host}/team/app");
    let tags = tool(&registry, "bob", "build", &["tags", &app]);
    assert_eq!(tags.stdout, "1\n2\n", "{}", tags.said());
    let json = tool(&registry, "bob", "build", &["tags", &app, "-o", "json"]);
    assert_eq!(parsed(&json.stdout)["tags"][1], "2");
    let secret = tool(
        &registry,
        "bob",
        "build",
        &["tags", &format!("{host}/secret/app")],
    );
    assert_eq!(secret.code, Some(1));
    assert!(secret.stderr.contains("DENIED"), "{}", secret.said());
}

#[test]
fn an_image_is_told_with_its_platforms_and_layers() {
    let registry = registry();
    let image = format!("{}/team/app:1", registry.host());
    let text = tool(&registry, "bob", "build", &["inspect", &image]);
    assert_eq!(text.code, Some(0), "{}", text.said());
    for part in [
        "linux/amd64",
        "linux/arm64",
        "1 layer",
        "application/vnd.oci.image.index.v1+json",
    ] {
        assert!(text.stdout.contains(part), "{part}: {}", text.said());
    }
    let json = tool(
        &registry,
        "bob",
        "build",
        &["inspect", &image, "-o", "json"],
    );
    let json = parsed(&json.stdout);
    let images = json["images"].as_array().expect("two");
    assert_eq!(images.len(), 2);
    assert_eq!(images[1]["platform"], "linux/arm64");
    assert_eq!(images[1]["present"], true);
    assert_eq!(json["cosign"], parsed("[]"));
    // What cosign puts beside it, whatever it is here.
    let hex = json["digest"].as_str().expect("a digest");
    let tag = hex.replace(':', "-") + ".sig";
    let to = format!("{}/team/app:{tag}", registry.host());
    let put = tool(&registry, "alice", "wonder", &["copy", &image, &to]);
    assert_eq!(put.code, Some(0), "{}", put.said());
    let signed = tool(&registry, "bob", "build", &["inspect", &image]);
    let shown = format!("       sig  {hex}");
    assert!(
        signed.stdout.contains("\n  cosign\n") && signed.stdout.contains(&shown),
        "{}",
        signed.said()
    );
    // One of them alone has its platform from its configuration.
    let digest = images[1]["digest"].as_str().expect("a digest");
    let one = format!("{}/team/app@{digest}", registry.host());
    let one = tool(&registry, "bob", "build", &["inspect", &one, "-o", "json"]);
    assert_eq!(
        parsed(&one.stdout)["images"][0]["platform"],
        "linux/arm64",
        "{}",
        one.said()
    );
}

#[test]
fn a_tag_is_removed_by_who_may() {
    let registry = registry();
    let image = format!("{}/team/app:1", registry.host());
    let refused = tool(&registry, "bob", "build", &["rm", &image]);
    assert_eq!(refused.code, Some(1), "{}", refused.said());
    let unsaid = format!("{}/team/app", registry.host());
    assert_eq!(
        tool(&registry, "alice", "wonder", &["rm", &unsaid]).code,
        Some(2)
    );
    let removed = tool(&registry, "alice", "wonder", &["rm", &image]);
    assert_eq!(removed.code, Some(0), "{}", removed.said());
    let app = format!("{}/team/app", registry.host());
    assert_eq!(
        tool(&registry, "bob", "build", &["tags", &app]).stdout,
        "2\n"
    );
}

#[test]
fn an_image_is_copied_with_all_its_platforms() {
    let registry = registry();
    let other = Guarded::start(Guarded::folder(), &[]);
    let from = format!("{}/team/app:1", registry.host());
    let to = format!("{}/here/app", other.host());
    let copied = tool(
        &registry,
        "bob",
        "build",
        &["copy", &from, &to, "--from-insecure"],
    );
    assert_eq!(copied.code, Some(0), "{}", copied.said());
    assert!(
        copied.stdout.contains("here/app:1 is sha256:"),
        "{}",
        copied.said()
    );
    let again = tool(
        &registry,
        "bob",
        "build",
        &["copy", &from, &to, "--from-insecure"],
    );
    assert!(
        again.stdout.contains("was there already"),
        "{}",
        again.said()
    );
    let digest = |user: &str, password: &str, image: &str| {
        let found = tool(&registry, user, password, &["inspect", image, "-o", "json"]);
        parsed(&found.stdout)["digest"].clone()
    };
    let there = digest("bob", "build", &format!("{to}:1"));
    assert_eq!(digest("bob", "build", &from), there);
    // Within the registry, under another name.
    let third = format!("{}/copies/app:9", registry.host());
    let copied = tool(&registry, "alice", "wonder", &["copy", &from, &third]);
    assert_eq!(copied.code, Some(0), "{}", copied.said());
    assert_eq!(digest("alice", "wonder", &third), there);
}

#[test]
fn a_login_is_checked_step_by_step() {
    let registry = registry();
    let host = registry.host();
    let check = |user: &str, password: &str| {
        let arguments = ["login-check", host.as_str(), "--repository=team/app"];
        tool(&registry, user, password, &arguments)
    };
    let bob = check("bob", "build");
    assert_eq!(bob.code, Some(0), "{}", bob.said());
    for part in [
        "it asks for a token (Bearer)",
        "the name bob and its password",
        "the credentials are taken",
        "list repositories: no",
        "pull team/app: yes (2 tags)",
        "push team/app: no",
        "delete in team/app: no",
    ] {
        assert!(bob.stdout.contains(part), "{part}: {}", bob.said());
    }
    let alice = check("alice", "wonder");
    assert!(
        alice.stdout.contains("push team/app: yes"),
        "{}",
        alice.said()
    );
    assert!(
        alice.stdout.contains("delete in team/app: yes"),
        "{}",
        alice.said()
    );
    // Nothing of it is left.
    let uploads = registry.path().join("storage/uploads");
    let left = fs::read_dir(uploads).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    let wrong = check("alice", "secret-but-wrong");
    assert_eq!(wrong.code, Some(1), "{}", wrong.said());
    assert!(
        wrong.stderr.contains("the credentials are not taken"),
        "{}",
        wrong.said()
    );
    assert!(
        !wrong.said().contains("secret-but-wrong"),
        "{}",
        wrong.said()
    );
}

#[test]
fn a_password_may_come_from_standard_input() {
    let registry = registry();
    let mut child = Command::new(binary())
        .args(["registry", "ls", &registry.host(), "--insecure"])
        .args(["--username=alice", "--password-stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"wonder\n").expect("taken");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "secret/app\nteam/app\n"
    );
}

#[test]
fn a_registry_of_this_machine_may_speak_plain_http() {
    let registry = Guarded::start(Guarded::folder(), &[]);
    let host = registry.host();
    for host in [&host, &host.replace("127.0.0.1", "localhost")] {
        let checked = run(&["registry", "login-check", host]);
        assert_eq!(checked.code, Some(0), "{}", checked.said());
        let said = "by plain HTTP, without TLS";
        assert!(checked.stdout.contains(said), "{}", checked.said());
        let listed = run(&["registry", "ls", host]);
        assert_eq!(listed.code, Some(0), "{}", listed.said());
    }
}

#[test]
fn what_is_wrong_with_the_connection_is_said_plainly() {
    let registry = Guarded::start(Guarded::folder(), &[]);
    // A name of this machine that does not say so.
    let host = registry.host().replace("127.0.0.1", "0.0.0.0");
    let plain = run(&["registry", "login-check", &host]);
    assert_eq!(plain.code, Some(1));
    assert!(
        plain.stderr.contains("speaks plain HTTP, not TLS"),
        "{}",
        plain.said()
    );
    let folder = Guarded::folder();
    let authority = Authority::new();
    pem(folder.path(), "server", &authority.ecdsa(&["127.0.0.1"]));
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("a file");
    let arguments = ["--tls-cert-file=server.crt", "--tls-key-file=server.key"];
    let registry = Guarded::start(folder, &arguments);
    let host = registry.host();
    let untrusted = run(&["registry", "login-check", &host]);
    assert_eq!(untrusted.code, Some(1));
    assert!(
        untrusted.stderr.contains("its certificate is not trusted"),
        "{}",
        untrusted.said()
    );
    let ca = format!("--ca-file={}", registry.path().join("ca.crt").display());
    let trusted = run(&["registry", "login-check", &host, &ca]);
    assert_eq!(trusted.code, Some(0), "{}", trusted.said());
    assert!(
        trusted.stdout.contains("it asks for no credentials"),
        "{}",
        trusted.said()
    );
    let nobody = run(&["registry", "login-check", "127.0.0.1:1"]);
    assert_eq!(nobody.code, Some(1));
    assert!(nobody.stderr.contains("refused"), "{}", nobody.said());
}
