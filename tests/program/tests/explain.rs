//! `narthex explain`: which route answers, by the data plane's own code.

use std::ffi::OsStr;

use program_tests::folder::secret;
use program_tests::program::Ended;
use program_tests::{
    Backend, Certificate, Folder, Ingress, Narthex, class, run, service, service_on,
};

struct World {
    folder: Folder,
    web: Backend,
    api: Backend,
}

fn world() -> World {
    let (web, api) = (Backend::named("web"), Backend::named("api"));
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        service("api", &[api.address()]),
        service_on("default", "idle", &[("http", 80)]),
        secret("tls", &Certificate::of(&["s.example"])),
        Ingress::named("main")
            .host("a.example")
            .prefix("/", "web")
            .prefix("/api", "api")
            .exact("/exact", "api")
            .prefix("/idle", "idle")
            .host("*.wild.example")
            .prefix("/", "api")
            .yaml(),
        Ingress::named("secure")
            .tls(&["s.example"], "tls")
            .host("s.example")
            .prefix("/", "web")
            .yaml(),
    ]);
    World { folder, web, api }
}

impl World {
    fn explain(&self, url: &str) -> Ended {
        run(&[
            OsStr::new("explain"),
            self.folder.path().as_os_str(),
            OsStr::new(url),
        ])
    }

    #[track_caller]
    fn says(&self, url: &str, words: &[&str]) {
        let ended = self.explain(url);
        for word in words {
            assert!(
                ended.stdout.contains(word),
                "{url}: {word:?} is not in:\n{}",
                ended.said()
            );
        }
    }
}

#[test]
fn listener_host_rule_backend_and_endpoints_are_told() {
    let world = world();
    let endpoint = world.api.address().to_string();
    world.says(
        "http://a.example/api/v1?x=y",
        &[
            "8080",
            "a.example",
            "/api",
            "default/main",
            "default/api",
            &endpoint,
        ],
    );
    let endpoint = world.web.address().to_string();
    world.says(
        "http://a.example/other",
        &["default/main", "default/web", &endpoint],
    );
}

#[test]
fn a_wildcard_host_is_shown_as_what_matched() {
    world().says("http://x.wild.example/", &["*.wild.example", "default/api"]);
}

#[test]
fn the_redirect_to_https_is_shown() {
    world().says("http://s.example/x", &["308", "https://s.example"]);
    world().says("https://s.example/x", &["default/web", "8443"]);
}

#[test]
fn a_host_nobody_claims_is_404() {
    world().says("http://unknown.example/", &["404"]);
}

#[test]
fn a_backend_without_endpoints_is_503() {
    world().says("http://a.example/idle", &["503", "default/idle"]);
}

#[test]
fn a_path_that_is_refused_is_400() {
    world().says("http://a.example/a/%2e%2e/b", &["400"]);
}

#[test]
fn programs_can_read_it_too() {
    let world = world();
    let ended = run(&[
        OsStr::new("explain"),
        OsStr::new("--output=json"),
        world.folder.path().as_os_str(),
        OsStr::new("http://a.example/api"),
    ]);
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert!(answer.to_string().contains("default/api"), "{answer}");
}

#[test]
fn the_exit_code_tells_whether_a_route_answers() {
    let world = world();
    assert_eq!(world.explain("http://a.example/").code, Some(0));
    assert_eq!(world.explain("http://unknown.example/").code, Some(1));
}

#[test]
fn a_url_that_is_none_is_a_clear_error() {
    for url in ["nonsense", "ftp://a.example/", "http://"] {
        let ended = world().explain(url);
        assert_ne!(ended.code, Some(0), "{url}: {}", ended.said());
        assert!(!ended.stderr.is_empty(), "{url}");
    }
}

#[test]
fn flags_that_change_routing_change_the_explanation() {
    let world = world();
    let ended = run(&[
        OsStr::new("explain"),
        OsStr::new("--endpoint=default/idle=127.0.0.1:4711"),
        OsStr::new("--default-backend-service=default/web"),
        world.folder.path().as_os_str(),
        OsStr::new("http://a.example/idle"),
    ]);
    assert!(ended.stdout.contains("127.0.0.1:4711"), "{}", ended.said());
}

#[test]
fn explain_and_the_data_plane_agree() {
    let world = world();
    let narthex = Narthex::on(&world.folder).start();
    for (host, path) in [
        ("a.example", "/"),
        ("a.example", "/api"),
        ("a.example", "/apiary"),
        ("a.example", "/exact"),
        ("a.example", "/exact/"),
        ("a.example", "//api"),
        ("a.example", "/x/../api"),
        ("x.wild.example", "/"),
        ("x.y.wild.example", "/"),
        ("unknown.example", "/"),
    ] {
        let answer = narthex.backend(host, path);
        let ended = world.explain(&format!("http://{host}{path}"));
        let wanted = match answer.as_str() {
            "web" => "default/web".to_owned(),
            "api" => "default/api".to_owned(),
            status => status.to_owned(),
        };
        assert!(
            ended.stdout.contains(&wanted),
            "{host}{path} is {wanted}, not:\n{}",
            ended.said()
        );
    }
}
