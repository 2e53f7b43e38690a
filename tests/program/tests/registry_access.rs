//! Who may do what in the image registry, with clients that people have.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use program_tests::certificate::Authority;
use program_tests::registry::digest;
use program_tests::registry::guarded::{
    Guarded, htpasswd, layout, parsed, pem, reviewer, rules, skopeo,
};
use program_tests::{Conn, Folder, Ingress, Narthex, class, curl, run, secret, service, until};

const RULES: &str = "- {repositories: ['public/**'], actions: [pull], subjects: [anonymous]}
- {repositories: ['**'], actions: ['*'], subjects: ['user:alice']}
- {repositories: ['team/**'], actions: [pull, push], subjects: ['user:bob']}
- {repositories: ['ci/**'], actions: [pull], subjects: ['serviceaccount:ci/builder']}
";

/// A registry with alice, who may do everything, and bob, who may push below `team/`.
fn registry(more: &[&str]) -> Guarded {
    let folder = Guarded::folder();
    let users = htpasswd(&[("alice", "wonder"), ("bob", "build")]);
    fs::write(folder.path().join("users"), users).expect("a file");
    fs::write(folder.path().join("rules.yaml"), rules(RULES)).expect("a file");
    let mut arguments = vec!["--htpasswd-file=users", "--access-file=rules.yaml"];
    arguments.extend(more);
    Guarded::start(folder, &arguments)
}

/// Pushes an image with both its platforms.
fn push(registry: &Guarded, credentials: &str, name: &str) -> program_tests::program::Ended {
    let source = format!("oci:{}:1", layout(registry.path(), "a").display());
    let target = format!("docker://{}/{name}", registry.host());
    let credentials = format!("--dest-creds={credentials}");
    skopeo(&[
        "copy",
        "--all",
        "--dest-tls-verify=false",
        &credentials,
        &source,
        &target,
    ])
}

fn inspect(
    registry: &Guarded,
    credentials: Option<&str>,
    name: &str,
) -> program_tests::program::Ended {
    let credentials =
        credentials.map_or_else(|| "--no-creds".to_owned(), |it| format!("--creds={it}"));
    let image = format!("docker://{}/{name}", registry.host());
    skopeo(&[
        "inspect",
        "--raw",
        "--tls-verify=false",
        &credentials,
        &image,
    ])
}

fn token(registry: &Guarded, user: &str, query: &str) -> String {
    let url = registry.url(&format!("/v2/token?service=narthex-registry&{query}"));
    let answer = curl(&["-u", user, &url]);
    assert_eq!(answer.status, 200, "{}", answer.text);
    parsed(&answer.text)["token"]
        .as_str()
        .expect("a token")
        .to_owned()
}

#[test]
fn skopeo_pushes_and_pulls_what_its_user_may() {
    let registry = registry(&[]);
    let pushed = push(&registry, "alice:wonder", "public/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    let pushed = push(&registry, "bob:build", "team/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    for (credentials, name) in [
        (None, "public/app:1"),
        (Some("bob:build"), "team/app:1"),
        (Some("bob:build"), "public/app:1"),
    ] {
        let found = inspect(&registry, credentials, name);
        assert_eq!(
            found.code,
            Some(0),
            "{credentials:?} {name}: {}",
            found.said()
        );
        assert_eq!(
            parsed(&found.stdout)["manifests"].as_array().map(Vec::len),
            Some(2)
        );
    }
    let refused = inspect(&registry, None, "team/app:1");
    assert_ne!(refused.code, Some(0), "{}", refused.said());
    let refused = push(&registry, "bob:build", "public/app:2");
    assert_ne!(refused.code, Some(0));
    assert!(refused.said().contains("denied"), "{}", refused.said());
    let refused = push(&registry, "bob:wrong", "team/app:2");
    assert_ne!(refused.code, Some(0));
    assert!(
        refused.said().contains("unauthorized"),
        "{}",
        refused.said()
    );
    let image = format!("docker://{}/team/app:1", registry.host());
    let delete = |credentials: &str| skopeo(&["delete", "--tls-verify=false", credentials, &image]);
    assert_ne!(delete("--creds=bob:build").code, Some(0));
    let deleted = delete("--creds=alice:wonder");
    assert_eq!(deleted.code, Some(0), "{}", deleted.said());
}

#[test]
fn a_client_is_told_where_tokens_are_and_what_for() {
    let registry = registry(&[]);
    let host = registry.host();
    let challenge = |path: &str, scope: &str| {
        let answer = curl(&["-i", &registry.url(path)]);
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert!(answer.text.contains("\"UNAUTHORIZED\""), "{}", answer.text);
        let expected =
            format!("Bearer realm=\"http://{host}/v2/token\",service=\"narthex-registry\"{scope}");
        let field = answer.text.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("www-authenticate")
                .then_some(value)
        });
        assert_eq!(field, Some(expected.as_str()), "{}", answer.text);
    };
    challenge("/v2/", "");
    challenge(
        "/v2/team/app/manifests/1",
        ",scope=\"repository:team/app:pull\"",
    );
    challenge("/v2/_catalog", ",scope=\"registry:catalog:*\"");
    // Whether there is a repository makes no difference.
    let pushed = push(&registry, "alice:wonder", "team/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    let of = |path: &str| {
        let answer = curl(&["-u", "bob:build", &registry.url(path)]);
        (answer.status, answer.text)
    };
    let pushed = push(&registry, "alice:wonder", "secret/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    assert_eq!(
        of("/v2/secret/app/manifests/1"),
        of("/v2/secret/nothing/manifests/1")
    );
    assert_eq!(of("/v2/secret/app/manifests/1").0, 403);
    challenge(
        "/v2/team/app/manifests/1",
        ",scope=\"repository:team/app:pull\"",
    );
}

