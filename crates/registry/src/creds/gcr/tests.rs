use std::time::UNIX_EPOCH;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::fake::{Fake, Reply, Request, fields, ok};
use super::*;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn key() -> (KeyPair, String) {
    let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("PKCS #8");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        lines.join("\n")
    );
    (pair, pem)
}

fn gcr(file: &Value) -> Gcr {
    Gcr {
        registries: vec!["gcr.io".to_owned(), "europe-docker.pkg.dev".to_owned()],
        file: Hidden::new(file.to_string()),
    }
}

/// As Google checks it: everything of the assertion, and its signature by the public key alone.
fn check(request: &Request, public: &[u8], url: &str) -> Reply {
    let form = fields(&request.body);
    let jwt = form
        .get("assertion")
        .map(String::as_str)
        .unwrap_or_default();
    let parts: Vec<_> = jwt.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        return Reply::Text(400, r#"{"error":"invalid_grant"}"#.to_owned());
    };
    let read = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let (head, said) = (read(header), read(claims));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    let is_good = form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        && request.headers["content-type"] == "application/x-www-form-urlencoded"
        && head == json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
        && said["iss"] == "robot@team.example"
        && said["aud"] == url
        && said["iat"] == 1_700_000_000
        && said["exp"].as_u64().is_some_and(|it| it <= 1_700_003_600)
        && said["scope"]
            .as_str()
            .is_some_and(|it| it.contains("read_only"))
        && public.verify(signed.as_bytes(), &signature).is_ok();
    match is_good {
        true => ok(r#"{"access_token":"ya29.a","expires_in":3599,"token_type":"Bearer"}"#),
        false => Reply::Text(401, r#"{"error":"invalid_grant"}"#.to_owned()),
    }
}

#[tokio::test]
async fn a_service_account_shows_an_assertion_that_its_public_key_verifies() {
    let (pair, pem) = key();
    let (_, other) = key();
    let public = pair.public_key().as_ref().to_vec();
    let fake = Fake::start(move |request| {
        let url = format!("http://{}/token", request.headers["host"]);
        check(request, &public, &url)
    })
    .await;
    let url = format!("{}token", fake.url);
    let file = |pem: &str| {
        json!({"type": "service_account", "client_email": "robot@team.example", "private_key": pem,
               "private_key_id": "k1", "token_uri": url, "project_id": "team"})
    };
    let http = Http::new().expect("a client");
    let got = gcr(&file(&pem)).ask(&http, at()).await.expect("a token");
    assert_eq!(got.len(), 2);
    assert_eq!(got[1].registry, "europe-docker.pkg.dev");
    assert_eq!(got[0].username, "oauth2accesstoken");
    assert_eq!(got[0].secret.show(), "ya29.a");
    assert_eq!(got[0].expires, Some(at() + Duration::from_secs(3599)));
    let refused = gcr(&file(&other)).ask(&http, at()).await;
    let said = refused.expect_err("another's key").to_string();
    assert_eq!(said, "127.0.0.1 answers 401: invalid_grant");
}

#[tokio::test]
async fn a_person_shows_a_refresh_token() {
    let fake = Fake::start(|request| {
        let form = fields(&request.body);
        let is_good = form["grant_type"] == "refresh_token"
            && form["client_id"] == "id"
            && form["client_secret"] == "s&=+ ä"
            && form["refresh_token"] == "1//r";
        match is_good {
            true => ok(r#"{"access_token":"ya29.b","expires_in":99999999999}"#),
            false => Reply::Text(
                400,
                r#"{"error":"invalid_grant","error_description":"1//r"}"#.into(),
            ),
        }
    })
    .await;
    let file = |token: &str| {
        json!({"type": "authorized_user", "client_id": "id", "client_secret": "s&=+ ä",
               "refresh_token": token, "token_uri": fake.url})
    };
    let http = Http::new().expect("a client");
    let got = gcr(&file("1//r")).ask(&http, at()).await.expect("a token");
    assert_eq!(got[0].secret.show(), "ya29.b");
    let longest = at() + Duration::from_secs(LONGEST);
    assert_eq!(
        got[0].expires,
        Some(longest),
        "nobody is believed to give one for years"
    );
    let refused = gcr(&file("1//r-old")).ask(&http, at()).await;
    let said = refused.expect_err("an old one").to_string();
    assert!(said.contains("invalid_grant"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_wrong_is_said_without_what_is_in_it() {
    let http = Http::new().expect("a client");
    let files = [
        json!("hunter2"),
        json!({"type": "external_account", "hunter2": 1}),
        json!({"type": "service_account", "client_email": "a", "private_key": "hunter2"}),
        json!({"type": "service_account", "client_email": "a",
               "private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}),
        json!({"type": "authorized_user", "client_id": "a", "client_secret": ["hunter2"]}),
        json!({"type": "authorized_user", "client_id": "a", "client_secret": "hunter2",
               "refresh_token": "hunter2", "token_uri": "http://token.example/"}),
    ];
    for file in files {
        let said = gcr(&file).ask(&http, at()).await.expect_err("wrong");
        assert!(!said.to_string().contains("hunter2"), "{said}");
    }
}
