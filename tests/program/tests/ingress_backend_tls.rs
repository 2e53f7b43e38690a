//! What is spoken to backends by ingress-nginx's annotations `backend-protocol` and `proxy-ssl-…`.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use program_tests::certificate::Authority;
use program_tests::h2_backend::{Behaviour, asking_config, echo};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Folder, H2Backend, HOST, Ingress, Narthex, class, run, secret, service,
    until,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

const PREFIX: &str = "nginx.ingress.kubernetes.io";
const NAME: &str = "web.default.svc";

fn ingress(annotations: &[(&str, &str)]) -> String {
    let mut ingress = Ingress::named("web");
    for (name, value) in annotations {
        ingress = ingress.annotation(&format!("{PREFIX}/{name}"), value);
    }
    ingress.host(HOST).prefix("/", "web").yaml()
}

fn serve(backend: &H2Backend, annotations: &[(&str, &str)]) -> (Narthex, Folder) {
    let folder = Folder::of(&[class(), service("web", &[backend.address()])]);
    folder.write("ingress.yaml", &ingress(annotations));
    (Narthex::on(&folder).arg("--workers=1").start(), folder)
}

/// The Secret `upstream` with an authority, and what we show.
fn upstream(authority: Option<&Authority>, client: Option<&Certificate>) -> String {
    let mut text = "apiVersion: v1\nkind: Secret\nmetadata: {name: upstream}\ndata:\n".to_owned();
    let mut add = |key: &str, value: &str| {
        text += &format!("  {key}: {}\n", BASE64_STANDARD.encode(value));
    };
    if let Some(authority) = authority {
        add("ca.crt", &authority.pem);
    }
    if let Some(client) = client {
        add("tls.crt", &client.chain_pem);
        add("tls.key", &client.key_pem);
    }
    text
}

/// The Secret `upstream` with these authorities.
fn authorities(pem: &str) -> String {
    let pem = BASE64_STANDARD.encode(pem);
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: upstream}}\ndata:\n  ca.crt: {pem}\n")
}

#[test]
fn https_is_spoken_without_a_name_and_unverified_as_ingress_nginx_does() {
    let backend = H2Backend::secure(&Certificate::expired(&["nobody"]), &["http/1.1"]);
    let (narthex, _folder) = serve(&backend, &[("backend-protocol", "HTTPS")]);
    assert_eq!(narthex.get(HOST, "/").status, 200);
    assert_eq!(backend.server_names(), [""], "no name was told");
}

#[test]
fn grpc_is_http2_with_tls_and_without() {
    let secure = H2Backend::secure(&Certificate::of(&[NAME]), &["h2"]);
    let (narthex, _folder) = serve(&secure, &[("backend-protocol", "GRPCS")]);
    assert_eq!(narthex.get(HOST, "/").echo().version, "HTTP/2");
    let plain = H2Backend::echo();
    let (narthex, _folder) = serve(&plain, &[("backend-protocol", "grpc")]);
    assert_eq!(narthex.get(HOST, "/").echo().version, "HTTP/2");
}

#[test]
fn what_is_verified_is_the_authority_of_the_secret_and_the_name() {
    let authority = Authority::new();
    let backend = H2Backend::secure(&authority.ecdsa(&[NAME]), &["http/1.1"]);
    let base = [
        ("backend-protocol", "HTTPS"),
        ("proxy-ssl-secret", "default/upstream"),
        ("proxy-ssl-verify", "on"),
        ("proxy-ssl-server-name", "on"),
    ];
    let (narthex, folder) = serve(&backend, &base);
    // Nobody is asked before the Secret is there.
    assert_eq!(narthex.get(HOST, "/early").status, 503);
    folder.write("secret.yaml", &upstream(Some(&authority), None));
    until("the backend is believed", || {
        narthex.get(HOST, "/").status == 200
    });
    assert!(backend.server_names().iter().all(|name| name == NAME));
    let named = [&base[..], &[("proxy-ssl-name", "other.example")]].concat();
    folder.write("ingress.yaml", &ingress(&named));
    until("it is not the other", || {
        narthex.get(HOST, "/name").status == 502
    });
    folder.write("ingress.yaml", &ingress(&base));
    until("it is itself", || narthex.get(HOST, "/").status == 200);
    folder.write("secret.yaml", &upstream(Some(&Authority::new()), None));
    until("another authority's is not believed", || {
        narthex.get(HOST, "/issuer").status == 502
    });
}

#[test]
fn a_backend_that_asks_who_we_are_is_shown_the_certificate_of_the_secret() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let certificate = authority.ecdsa(&[NAME]);
    let config = asking_config(
        &certificate,
        &["http/1.1"],
        verifier.build().expect("a verifier"),
    );
    let behaviour = Behaviour {
        tls: Some(config),
        ..Behaviour::default()
    };
    let backend = H2Backend::with(behaviour, |asked| echo("web", asked));
    let (narthex, folder) = serve(&backend, &[("backend-protocol", "HTTPS")]);
    assert_eq!(narthex.get(HOST, "/").status, 502);
    let ours = authority.client("narthex", "Team");
    folder.write("secret.yaml", &upstream(Some(&authority), Some(&ours)));
    folder.write(
        "ingress.yaml",
        &ingress(&[
            ("backend-protocol", "HTTPS"),
            ("proxy-ssl-secret", "upstream"),
            ("proxy-ssl-verify", "on"),
        ]),
    );
    until("we are let in", || narthex.get(HOST, "/").status == 200);
}

