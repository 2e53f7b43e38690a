//! TLS: which certificate, which protocol, and what leads to it.

use std::fs;

use program_tests::certificate::Authority;
use program_tests::folder::{raw_secret, secret};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Folder, HOST, Ingress, Narthex, Site, class, curl, docs, service, until,
};
use rustls::{HandshakeKind, ProtocolVersion};

/// A program whose Ingresses and Secrets come from the test; `web` serves them all.
struct World {
    narthex: Narthex,
    folder: Folder,
    _web: Backend,
}

fn world(documents: &[String], flags: &[&str]) -> World {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    folder.write("tls.yaml", &docs(documents));
    let narthex = Narthex::on(&folder).args(flags).start();
    World {
        narthex,
        folder,
        _web: web,
    }
}

fn secure(name: &str, host: &str, secret: &str) -> String {
    Ingress::named(name)
        .tls(&[host], secret)
        .host(host)
        .prefix("/", "web")
        .yaml()
}

impl World {
    #[track_caller]
    fn shows(&self, host: &str, certificate: &Certificate) {
        let shown = Client::trusting_anything().certificate(self.narthex.https, host);
        assert_eq!(shown, certificate.der, "for {host}");
    }

    /// Waits until `host` gets `certificate`.
    #[track_caller]
    fn until_shows(&self, host: &str, certificate: &Certificate) {
        let client = Client::trusting_anything();
        until("the certificate is served", || {
            client.certificate(self.narthex.https, host) == certificate.der
        });
    }
}

#[test]
fn sni_selects_the_certificate_of_the_host() {
    let (one, two) = (
        Certificate::of(&["one.example"]),
        Certificate::of(&["two.example"]),
    );
    let world = world(
        &[
            secret("one", &one),
            secret("two", &two),
            secure("one", "one.example", "one"),
            secure("two", "two.example", "two"),
        ],
        &[],
    );
    world.shows("one.example", &one);
    world.shows("two.example", &two);
    world.shows("ONE.example", &one);
}

#[test]
fn a_browser_like_client_accepts_the_chain() {
    let (site, _, authority) = Site::secure(&[]);
    let (mut conn, _) = Client::trusting(&authority.der)
        .connect(site.narthex.https, HOST)
        .expect("trusted");
    assert_eq!(conn.get(HOST, "/").backend(), "web");
}

#[test]
fn curl_accepts_the_chain_and_speaks_http2() {
    let (site, _, authority) = Site::secure(&[]);
    let roots = site.narthex.state.path().join("roots.pem");
    fs::write(&roots, &authority.pem).expect("a file");
    let port = site.narthex.https;
    let answer = curl(&[
        "--http2",
        "--cacert",
        &roots.to_string_lossy(),
        "--resolve",
        &format!("{HOST}:{port}:127.0.0.1"),
        &format!("https://{HOST}:{port}/x"),
    ]);
    assert_eq!((answer.code, answer.status), (0, 200), "{answer:?}");
    assert_eq!(answer.version, "2");
}

#[test]
fn a_wildcard_certificate_serves_one_label() {
    let wild = Certificate::of(&["*.wild.example"]);
    let world = world(
        &[
            secret("wild", &wild),
            secure("wild", "*.wild.example", "wild"),
        ],
        &[],
    );
    world.shows("a.wild.example", &wild);
    world.shows("b.wild.example", &wild);
    let other = Client::trusting_anything().certificate(world.narthex.https, "a.b.wild.example");
    assert_ne!(other, wild.der, "two labels are not covered");
}

#[test]
fn an_exact_certificate_comes_before_a_wildcard() {
    let (exact, wild) = (
        Certificate::of(&["a.wild.example"]),
        Certificate::of(&["*.wild.example"]),
    );
    let world = world(
        &[
            secret("wild", &wild),
            secret("exact", &exact),
            secure("wild", "*.wild.example", "wild"),
            secure("exact", "a.wild.example", "exact"),
        ],
        &[],
    );
    world.shows("a.wild.example", &exact);
    world.shows("b.wild.example", &wild);
}

