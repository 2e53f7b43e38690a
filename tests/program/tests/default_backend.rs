//! Virtual hosts that nobody claims.

use program_tests::{Backend, Ingress, Narthex, Site, class, docs, service_in};

#[test]
fn a_host_nobody_claims_gets_a_plain_404_that_tells_no_version() {
    let site = Site::echo();
    let answer = site.narthex.get("unknown.example", "/secret");
    assert_eq!(answer.status, 404);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain"))
    );
    assert!(!answer.body.is_empty(), "a person reads this page");
    let everything = format!("{answer:?} {}", answer.text()).to_lowercase();
    assert!(
        !everything.contains(env!("CARGO_PKG_VERSION")),
        "{everything}"
    );
    assert!(
        !everything.contains("/secret"),
        "the path is not reflected: {everything}"
    );
    assert!(site.web.seen().is_empty());
}

#[test]
fn the_default_backend_flag_serves_hosts_nobody_claims() {
    let fallback = Backend::named("fallback");
    let web = Backend::named("web");
    let folder = program_tests::Folder::of(&[
        class(),
        service_in("infra", "fallback", &[fallback.address()]),
        service_in("default", "web", &[web.address()]),
        Ingress::named("web")
            .host("a.example")
            .exact("/only", "web")
            .yaml(),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&["--default-backend-service", "infra/fallback"])
        .start();
    assert_eq!(narthex.backend("unknown.example", "/"), "fallback");
    assert_eq!(narthex.backend("a.example", "/only"), "web");
    assert_eq!(narthex.backend("a.example", "/other"), "fallback");
}

#[test]
fn an_ingress_default_backend_comes_before_the_flag() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let folder = program_tests::Folder::new();
    folder.write(
        "site.yaml",
        &docs(&[
            class(),
            service_in("default", "a", &[a.address()]),
            service_in("default", "b", &[b.address()]),
            Ingress::named("all").default_backend("a").yaml(),
        ]),
    );
    let narthex = Narthex::on(&folder)
        .arg("--default-backend-service=default/b")
        .start();
    assert_eq!(narthex.backend("unknown.example", "/"), "a");
}

#[test]
fn a_default_backend_that_does_not_exist_is_503_and_logged() {
    let folder = program_tests::Folder::of(&[class()]);
    let narthex = Narthex::on(&folder)
        .arg("--default-backend-service=infra/missing")
        .start();
    assert_eq!(narthex.get("unknown.example", "/x").status, 503);
    narthex.until_log("infra/missing");
    assert!(narthex.access("/x")["reason"].is_string());
}

#[test]
fn an_empty_folder_is_served_too() {
    let folder = program_tests::Folder::new();
    let narthex = Narthex::on(&folder).start();
    assert_eq!(narthex.get("any.example", "/").status, 404);
}