#[test]
fn what_is_wrong_is_named_and_nobody_is_believed_by_mistake() {
    let backend = H2Backend::secure(&Certificate::of(&[NAME]), &["http/1.1"]);
    for (annotations, named, status) in [
        (
            &[
                ("backend-protocol", "HTTPS"),
                ("proxy-ssl-secret", "other/upstream"),
            ][..],
            "is no Secret of namespace default",
            503,
        ),
        (
            &[("proxy-ssl-secret", "default/nobodys")],
            "its paths answer 503",
            503,
        ),
        (
            &[("backend-protocol", "HTTPS"), ("proxy-ssl-verify", "yes")],
            "proxy-ssl-verify",
            200,
        ),
        (
            &[("backend-protocol", "HTTPS"), ("proxy-ssl-verify", "true")],
            "proxy-ssl-verify",
            200,
        ),
        (&[("proxy-ssl-verify", "on")], "have no effect", 0),
        (
            &[("backend-protocol", "smoke-signals")],
            "HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS or FCGI",
            0,
        ),
    ] {
        let (narthex, folder) = serve(&backend, annotations);
        if status > 0 {
            assert_eq!(narthex.get(HOST, "/").status, status, "{annotations:?}");
        }
        let said = run(&["check", &folder.path().to_string_lossy()]).said();
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn what_openssl_takes_is_believed() {
    let authority = Authority::new();
    let common = authority.client(NAME, "Team");
    let itself = Certificate::authority_of(&[NAME]);
    for (shown, known, right, wrong) in [
        (&common, &authority.pem, NAME, "other.example"),
        (
            &authority.first_version(NAME),
            &authority.pem,
            NAME,
            "b.example",
        ),
        (&itself, &itself.chain_pem, NAME, "other.example"),
        (&itself, &authority.pem, "", NAME),
    ] {
        let backend = H2Backend::secure(shown, &["http/1.1"]);
        for (name, status) in [(right, 200), (wrong, 502)] {
            if name.is_empty() {
                continue;
            }
            let (narthex, folder) = serve(
                &backend,
                &[
                    ("backend-protocol", "HTTPS"),
                    ("proxy-ssl-secret", "default/upstream"),
                    ("proxy-ssl-verify", "on"),
                    ("proxy-ssl-name", name),
                ],
            );
            assert_eq!(narthex.get(HOST, "/early").status, 503);
            folder.write("secret.yaml", &authorities(known));
            until("the Secret is there", || {
                narthex.get(HOST, "/").status != 503
            });
            assert_eq!(narthex.get(HOST, "/").status, status, "{name}");
        }
    }
}

/// A backend that speaks these versions of TLS, with this one suite of TLS 1.2.
fn choosy(versions: &[&'static SupportedProtocolVersion], suite: &str) -> H2Backend {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider
        .cipher_suites
        .retain(|known| known.tls13().is_some() || format!("{:?}", known.suite()).contains(suite));
    let certificate = Certificate::of(&[NAME]);
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain.map(|der| der.expect("PEM")).collect(), key)
        .expect("a certificate");
    let behaviour = Behaviour {
        tls: Some(Arc::new(config)),
        ..Behaviour::default()
    };
    H2Backend::with(behaviour, |asked| echo("web", asked))
}

#[test]
fn versions_and_suites_are_those_that_are_said() {
    let only_12 = choosy(&[&TLS12], "AES_128_GCM");
    let only_13 = choosy(&[&TLS13], "AES_128_GCM");
    for (said, of_12, of_13) in [
        (None, 200, 200),
        (Some(("proxy-ssl-protocols", "TLSv1.2")), 200, 502),
        (Some(("proxy-ssl-protocols", "TLSv1.3")), 502, 200),
        (Some(("proxy-ssl-protocols", "TLSv1.3 TLSv1.2")), 200, 200),
        (Some(("proxy-ssl-protocols", "SSLv3")), 200, 200),
        (
            Some(("proxy-ssl-ciphers", "HIGH:!AES256:!CHACHA20")),
            200,
            200,
        ),
        (Some(("proxy-ssl-ciphers", "HIGH:!AES128")), 502, 200),
        (
            Some(("proxy-ssl-ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256")),
            200,
            200,
        ),
        (Some(("proxy-ssl-ciphers", "DEFAULT")), 200, 200),
        (Some(("proxy-ssl-ciphers", "RC4-SHA")), 200, 200),
        (Some(("proxy-ssl-verify-depth", "2")), 200, 200),
    ] {
        for (backend, expected) in [(&only_12, of_12), (&only_13, of_13)] {
            let mut all = vec![("backend-protocol", "HTTPS")];
            all.extend(said);
            let (narthex, _folder) = serve(backend, &all);
            assert_eq!(narthex.get(HOST, "/").status, expected, "{said:?}");
        }
    }
}

#[test]
fn backends_speak_as_the_client_does_where_that_is_asked_for() {
    let plain = Backend::named("plain");
    let secure = H2Backend::secure(&Certificate::of(&[NAME]), &["http/1.1"]);
    for (backend, https) in [(plain.address(), false), (secure.address(), true)] {
        let ingress = Ingress::named("web")
            .class("nginx")
            .annotation(&format!("{PREFIX}/backend-protocol"), "AUTO_HTTP")
            .annotation(&format!("{PREFIX}/ssl-redirect"), "false")
            .tls(&[HOST], "a-tls")
            .host(HOST)
            .prefix("/", "web");
        let (narthex, _folder) = program_tests::serve(&[
            service("web", &[backend]),
            secret("a-tls", &Certificate::of(&[HOST])),
            ingress.yaml(),
        ]);
        let (mut conn, _) = Client::trusting_anything()
            .connect(narthex.https, HOST)
            .expect("TLS");
        let (with, without) = (conn.get(HOST, "/").status, narthex.get(HOST, "/").status);
        let (right, wrong) = if https {
            (with, without)
        } else {
            (without, with)
        };
        assert!(right == 200 && wrong > 400, "{with} {without}");
    }
}