#[test]
fn unknown_names_and_no_name_get_the_self_signed_default() {
    let (site, certificate, _) = Site::secure(&[]);
    let client = Client::trusting_anything();
    let default = client.certificate(site.narthex.https, "unknown.example");
    assert_ne!(default, certificate.der);
    let nameless = client
        .clone()
        .without_sni()
        .certificate(site.narthex.https, HOST);
    assert_eq!(nameless, default);
    let (mut conn, _) = client
        .connect(site.narthex.https, "unknown.example")
        .expect("a handshake");
    assert_eq!(conn.get("unknown.example", "/").status, 404);
}

#[test]
fn the_self_signed_default_is_made_once_and_kept() {
    let folder = Folder::of(&[class()]);
    let state = tempfile::tempdir().expect("a temporary folder");
    let shown = || {
        let narthex = Narthex::on(&folder)
            .without_state_flag()
            .arg("--state-dir")
            .arg(state.path())
            .start();
        Client::trusting_anything().certificate(narthex.https, "any.example")
    };
    assert_eq!(shown(), shown());
}

#[test]
fn a_flag_names_the_default_certificate() {
    let certificate = Certificate::of(&["fallback.example"]);
    let world = world(
        &[secret("fallback", &certificate)],
        &["--default-ssl-certificate", "default/fallback"],
    );
    world.shows("anything.example", &certificate);
    let changed = Certificate::of(&["fallback.example"]);
    world
        .folder
        .write("tls.yaml", &secret("fallback", &changed));
    world.until_shows("anything.example", &changed);
}

#[test]
fn a_tls_host_without_secret_gets_the_default_certificate() {
    let fallback = Certificate::of(&["fallback.example"]);
    let ingress = Ingress::named("a")
        .tls_without_secret(&[HOST])
        .host(HOST)
        .prefix("/", "web")
        .yaml();
    let world = world(
        &[secret("fallback", &fallback), ingress],
        &["--default-ssl-certificate=default/fallback"],
    );
    world.shows(HOST, &fallback);
    assert_eq!(
        world.narthex.get(HOST, "/").status,
        308,
        "it is a TLS host all the same"
    );
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let (site, ..) = Site::secure(&[]);
    for (version, expected) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let client = Client::speaking(&[version]);
        let (mut conn, handshake) = client
            .connect(site.narthex.https, HOST)
            .expect("a handshake");
        assert_eq!(handshake.version, expected);
        assert_eq!(conn.get(HOST, "/").status, 200);
    }
}

#[test]
fn older_versions_are_refused() {
    let (site, ..) = Site::secure(&[]);
    let port = site.narthex.https;
    for version in ["1.0", "1.1"] {
        let answer = curl(&[
            "--insecure",
            "--tls-max",
            version,
            "--tlsv1.0",
            "--ciphers",
            "DEFAULT:@SECLEVEL=0",
            "--resolve",
            &format!("{HOST}:{port}:127.0.0.1"),
            &format!("https://{HOST}:{port}/"),
        ]);
        assert_eq!(answer.code, 35, "TLS {version}: {answer:?}");
    }
    assert!(site.web.seen().is_empty());
}

#[test]
fn alpn_chooses_http2_before_http1() {
    let (site, ..) = Site::secure(&[]);
    for (offered, chosen) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let client = Client::trusting_anything().alpn(offered);
        let (_, handshake) = client
            .connect(site.narthex.https, HOST)
            .expect("a handshake");
        assert_eq!(handshake.alpn.as_deref(), chosen, "{offered:?}");
    }
}

#[test]
fn without_alpn_http1_is_spoken() {
    let (site, ..) = Site::secure(&[]);
    let (mut conn, _) = Client::trusting_anything()
        .connect(site.narthex.https, HOST)
        .expect("a handshake");
    assert_eq!(conn.get(HOST, "/").status, 200);
}

