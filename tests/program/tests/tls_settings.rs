//! What the flags of TLS say of handshakes and answers.

use program_tests::certificate::Authority;
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Conn, HOST, Site, run, secret};
use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, CipherSuite, NamedGroup, ProtocolVersion};

fn tls12() -> Client {
    Client::speaking(&[&rustls::version::TLS12])
}

/// What a refused client was told.
#[track_caller]
fn refusal(client: &Client, port: u16, host: &str) -> AlertDescription {
    let error = client.connect(port, host).err().expect("refused");
    let told = error.get_ref().and_then(|it| it.downcast_ref());
    match told {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        other => panic!("{error}: {other:?}"),
    }
}

#[test]
fn the_oldest_version_is_what_the_flag_says() {
    let (site, ..) = Site::secure(&["--tls-min-version=1.3"]);
    let told = refusal(&tls12(), site.narthex.https, HOST);
    assert_eq!(told, AlertDescription::ProtocolVersion);
    let (_, shaken) = Client::trusting_anything()
        .connect(site.narthex.https, HOST)
        .expect("TLS 1.3");
    assert_eq!(shaken.version, ProtocolVersion::TLSv1_3);
}

#[test]
fn ciphers_are_those_that_were_named_in_their_order_and_of_1_3_all_where_none_was() {
    let flag = "--tls-ciphers=ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256";
    let (site, ..) = Site::secure(&[flag]);
    let port = site.narthex.https;
    let with = |names: &[CipherSuite]| {
        let mut provider = aws_lc_rs::default_provider();
        provider
            .cipher_suites
            .retain(|suite| names.contains(&suite.suite()));
        provider
            .cipher_suites
            .sort_by_key(|suite| names.iter().position(|name| *name == suite.suite()));
        Client::able(provider)
    };
    let strong = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let quick = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let unnamed = CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256;
    let (_, shaken) = with(&[quick, strong]).connect(port, HOST).expect("both");
    assert_eq!(shaken.suite, strong, "the server's order");
    let told = refusal(&with(&[unnamed]), port, HOST);
    assert_eq!(told, AlertDescription::HandshakeFailure);
    let newest = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let (_, shaken) = with(&[newest]).connect(port, HOST).expect("TLS 1.3");
    assert_eq!(shaken.suite, newest);
}

#[test]
fn post_quantum_key_exchange_is_on_and_curves_are_those_that_were_named() {
    let only = |group: NamedGroup| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups.retain(|known| known.name() == group);
        Client::able(provider)
    };
    let (site, ..) = Site::secure(&[]);
    for group in [
        NamedGroup::X25519MLKEM768,
        NamedGroup::X25519,
        NamedGroup::secp384r1,
    ] {
        only(group)
            .connect(site.narthex.https, HOST)
            .unwrap_or_else(|error| panic!("{group:?}: {error}"));
    }
    let (site, ..) = Site::secure(&["--tls-curves=X25519MLKEM768:prime256v1"]);
    let port = site.narthex.https;
    for group in [NamedGroup::X25519MLKEM768, NamedGroup::secp256r1] {
        assert!(only(group).connect(port, HOST).is_ok(), "{group:?}");
    }
    let told = refusal(&only(NamedGroup::X25519), port, HOST);
    assert_eq!(told, AlertDescription::HandshakeFailure);
}

#[test]
fn a_name_that_is_unknown_ends_the_start_with_those_that_are_known() {
    let ended = run(&["serve", "--tls-ciphers=RC4-MD5", "dir"]);
    assert_eq!(ended.code, Some(2), "{}", ended.said());
    let said = ended.said();
    assert!(said.contains("TLS_AES_256_GCM_SHA384"), "{said}");
}

#[test]
fn http2_is_not_offered_where_the_flag_says_so() {
    let (site, ..) = Site::secure(&["--tls-http2=false"]);
    let client = Client::trusting_anything().alpn(&["h2", "http/1.1"]);
    let (mut conn, shaken) = client.connect(site.narthex.https, HOST).expect("TLS");
    assert_eq!(shaken.alpn.as_deref(), Some("http/1.1"));
    assert_eq!(conn.get(HOST, "/").backend(), "web");
}

#[test]
fn with_strict_sni_names_without_a_certificate_are_refused() {
    let (site, certificate, _) = Site::secure(&["--tls-strict-sni"]);
    let port = site.narthex.https;
    let client = Client::trusting_anything();
    assert_eq!(client.certificate(port, HOST), certificate.der);
    let told = refusal(&client, port, "unknown.example");
    assert_eq!(told, AlertDescription::UnrecognisedName);
    let told = refusal(&client.without_sni(), port, HOST);
    assert_eq!(told, AlertDescription::UnrecognisedName);
}

#[test]
fn with_strict_sni_the_default_certificate_still_serves_its_own_names() {
    let (site, ..) = Site::secure(&[
        "--tls-strict-sni",
        "--default-ssl-certificate=default/catch",
    ]);
    let catch = Certificate::of(&["*.catch.example"]);
    site.folder.write("catch.yaml", &secret("catch", &catch));
    let port = site.narthex.https;
    let client = Client::trusting_anything();
    program_tests::until("the default certificate is served", || {
        let shaken = client.connect(port, "a.catch.example");
        shaken.is_ok_and(|(_, shaken)| shaken.certificate == catch.der)
    });
    let told = refusal(&client, port, "unknown.example");
    assert_eq!(told, AlertDescription::UnrecognisedName);
}

fn hsts(response: &program_tests::Response) -> Option<&str> {
    response.header("strict-transport-security")
}

#[test]
fn hsts_is_said_over_https_alone_and_by_default_not_at_all() {
    let (site, _, authority) = Site::secure(&["--hsts"]);
    let secure = |authority: &Authority, port| {
        let client = Client::trusting(&authority.der);
        client.connect(port, HOST).expect("trusted").0
    };
    let year = Some("max-age=31536000; includeSubDomains");
    let mut conn = secure(&authority, site.narthex.https);
    assert_eq!(hsts(&conn.get(HOST, "/")), year);
    assert_eq!(hsts(&conn.get("nobody.example", "/")), year, "our own");
    assert_eq!(hsts(&Conn::plain(site.narthex.http).get(HOST, "/")), None);

    let (site, _, authority) = Site::secure(&[]);
    let mut conn = secure(&authority, site.narthex.https);
    assert_eq!(hsts(&conn.get(HOST, "/")), None);
}

#[test]
fn hsts_says_what_its_flags_say_and_a_backend_that_says_it_is_not_contradicted() {
    let flags = [
        "--hsts",
        "--hsts-max-age=300",
        "--hsts-include-subdomains=false",
        "--hsts-preload",
        "--trusted-proxies=127.0.0.1",
    ];
    let site = Site::with_flags(&flags);
    let response = site.get_with("/", "X-Forwarded-Proto: https\r\n");
    assert_eq!(hsts(&response), Some("max-age=300; preload"));
    let own = Backend::answering(
        "web",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStrict-Transport-Security: max-age=1\r\n\r\n",
    );
    let site = Site::of(own, &flags);
    let response = site.get_with("/", "X-Forwarded-Proto: https\r\n");
    assert_eq!(hsts(&response), Some("max-age=1"));
}
