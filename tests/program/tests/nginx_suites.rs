//! `ssl-ciphers` and `ssl-prefer-server-ciphers`: what is negotiated with a host's clients.

use program_tests::nginx::ingress as nginx;
use program_tests::tls::Client;
use program_tests::{Backend, Certificate, Narthex, secret, serve, service};
use rustls::CipherSuite::{
    self, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 as AES128,
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 as AES256,
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as CHACHA, TLS13_AES_128_GCM_SHA256,
};
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};

/// The suite that a client gets that offers these, the preferred one first.
fn negotiated(narthex: &Narthex, host: &str, offered: &[CipherSuite]) -> Option<CipherSuite> {
    let mut provider = default_provider();
    let known = |wanted: &CipherSuite| {
        let mut all = ALL_CIPHER_SUITES.iter();
        *all.find(|suite| suite.suite() == *wanted)
            .expect("one of rustls's")
    };
    provider.cipher_suites = offered.iter().map(known).collect();
    let connected = Client::able(provider).connect(narthex.https, host);
    connected.ok().map(|(_, handshake)| handshake.suite)
}

#[test]
fn a_hosts_suites_are_its_own_and_no_other_hosts() {
    let web = Backend::named("web");
    let ingress = |name: &str, host: &str, said: &[(&str, &str)]| {
        let ingress = nginx(name, said).tls(&[host], name).host(host);
        [
            ingress.prefix("/", "web").yaml(),
            secret(name, &Certificate::of(&[host])),
        ]
    };
    let said = [("ssl-ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384:!aNULL")];
    let client = [
        ("ssl-ciphers", "ALL:!aNULL:!EXPORT56:RC4+RSA:+HIGH:+MEDIUM"),
        ("ssl-prefer-server-ciphers", "false"),
    ];
    let useless = [("ssl-ciphers", "RC4-SHA")];
    let documents = [
        ingress("one", "one.example", &said),
        ingress("two", "two.example", &[]),
        ingress("three", "three.example", &client),
        ingress("four", "four.example", &useless),
    ];
    let mut documents = documents.concat();
    documents.push(service("web", &[web.address()]));
    let (narthex, _folder) = serve(&documents);
    let all = [CHACHA, AES256, AES128];
    assert_eq!(negotiated(&narthex, "one.example", &all), Some(AES256));
    assert_eq!(negotiated(&narthex, "one.example", &[AES128]), None);
    for host in ["two.example", "four.example"] {
        assert_eq!(negotiated(&narthex, host, &all), Some(AES128), "{host}");
    }
    assert_eq!(negotiated(&narthex, "three.example", &all), Some(CHACHA));
    // Of TLS 1.3 such a list says nothing.
    let newer = [TLS13_AES_128_GCM_SHA256];
    assert_eq!(negotiated(&narthex, "one.example", &newer), Some(newer[0]));
}