#[test]
fn a_token_is_good_for_its_scopes_and_may_have_several() {
    let registry = registry(&[]);
    let pushed = push(&registry, "alice:wonder", "team/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    let scopes = "scope=repository:team/app:pull&scope=repository:public/app:pull,push";
    let token = token(&registry, "bob:build", scopes);
    let status = |method: &str, path: &str| {
        let field = format!("Authorization: Bearer {token}");
        curl(&["-X", method, "-H", &field, &registry.url(path)]).status
    };
    assert_eq!(status("GET", "/v2/"), 200);
    assert_eq!(status("GET", "/v2/team/app/manifests/1"), 200);
    assert_eq!(status("GET", "/v2/team/app/tags/list"), 200);
    // The rules let bob push there, and the token was not asked for it.
    assert_eq!(status("POST", "/v2/team/app/blobs/uploads/"), 401);
    assert_eq!(status("GET", "/v2/team/other/tags/list"), 401);
    // It was asked for, and bob may not.
    assert_eq!(status("POST", "/v2/public/app/blobs/uploads/"), 403);
    let forged = format!("Authorization: Bearer {token}x");
    assert_eq!(curl(&["-H", &forged, &registry.url("/v2/")]).status, 401);
    // OAuth2's form of the same.
    let form = "grant_type=password&username=bob&password=build&service=x\
                &scope=repository:team/app:pull%20repository:team/b:push";
    let answer = curl(&["-d", form, &registry.url("/v2/token")]);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(parsed(&answer.text)["access_token"].is_string());
    let form = "grant_type=password&username=bob&password=wrong";
    assert_eq!(curl(&["-d", form, &registry.url("/v2/token")]).status, 401);
}

#[test]
fn a_token_outlives_the_process_that_gave_it() {
    let registry = registry(&[]);
    let token = token(&registry, "alice:wonder", "scope=repository:a:pull");
    let registry = registry.restarted();
    let field = format!("Authorization: Bearer {token}");
    let ask = || curl(&["-H", &field, &registry.url("/v2/a/tags/list")]).status;
    assert_eq!(ask(), 404);
    // Whoever can read the key can sign.
    let folder = registry.path().join("storage/access");
    let mode = |path: &std::path::Path| {
        let found = fs::metadata(path).expect("there");
        found.permissions().mode() & 0o777
    };
    assert_eq!(mode(&folder), 0o700);
    // One that others could read once is as good as public: it is taken away, and its tokens with it.
    fs::remove_file(folder.join("token-key")).expect("there");
    let registry = registry.restarted();
    let ask = || curl(&["-H", &field, &registry.url("/v2/a/tags/list")]).status;
    assert_eq!(ask(), 401);
}

#[test]
fn a_blob_is_mounted_from_where_it_may_be_pulled_alone() {
    let registry = registry(&[]);
    for name in ["secret/app:1", "public/app:1"] {
        let pushed = push(&registry, "alice:wonder", name);
        assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    }
    let manifest = inspect(&registry, Some("alice:wonder"), "secret/app:1");
    let child = &parsed(&manifest.stdout)["manifests"][0]["digest"];
    let child = child.as_str().expect("a digest");
    let url = registry.url(&format!("/v2/secret/app/manifests/{child}"));
    let child = curl(&["-u", "alice:wonder", &url]);
    let blob = &parsed(&child.text)["layers"][0]["digest"];
    let blob = blob.as_str().expect("a digest");
    let mount = |user: &str, from: &str| {
        let path = format!("/v2/team/new/blobs/uploads/?mount={blob}{from}");
        curl(&["-X", "POST", "-u", user, &registry.url(&path)]).status
    };
    assert_eq!(
        mount("bob:build", "&from=secret/app"),
        202,
        "an upload is begun instead"
    );
    assert_eq!(mount("bob:build", ""), 202);
    assert_eq!(mount("bob:build", "&from=public/app"), 201);
}

#[test]
fn the_catalogue_tells_of_nothing_else_by_where_its_pages_end() {
    let folder = Guarded::folder();
    let users = htpasswd(&[("alice", "wonder"), ("bob", "build")]);
    fs::write(folder.path().join("users"), users).expect("a file");
    let own = "- {repositories: ['**'], actions: ['*'], subjects: ['user:alice']}
- {repositories: ['team/**'], actions: [pull, list], subjects: ['user:bob']}
";
    fs::write(folder.path().join("rules.yaml"), rules(own)).expect("a file");
    let flags = ["--htpasswd-file=users", "--access-file=rules.yaml"];
    let registry = Guarded::start(folder, &flags);
    let names = ["a/secret", "team/a", "team/b", "team/c", "z/secret"];
    for name in names {
        let path = format!("/v2/{name}/blobs/uploads/?digest={}", digest(b"x"));
        let url = registry.url(&path);
        let pushed = curl(&["-u", "alice:wonder", "-X", "POST", "-d", "x", &url]);
        assert_eq!(pushed.status, 201, "{}", pushed.text);
    }
    let walk = |user: &str| {
        let (mut found, mut path) = (Vec::new(), "/v2/_catalog?n=1".to_owned());
        loop {
            let page = curl(&["-i", "-u", user, &registry.url(&path)]);
            assert_eq!(page.status, 200, "{}", page.text);
            let is_told = user.starts_with("alice") || !page.text.contains("secret");
            assert!(is_told, "{}", page.text);
            let (head, body) = page.text.split_once("\r\n\r\n").expect("a head");
            let body = parsed(body);
            let names = body["repositories"].as_array().expect("a list");
            assert!(names.len() <= 1, "{}", page.text);
            found.extend(names.iter().filter_map(|it| it.as_str()).map(str::to_owned));
            let mut links = head.lines().filter_map(|it| it.split_once(": <"));
            match links.find(|(name, _)| name.eq_ignore_ascii_case("link")) {
                Some((_, rest)) => path = rest.split('>').next().expect("an end").to_owned(),
                None => return found,
            }
        }
    };
    assert_eq!(walk("bob:build"), names[1..4]);
    assert_eq!(walk("alice:wonder"), names);
}

#[test]
fn whoever_wants_a_token_slowly_holds_no_connection() {
    let registry = registry(&["--body-timeout=1s"]);
    let mut slow = Conn::plain(registry.port);
    slow.send("POST /v2/token HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\ngrant_type=");
    let answer = slow.response();
    assert_eq!(answer.status, 408, "{}", answer.text());
    assert!(slow.is_closed_within(Duration::from_secs(20)));
}

#[test]
fn whoever_guesses_has_to_wait() {
    let registry = registry(&[]);
    let status = |user: &str| curl(&["-u", user, &registry.url("/v2/")]).status;
    assert_eq!(status("alice:wonder"), 200);
    // One more comes free each six seconds, should this machine be that slow.
    let wrong = (0..60).take_while(|number| match status(&format!("alice:{number}")) {
        429 => false,
        status => {
            assert_eq!(status, 401);
            true
        }
    });
    let wrong = wrong.count();
    assert!((10..60).contains(&wrong), "{wrong}");
    assert_eq!(status("alice:wonder"), 200, "known from before");
    let log = registry.log();
    assert!(log.contains("wrong credentials"), "{log}");
    assert!(!log.contains("wonder"), "{log}");
}

#[test]
fn rules_and_passwords_are_read_again_when_they_change() {
    let registry = registry(&[]);
    let status = |user: &str, path: &str| curl(&["-u", user, &registry.url(path)]).status;
    assert_eq!(status("bob:build", "/v2/ci/app/tags/list"), 403);
    let more = "- {repositories: ['ci/**'], actions: [pull], subjects: ['user:bob']}\n";
    let wider = rules(&format!("{RULES}{more}"));
    fs::write(registry.path().join("rules.yaml"), wider).expect("a file");
    until("the rule holds", || {
        status("bob:build", "/v2/ci/app/tags/list") == 404
    });
    let wrong = rules("- {repositories: ['**'], actions: [pul], subjects: [anonymous]}\n");
    fs::write(registry.path().join("rules.yaml"), wrong).expect("a file");
    until("the file's fault is told", || {
        let log = registry.log();
        log.contains("line 4: rules[0].actions[0]: `pul` is no action")
    });
    assert_eq!(
        status("bob:build", "/v2/ci/app/tags/list"),
        404,
        "as before"
    );
    let users = htpasswd(&[("alice", "other")]);
    fs::write(registry.path().join("users"), users).expect("a file");
    until("the new password is taken", || {
        status("alice:other", "/v2/") == 200
    });
    assert_ne!(status("alice:wonder", "/v2/"), 200);
}

#[test]
fn what_is_wrong_with_the_files_is_told_at_the_start() {
    let folder = Guarded::folder();
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file");
        file.display().to_string()
    };
    let storage = folder.path().join("storage").display().to_string();
    let start = |flag: &str| {
        let arguments = [
            "registry",
            "serve",
            "--address=127.0.0.1:0",
            "--storage",
            &storage,
            flag,
        ];
        let ended = run(&arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.said());
        ended.stderr
    };
    let wrong = rules("- {repositories: ['A/*'], actions: [pull], subjects: [anonymous]}\n");
    let said = start(&format!("--access-file={}", file("rules.yaml", &wrong)));
    assert!(
        said.contains("rules.yaml: line 4: rules[0].repositories[0]: `A`"),
        "{said}"
    );
    let said = start(&format!(
        "--htpasswd-file={}",
        file("users", "alice:plain-secret\n")
    ));
    assert!(
        said.contains("users: line 1: the hash is none of bcrypt"),
        "{said}"
    );
    assert!(!said.contains("plain-secret"), "{said}");
}

