//! `load-balance`, `upstream-hash-by` and `service-upstream`: which endpoint gets a request.

use std::collections::BTreeSet;

use program_tests::balancing::{addresses, annotated, ask};
use program_tests::nginx::{ingress as nginx, serve_annotated};
use program_tests::{Backend, HOST, Narthex, serve, serve_with, service};

const NAMES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

fn met(narthex: &Narthex, count: usize, path: impl Fn(usize) -> String) -> BTreeSet<String> {
    (0..count)
        .map(|index| narthex.get(HOST, &path(index)).backend())
        .collect()
}

#[test]
fn requests_take_turns_where_nothing_is_said() {
    let backends = NAMES.map(Backend::named);
    for said in [&[][..], &[("load-balance", "round_robin")]] {
        let (narthex, _folder) = serve_annotated(said, &addresses(&backends));
        for _ in 0..3 {
            assert_eq!(met(&narthex, 6, |_| "/".to_owned()).len(), 6, "{said:?}");
        }
    }
    let (narthex, _folder) = serve_annotated(&[("load-balance", "ewma")], &addresses(&backends));
    assert!(met(&narthex, 60, |_| "/".to_owned()).len() > 1);
}

#[test]
fn what_the_service_says_goes_before_the_default_and_not_before_the_ingress() {
    let backends = ["one", "two"].map(Backend::named);
    let says = annotated(&addresses(&backends), &[("hash-by", "uri")]);
    let plain = nginx("web", &[]).host(HOST).prefix("/", "web");
    let (narthex, _folder) = serve_with(&[says.clone(), plain.yaml()], &["--workers=1"]);
    assert_eq!(met(&narthex, 10, |_| "/".to_owned()).len(), 1);
    let own = nginx("web", &[("load-balance", "round_robin")]).host(HOST);
    let site = [says, own.prefix("/", "web").yaml()];
    let (narthex, _folder) = serve_with(&site, &["--workers=1"]);
    assert_eq!(met(&narthex, 2, |_| "/".to_owned()).len(), 2);
}

#[test]
fn an_algorithm_that_nobody_knows_leaves_the_ingress_out() {
    let web = Backend::named("web");
    let (narthex, _folder) = serve_annotated(&[("load-balance", "fair")], &[web.address()]);
    assert_eq!(narthex.get(HOST, "/").status, 404);
    // These are known there, and are asked for in another way.
    let (narthex, _folder) = serve_annotated(&[("load-balance", "chash")], &[web.address()]);
    assert_eq!(narthex.get(HOST, "/").status, 200);
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let backends = NAMES.map(Backend::named);
    let said = [("upstream-hash-by", "$request_uri")];
    let (narthex, _folder) = serve_annotated(&said, &addresses(&backends));
    assert_eq!(met(&narthex, 50, |_| "/same".to_owned()).len(), 1);
    assert!(met(&narthex, 50, |index| format!("/{index}")).len() > 3);
    let said = [("upstream-hash-by", "${http_x_user}-text")];
    let (narthex, _folder) = serve_annotated(&said, &addresses(&backends));
    assert_eq!(met(&narthex, 50, |index| format!("/{index}")).len(), 1);
    let by_user: BTreeSet<_> = (0..50)
        .map(|index| ask(&narthex, &format!("X-User: {index}")).backend())
        .collect();
    assert!(by_user.len() > 3, "{by_user:?}");
}

#[test]
fn the_same_key_goes_to_the_same_few_endpoints() {
    let backends = NAMES.map(Backend::named);
    for (said, size) in [(None, 3), (Some("2"), 2), (Some("0"), 3), (Some("100"), 6)] {
        let mut all = vec![
            ("upstream-hash-by", "$request_uri"),
            ("upstream-hash-by-subset", "true"),
        ];
        all.extend(said.map(|size| ("upstream-hash-by-subset-size", size)));
        let (narthex, _folder) = serve_annotated(&all, &addresses(&backends));
        assert_eq!(
            met(&narthex, 100, |_| "/same".to_owned()).len(),
            size,
            "{said:?}"
        );
        assert_eq!(
            met(&narthex, 200, |index| format!("/{index}")).len(),
            6,
            "{said:?}"
        );
    }
}

#[test]
fn a_key_with_characters_that_are_not_allowed_leaves_the_ingress_out() {
    let web = Backend::named("web");
    for wrong in ["$request_uri;", "a\"b", "$a{}#"] {
        let said = [("upstream-hash-by", wrong)];
        let (narthex, _folder) = serve_annotated(&said, &[web.address()]);
        assert_eq!(narthex.get(HOST, "/").status, 404, "{wrong}");
    }
}

#[test]
fn the_services_own_address_is_used_where_that_is_asked_for_and_it_has_one() {
    let (web, own) = (Backend::named("web"), Backend::named("own"));
    let said = [("service-upstream", "true")];
    let port = own.address().port();
    let with_address = |text: String| {
        text.replacen("spec:\n", "spec:\n  clusterIP: 127.0.0.1\n", 1)
            .replacen("port: 80\n", &format!("port: {port}\n"), 1)
    };
    let ingress = |said: &[(&str, &str)]| nginx("web", said).host(HOST).prefix("/", "web").yaml();
    let plain = service("web", &[web.address()]);
    let addressed = with_address(plain.clone());
    for (service, said, expected) in [
        (&addressed, &said[..], "own"),
        (&addressed, &[], "web"),
        (&addressed, &[("service-upstream", "false")], "web"),
        (&plain, &said, "web"),
    ] {
        let (narthex, _folder) = serve(&[service.clone(), ingress(said)]);
        assert_eq!(narthex.backend(HOST, "/"), expected, "{said:?}");
    }
    let (narthex, _folder) = serve(&[plain, ingress(&said)]);
    narthex.until_log("has no clusterIP; its endpoints are used instead");
}
