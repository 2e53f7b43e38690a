use std::fs;
use std::path::Path;

use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use super::*;

const RULES: &str = "apiVersion: narthex.dev/v1alpha1
kind: RegistryAccess
rules:
- {repositories: ['public/**'], actions: [pull], subjects: [anonymous]}
- {repositories: ['team/**'], actions: [pull, push], subjects: ['user:alice']}
- {repositories: ['ci/**'], actions: [pull], subjects: ['serviceaccount:ci/builder']}
- {repositories: ['team/**'], actions: [list], subjects: ['user:bob']}
";

#[derive(Debug)]
struct Cluster;

impl Reviewer for Cluster {
    fn review<'a>(&'a self, token: &'a str) -> Answer<'a> {
        let good = (token == "builder.good.x").then(|| Reviewed {
            name: "system:serviceaccount:ci:builder".to_owned(),
            groups: vec!["system:serviceaccounts".to_owned()],
        });
        Box::pin(async { Ok(good) })
    }
}

struct Site {
    gate: Gate,
    _folder: TempDir,
}

fn write(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).expect("written");
    file
}

async fn site(with_rules: bool) -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let hash = |password| bcrypt::hash(password, 4).expect("bcrypt");
    let users = format!("alice:{}\nbob:{}\n", hash("wonder"), hash("build"));
    let users = write(folder.path(), "users", &users);
    let rules = write(folder.path(), "rules.yaml", RULES);
    let parse = |text: &str| Rules::parse(text).map_err(|it| it.to_string());
    let rules = with_rules.then(|| Watched::open(&rules, parse).expect("rules"));
    let settings = Settings {
        rules,
        anonymous: None,
        htpasswd: Some(Watched::open(&users, Htpasswd::parse).expect("users")),
        reviewer: Some(Box::new(Cluster)),
        certificates: true,
        proxies: Proxies::default(),
    };
    let store = object_store::memory::InMemory::new();
    let key = Key::shared(&store).await.expect("a key");
    Site {
        gate: Gate::new(settings, Some(key)),
        _folder: folder,
    }
}

fn peer() -> Peer {
    Peer {
        address: [192, 0, 2, 7].into(),
        is_tls: true,
        certificate: None,
    }
}

fn basic(name: &str, password: &str) -> String {
    use base64::Engine as _;
    let pair = base64::prelude::BASE64_STANDARD.encode(format!("{name}:{password}"));
    format!("Basic {pair}")
}

fn head(uri: &str, authorization: Option<&str>) -> Parts {
    let mut request = Request::get(uri).header(HOST, "registry.example");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.body(()).expect("a request").into_parts().0
}

impl Site {
    async fn enter(&self, authorization: Option<&str>) -> Result<Visitor, Refusal> {
        let head = head("/v2/", authorization);
        self.gate.enter(&head.headers, None, &peer()).await
    }

    async fn token(&self, scopes: &str, authorization: Option<&str>) -> Response<bytes::Bytes> {
        let head = head(&format!("/v2/token?service=x&{scopes}"), authorization);
        self.gate.token(&head, b"", &peer()).await
    }

    async fn bearer(&self, scopes: &str, authorization: Option<&str>) -> Visitor {
        let response = self.token(scopes, authorization).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body: Value = serde_json::from_slice(response.body()).expect("JSON");
        let token = body["token"].as_str().expect("a token");
        self.enter(Some(&format!("Bearer {token}")))
            .await
            .expect("let in")
    }
}

fn challenge(refusal: &Refusal) -> String {
    let response = refusal.response();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let body: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(body["errors"][0]["code"], "UNAUTHORIZED");
    let field = response
        .headers()
        .get(WWW_AUTHENTICATE)
        .expect("a challenge");
    field.to_str().expect("text").to_owned()
}

#[tokio::test]
async fn whoever_shows_nothing_is_told_what_to_do() {
    let site = site(true).await;
    let visitor = site.enter(None).await.expect("let in");
    let ping = visitor.ping().expect_err("to be told");
    let root = "Bearer realm=\"https://registry.example/v2/token\",service=\"narthex-registry\"";
    assert_eq!(challenge(&ping), root);
    let push = visitor
        .require(Action::Push, "team/a")
        .expect_err("anonymous");
    assert_eq!(
        challenge(&push),
        format!("{root},scope=\"repository:team/a:pull,push\"")
    );
    assert!(visitor.require(Action::Pull, "public/a").is_ok());
    let catalog = visitor.require_catalog().expect_err("anonymous");
    assert_eq!(
        challenge(&catalog),
        format!("{root},scope=\"registry:catalog:*\"")
    );
}

#[tokio::test]
async fn a_token_does_what_it_was_asked_for_and_the_rules_let_it() {
    let site = site(true).await;
    let alice = basic("alice", "wonder");
    let scopes = "scope=repository:team/a:pull,push&scope=repository:ci/b:pull";
    let visitor = site.bearer(scopes, Some(&alice)).await;
    assert!(visitor.ping().is_ok());
    assert!(visitor.may(Action::Push, "team/a") && visitor.may(Action::List, "team/a"));
    assert!(!visitor.may(Action::Delete, "team/a"));
    // A right that the token was not asked for: it says which token would do.
    let other = visitor
        .require(Action::Push, "team/b")
        .expect_err("not asked for");
    assert!(challenge(&other).ends_with(",error=\"insufficient_scope\""));
    // No right, whatever the token.
    let refused = visitor.require(Action::Pull, "ci/b").expect_err("no right");
    let response = refused.response();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(response.headers().get(WWW_AUTHENTICATE).is_none());
    let visitor = site
        .bearer(
            "scope=repository:team/a:pull+repository:team/b:push",
            Some(&alice),
        )
        .await;
    assert!(visitor.may(Action::Pull, "team/a") && visitor.may(Action::Push, "team/b"));
    assert!(!visitor.may(Action::Push, "team/a"));
}