#[test]
fn without_users_whoever_comes_from_elsewhere_may_look_only() {
    let folder = Guarded::folder();
    let registry = Guarded::start(folder, &[]);
    let source = format!("oci:{}:1", layout(registry.path(), "a").display());
    let target = format!("docker://{}/app:1", registry.host());
    let pushed = skopeo(&["copy", "--all", "--dest-tls-verify=false", &source, &target]);
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    // As through a proxy on this machine.
    let elsewhere = "X-Forwarded-For: 192.0.2.1";
    let status = |method: &str, path: &str| {
        curl(&["-X", method, "-H", elsewhere, &registry.url(path)]).status
    };
    assert_eq!(status("GET", "/v2/app/manifests/1"), 200);
    assert_eq!(status("POST", "/v2/app/blobs/uploads/"), 403);
    assert_eq!(status("DELETE", "/v2/app/manifests/1"), 403);
}

#[test]
fn a_service_accounts_token_pulls() {
    const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJidWlsZGVyIn0.c2lnbmF0dXJl";
    let folder = Guarded::folder();
    let kubeconfig = reviewer(folder.path(), TOKEN, "system:serviceaccount:ci:builder");
    let flag = format!("--kubeconfig={}", kubeconfig.display());
    let registry = registry(&["--service-accounts", &flag]);
    let pushed = push(&registry, "alice:wonder", "ci/app:1");
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    let as_password = format!("serviceaccount:{TOKEN}");
    let found = inspect(&registry, Some(&as_password), "ci/app:1");
    assert_eq!(found.code, Some(0), "{}", found.said());
    let field = format!("Authorization: Bearer {TOKEN}");
    let status = |path: &str| curl(&["-H", &field, &registry.url(path)]).status;
    assert_eq!(status("/v2/ci/app/manifests/1"), 200);
    assert_eq!(status("/v2/team/app/manifests/1"), 403);
    let other = field.replace("c2ln", "eHh4");
    assert_eq!(
        curl(&["-H", &other, &registry.url("/v2/ci/app/manifests/1")]).status,
        401
    );
}