#[test]
fn of_two_certificates_clients_get_ecdsa_if_they_can_and_rsa_else() {
    let authority = Authority::new();
    let (ecdsa, rsa) = (authority.ecdsa(&[HOST]), authority.rsa(&[HOST]));
    let ingress = Ingress::named("a")
        .tls(&[HOST], "rsa")
        .tls(&[HOST], "ecdsa");
    let world = world(
        &[
            secret("rsa", &rsa),
            secret("ecdsa", &ecdsa),
            ingress.host(HOST).prefix("/", "web").yaml(),
        ],
        &[],
    );
    world.shows(HOST, &ecdsa);
    let port = world.narthex.https;
    assert_eq!(Client::able_only("RSA").certificate(port, HOST), rsa.der);
    assert_eq!(
        Client::able_only("ECDSA").certificate(port, HOST),
        ecdsa.der
    );
}

#[test]
fn certificates_of_several_ingresses_for_one_host_are_all_known() {
    let authority = Authority::new();
    let (ecdsa, rsa) = (authority.ecdsa(&[HOST]), authority.rsa(&[HOST]));
    let world = world(
        &[
            secret("rsa", &rsa),
            secret("ecdsa", &ecdsa),
            Ingress::named("a")
                .tls(&[HOST], "rsa")
                .host(HOST)
                .prefix("/a", "web")
                .yaml(),
            Ingress::named("b")
                .tls(&[HOST], "ecdsa")
                .host(HOST)
                .prefix("/b", "web")
                .yaml(),
        ],
        &[],
    );
    assert_eq!(
        Client::able_only("RSA").certificate(world.narthex.https, HOST),
        rsa.der
    );
    world.shows(HOST, &ecdsa);
}

#[test]
fn sessions_are_resumed() {
    let (site, ..) = Site::secure(&["--workers=2"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Client::speaking(&[version]);
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let (mut conn, handshake) = client
                .connect(site.narthex.https, HOST)
                .expect("a handshake");
            // TLS 1.3 tickets come with the first bytes after the handshake.
            assert_eq!(conn.get(HOST, "/").status, 200);
            kinds.push(handshake.kind);
        }
        let resumed = kinds
            .iter()
            .filter(|kind| **kind == HandshakeKind::Resumed)
            .count();
        assert!(resumed >= 4, "on whichever worker: {version:?} {kinds:?}");
    }
}

#[test]
fn a_session_of_one_host_does_not_resume_another() {
    let (one, two) = (
        Certificate::of(&["one.example"]),
        Certificate::of(&["two.example"]),
    );
    let world = world(
        &[
            secret("one", &one),
            secret("two", &two),
            secure("one", "one.example", "one"),
            secure("two", "two.example", "two"),
        ],
        &[],
    );
    let client = Client::trusting_anything();
    for (host, certificate) in [
        ("one.example", &one),
        ("two.example", &two),
        ("one.example", &one),
    ] {
        let (mut conn, handshake) = client
            .connect(world.narthex.https, host)
            .expect("a handshake");
        assert_eq!(handshake.certificate, certificate.der);
        assert_eq!(conn.get(host, "/").backend(), "web");
    }
}

#[test]
fn changed_secret_is_served_on_the_next_handshake() {
    let (old, new) = (Certificate::of(&[HOST]), Certificate::of(&[HOST]));
    let world = world(&[secure("a", HOST, "a")], &[]);
    world.folder.write("secret.yaml", &secret("a", &old));
    world.until_shows(HOST, &old);
    let (mut open, _) = Client::trusting_anything()
        .connect(world.narthex.https, HOST)
        .expect("a handshake");
    assert_eq!(open.get(HOST, "/").backend(), "web");
    world.folder.rename_over("secret.yaml", &secret("a", &new));
    // A change comes to one worker after the other; from then on the old one is not seen again.
    let client = Client::trusting_anything();
    let shows_new = || client.certificate(world.narthex.https, HOST) == new.der;
    until("every worker shows it", || (0..24).all(|_| shows_new()));
    for _ in 0..20 {
        world.shows(HOST, &new);
    }
    assert_eq!(
        open.get(HOST, "/again").backend(),
        "web",
        "open connections go on"
    );
}