#[tokio::test]
async fn the_anonymous_get_a_token_and_no_more_rights_by_it() {
    let site = site(true).await;
    let scopes = "scope=repository:public/a:pull,push&scope=repository:team/a:pull";
    let visitor = site.bearer(scopes, None).await;
    assert!(visitor.ping().is_ok());
    assert!(visitor.may(Action::Pull, "public/a"));
    assert!(!visitor.may(Action::Push, "public/a") && !visitor.may(Action::Pull, "team/a"));
    let refused = visitor
        .require(Action::Pull, "team/a")
        .expect_err("anonymous");
    assert_eq!(refused.response().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_password_may_be_shown_with_each_request() {
    let site = site(true).await;
    let visitor = site
        .enter(Some(&basic("alice", "wonder")))
        .await
        .expect("right");
    assert!(visitor.may(Action::Push, "team/a") && visitor.may(Action::Push, "team/b"));
    let bob = site
        .enter(Some(&basic("bob", "build")))
        .await
        .expect("right");
    assert!(bob.require_catalog().is_ok());
    assert!(bob.may_see("team/a") && !bob.may_see("ci/a") && !bob.may(Action::Pull, "team/a"));
    let wrong = site
        .enter(Some(&basic("alice", "x")))
        .await
        .expect_err("wrong");
    assert!(challenge(&wrong).starts_with("Bearer "));
}

#[tokio::test]
async fn whoever_guesses_has_to_wait_and_whoever_was_right_has_not() {
    let site = site(true).await;
    let alice = basic("alice", "wonder");
    site.enter(Some(&alice)).await.expect("right");
    let guess = async |number: usize| site.enter(Some(&basic("bob", &number.to_string()))).await;
    for number in 0..10 {
        let refused = guess(number).await.expect_err("wrong").response();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    }
    let refused = guess(10).await.expect_err("too many").response();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers().contains_key("retry-after"));
    let refused = site.token("", Some(&basic("bob", "y"))).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    site.enter(Some(&alice)).await.expect("remembered");
}

#[tokio::test]
async fn a_service_accounts_token_is_a_password_and_a_bearer_token() {
    let site = site(true).await;
    for authorization in [
        basic("any", "builder.good.x"),
        "Bearer builder.good.x".to_owned(),
    ] {
        let visitor = site.enter(Some(&authorization)).await.expect("right");
        assert!(visitor.may(Action::Pull, "ci/a") && !visitor.may(Action::Push, "ci/a"));
        let visitor = site
            .bearer("scope=repository:ci/a:pull", Some(&authorization))
            .await;
        assert!(visitor.may(Action::Pull, "ci/a"));
    }
    assert!(site.enter(Some("Bearer builder.bad.x")).await.is_err());
    // As containerd shows an identity token.
    let mut head = head("/v2/token", None);
    head.method = http::Method::POST;
    let form = b"grant_type=refresh_token&service=x&refresh_token=builder.good.x&scope=repository:ci/a:pull";
    let response = site.gate.token(&head, form, &peer()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let form = b"grant_type=password&username=alice&password=wrong";
    let response = site.gate.token(&head, form, &peer()).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let response = site.gate.token(&head, b"grant_type=magic", &peer()).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_certificate_is_enough() {
    let site = site(false).await;
    let peer = Peer {
        certificate: Some(vec!["edge.example".to_owned()]),
        ..peer()
    };
    let head = head("/v2/", None);
    let visitor = site
        .gate
        .enter(&head.headers, None, &peer)
        .await
        .expect("let in");
    assert!(visitor.ping().is_ok() && visitor.may(Action::Push, "a"));
}

#[tokio::test]
async fn without_users_this_host_may_everything_and_others_may_look() {
    let gate = Gate::open();
    let enter = async |address: [u8; 4], fields: HeaderMap| {
        let peer = Peer {
            address: address.into(),
            ..peer()
        };
        gate.enter(&fields, None, &peer).await.expect("let in")
    };
    let own = enter([127, 0, 0, 1], head("/", Some("Bearer left-over")).headers).await;
    assert!(own.ping().is_ok() && own.may(Action::Delete, "a"));
    let other = enter([192, 0, 2, 1], HeaderMap::new()).await;
    assert!(other.ping().is_ok() && other.may(Action::Pull, "a"));
    let refused = other.require(Action::Push, "a").expect_err("elsewhere");
    assert_eq!(refused.response().status(), StatusCode::FORBIDDEN);
    let mut forwarded = HeaderMap::new();
    forwarded.insert("x-forwarded-for", "192.0.2.1".parse().expect("a value"));
    let proxied = enter([127, 0, 0, 1], forwarded).await;
    assert!(!proxied.may(Action::Push, "a"));
}

#[tokio::test]
async fn a_page_in_a_browser_on_this_host_may_not_push() {
    let gate = Gate::open();
    let peer = Peer {
        address: [127, 0, 0, 1].into(),
        ..peer()
    };
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("x-real-ip", "192.0.2.1"),
        ("x-forwarded-host", "registry.example"),
        ("via", "1.1 proxy"),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a value"));
        let visitor = gate.enter(&headers, None, &peer).await.expect("let in");
        assert!(
            visitor.may(Action::Pull, "a") && !visitor.may(Action::Push, "a"),
            "{name}"
        );
    }
}
