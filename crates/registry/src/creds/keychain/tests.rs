use std::sync::atomic::{AtomicBool, Ordering};

use super::super::fake::{Fake, Reply, ok};
use super::super::{Gcr, Hidden, Places, Source};
use super::*;
use crate::client::Credential;

fn grant(url: &str) -> Grant {
    let file = serde_json::json!({"type": "authorized_user", "client_id": "a", "client_secret": "b",
                                  "refresh_token": "c", "token_uri": url});
    Grant {
        secret: "gcr-secret".to_owned(),
        source: Source::Gcr(Gcr {
            registries: vec!["gcr.io".to_owned()],
            file: Hidden::new(file.to_string()),
        }),
        places: Places::default(),
        origin: "a test".to_owned(),
    }
}

#[tokio::test]
async fn a_provider_is_asked_once_for_all_who_ask_and_files_come_first() {
    let fake = Fake::start(|_| ok(r#"{"access_token":"t","expires_in":3600}"#)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("auth.json");
    let missing = folder.path().join("missing.json");
    let text = r#"{"auths": {"quay.io": {"auth": "YTpi"}}}"#;
    std::fs::write(&file, text).expect("written");
    let keychain = Keychain::new(vec![missing, file.clone()], vec![grant(&fake.url)]);
    let keychain = keychain.expect("a keychain");
    let (one, two) = tokio::join!(keychain.get("gcr.io", "a/b"), keychain.get("gcr.io", "c"));
    for got in [one, two] {
        let got = got.expect("asked").expect("a credential");
        let Credential::Password { password, .. } = got else {
            panic!("{got:?}");
        };
        assert_eq!(password.show(), "t");
    }
    let got = keychain
        .get("quay.io", "a")
        .await
        .expect("read")
        .expect("there");
    assert_eq!(got, Credential::password("a", "b"));
    assert_eq!(keychain.get("docker.io", "a").await, Ok(None));
    assert_eq!(fake.asked().len(), 1);
    std::fs::write(&file, "hunter2").expect("written");
    let said = keychain
        .get("gcr.io", "a")
        .await
        .expect_err("no JSON")
        .to_string();
    assert!(
        said.contains("auth.json") && !said.contains("hunter2"),
        "{said}"
    );
}

#[tokio::test]
async fn a_failing_provider_is_an_error_until_there_is_something_and_no_error_afterwards() {
    static FAILS: AtomicBool = AtomicBool::new(true);
    let fake = Fake::start(|_| match FAILS.load(Ordering::Relaxed) {
        true => Reply::Text(503, String::new()),
        // Half of its life is over soon, and the other half is not.
        false => ok(r#"{"access_token":"t","expires_in":10}"#),
    })
    .await;
    let keychain = Keychain::new(Vec::new(), vec![grant(&fake.url)]).expect("a keychain");
    let said = keychain
        .get("gcr.io", "")
        .await
        .expect_err("503")
        .to_string();
    assert_eq!(said, "a test: 127.0.0.1 answers 503");
    FAILS.store(false, Ordering::Relaxed);
    assert!(keychain.get("gcr.io", "").await.expect("asked").is_some());
    FAILS.store(true, Ordering::Relaxed);
    let before = fake.asked().len();
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    for _ in 0..5 {
        let got = keychain.get("gcr.io", "").await.expect("the last good");
        assert!(got.is_some());
    }
    assert_eq!(fake.asked().len(), before + 1, "it is left alone");
}

#[test]
fn the_usual_files_are_skopeos() {
    let get = |name: &str| match name {
        "HOME" => Some("/home/a".to_owned()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
        _ => None,
    };
    let files = Keychain::usual_files(get);
    let expected = [
        "/run/user/1/containers/auth.json",
        "/home/a/.config/containers/auth.json",
        "/home/a/.docker/config.json",
    ];
    assert_eq!(files, expected.map(PathBuf::from));
    let files = Keychain::usual_files(|name| {
        (name == "REGISTRY_AUTH_FILE")
            .then(|| "/x".to_owned())
            .or_else(|| get(name))
    });
    assert_eq!(files, [PathBuf::from("/x")]);
}

#[test]
fn hosts_are_compared_without_what_people_put_around_them() {
    for (text, host) in [
        ("https://GCR.io/v2/", "gcr.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("http://[::1]:5000/", "[::1]:5000"),
        ("https://me:hunter2@r.example:5000/v2/", "r.example:5000"),
    ] {
        assert_eq!(host_of(text), host);
    }
}