#[test]
fn a_missing_secret_is_reported_and_falls_back_to_the_default_certificate() {
    let world = world(&[secure("a", HOST, "missing")], &[]);
    let default = Client::trusting_anything().certificate(world.narthex.https, "other.example");
    assert_eq!(
        Client::trusting_anything().certificate(world.narthex.https, HOST),
        default
    );
    world.narthex.until_log("missing");
    let certificate = Certificate::of(&[HOST]);
    world
        .folder
        .write("late.yaml", &secret("missing", &certificate));
    world.until_shows(HOST, &certificate);
}

#[test]
fn broken_secrets_are_reported_and_fall_back_to_the_default_certificate() {
    let (good, other) = (Certificate::of(&[HOST]), Certificate::of(&[HOST]));
    for (what, broken) in [
        ("not PEM", raw_secret("a", "hello", &good.key_pem)),
        ("an empty certificate", raw_secret("a", "", &good.key_pem)),
        ("an empty key", raw_secret("a", &good.chain_pem, "")),
        (
            "the key of another",
            raw_secret("a", &good.chain_pem, &other.key_pem),
        ),
        (
            "damaged base64",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: kubernetes.io/tls\n\
             data: {tls.crt: '*', tls.key: '*'}\n"
                .to_owned(),
        ),
        (
            "no key at all",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: kubernetes.io/tls\n\
             data: {tls.crt: aGVsbG8=}\n"
                .to_owned(),
        ),
    ] {
        let world = world(&[broken, secure("a", HOST, "a")], &[]);
        let client = Client::trusting_anything();
        let default = client.certificate(world.narthex.https, "other.example");
        assert_eq!(
            client.certificate(world.narthex.https, HOST),
            default,
            "{what}"
        );
        let (mut conn, _) = client
            .connect(world.narthex.https, HOST)
            .expect("a handshake");
        assert_eq!(conn.get(HOST, "/").backend(), "web", "{what}");
        world.narthex.until_log("default/a");
        assert!(
            !world.narthex.log().contains("PRIVATE KEY"),
            "keys are never logged"
        );
    }
}

#[test]
fn a_secret_that_turns_bad_keeps_its_last_good_form() {
    let good = Certificate::of(&[HOST]);
    let world = world(&[secure("a", HOST, "a")], &[]);
    world.folder.write("secret.yaml", &secret("a", &good));
    world.until_shows(HOST, &good);
    world.folder.rename_over(
        "secret.yaml",
        "kind: Secret\napiVersion: v1\nmetadata: {name: a}\ndata: [1]\n",
    );
    world.narthex.until_log("secret.yaml");
    world.shows(HOST, &good);
}

#[test]
fn an_expired_certificate_is_served_and_reported() {
    let old = Certificate::expired(&[HOST]);
    let world = world(&[secret("a", &old), secure("a", HOST, "a")], &[]);
    world.shows(HOST, &old);
}

#[test]
fn http1_over_tls_may_name_another_host_than_sni_did() {
    let (one, two) = (
        Certificate::of(&["one.example"]),
        Certificate::of(&["two.example"]),
    );
    let world = world(
        &[
            secret("one", &one),
            secret("two", &two),
            secure("one", "one.example", "one"),
            secure("two", "two.example", "two"),
        ],
        &[],
    );
    let (mut conn, _) = Client::trusting_anything()
        .connect(world.narthex.https, "one.example")
        .expect("a handshake");
    let status = conn.get("two.example", "/").status;
    assert!(matches!(status, 200 | 421), "{status}");
}

#[test]
fn plain_http_on_the_tls_port_does_no_harm() {
    let (site, ..) = Site::secure(&[]);
    let mut conn = program_tests::Conn::plain(site.narthex.https);
    conn.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    // An alert, a 400 or a close; never the site.
    if let Ok(answer) = conn.try_response(false) {
        assert_eq!(answer.status, 400);
    }
    assert!(site.web.seen().is_empty());
}