#[test]
fn a_client_certificate_shows_who_one_is() {
    let folder = Guarded::folder();
    let authority = Authority::new();
    pem(
        folder.path(),
        "server",
        &authority.ecdsa(&["127.0.0.1", "localhost"]),
    );
    pem(folder.path(), "edge", &authority.ecdsa(&["edge.example"]));
    pem(
        folder.path(),
        "stranger",
        &Authority::new().ecdsa(&["edge.example"]),
    );
    fs::write(folder.path().join("ca.crt"), &authority.pem).expect("a file");
    let text = rules(
        "- {repositories: ['edge/**'], actions: ['*'], subjects: ['certificate:edge.example']}\n",
    );
    fs::write(folder.path().join("rules.yaml"), text).expect("a file");
    let arguments = [
        "--tls-cert-file=server.crt",
        "--tls-key-file=server.key",
        "--client-ca-file=ca.crt",
        "--access-file=rules.yaml",
    ];
    let registry = Guarded::start(folder, &arguments);
    let file = |name: &str| registry.path().join(name).display().to_string();
    let ask = |who: Option<&str>, path: &str| {
        let (url, ca) = (registry.url(path), file("ca.crt"));
        let mut arguments = vec![
            "--cacert".to_owned(),
            ca,
            "-X".to_owned(),
            "POST".to_owned(),
            url,
        ];
        if let Some(who) = who {
            arguments.extend(["--cert".to_owned(), file(&format!("{who}.crt"))]);
            arguments.extend(["--key".to_owned(), file(&format!("{who}.key"))]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        curl(&arguments).status
    };
    assert_eq!(ask(Some("edge"), "/v2/edge/app/blobs/uploads/"), 202);
    assert_eq!(ask(Some("edge"), "/v2/team/app/blobs/uploads/"), 403);
    assert_eq!(ask(None, "/v2/edge/app/blobs/uploads/"), 401);
    assert_eq!(
        ask(Some("stranger"), "/v2/edge/app/blobs/uploads/"),
        0,
        "no TLS"
    );
}

#[test]
fn through_the_ingress_it_is_a_registry_with_tls() {
    let registry = registry(&[]);
    let authority = Authority::new();
    let site = Folder::of(&[
        class(),
        service("registry", &[([127, 0, 0, 1], registry.port).into()]),
        secret("registry-tls", &authority.ecdsa(&["localhost"])),
    ]);
    let ingress = Ingress::named("registry")
        .annotation("nginx.ingress.kubernetes.io/proxy-body-size", "0")
        .tls(&["localhost"], "registry-tls")
        .host("localhost")
        .prefix("/", "registry");
    site.write("ingress.yaml", &ingress.yaml());
    let narthex = Narthex::on(&site).start();
    let host = format!("localhost:{}", narthex.https);
    let certs = registry.path().join("certs");
    fs::create_dir(&certs).expect("a folder");
    fs::write(certs.join("ca.crt"), &authority.pem).expect("a file");
    let source = format!("oci:{}:1", layout(registry.path(), "a").display());
    let target = format!("docker://{host}/team/app:1");
    let certs = certs.display().to_string();
    let to = format!("--dest-cert-dir={certs}");
    let pushed = skopeo(&[
        "copy",
        "--all",
        &to,
        "--dest-creds=bob:build",
        &source,
        &target,
    ]);
    assert_eq!(pushed.code, Some(0), "{}", pushed.said());
    let from = format!("--cert-dir={certs}");
    let found = skopeo(&["inspect", "--raw", &from, "--creds=bob:build", &target]);
    assert_eq!(found.code, Some(0), "{}", found.said());
    let ca = registry.path().join("certs/ca.crt").display().to_string();
    let answer = curl(&["-i", "--cacert", &ca, &format!("https://{host}/v2/")]);
    let realm = format!("realm=\"https://{host}/v2/token\"");
    assert!(answer.text.contains(&realm), "{}", answer.text);
    // What comes through it is what is there.
    let direct = registry.url("/v2/team/app/manifests/1");
    let direct = curl(&["-u", "bob:build", &direct]);
    assert_eq!(found.stdout, direct.text);
}

#[test]
fn a_password_file_with_nobody_in_it_is_told_of() {
    let folder = Guarded::folder();
    fs::write(folder.path().join("users"), "# nobody yet\n").expect("a file");
    let registry = Guarded::start(folder, &["--htpasswd-file=users"]);
    until("it is told", || {
        registry.log().contains("there is nobody in it yet")
    });
}
