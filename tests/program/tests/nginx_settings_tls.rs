//! Keys of ingress-nginx's ConfigMap about TLS and about ports that are passed on, picked up while
//! serving: a connection has what held when it began.

use std::io::Write;
use std::sync::Arc;

use program_tests::certificate::Authority;
use program_tests::folder::config_map;
use program_tests::nginx::{CONFIGURED, CONTROLLER, configure, configured};
use program_tests::ocsp::{Answering, Manner, stapled};
use program_tests::tcp::{TcpBackend, connect, exchange, is_over};
use program_tests::tls::Client;
use program_tests::{
    Backend, Certificate, Folder, Ingress, Narthex, ports, secret, service, services, until,
};
use rustls::crypto::aws_lc_rs;
use rustls::{CipherSuite, NamedGroup};

const HOST: &str = "a.example";
const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

struct World {
    _web: Backend,
    folder: Folder,
    narthex: Narthex,
}

/// A host with TLS, and one without.
fn world(certificate: &Certificate, lines: &[(&str, &str)], flags: &[&str]) -> World {
    let web = Backend::named("web");
    let of = |name: &str, host: &str| {
        let ingress = Ingress::named(name).class("nginx").host(host);
        ingress.prefix("/", "web")
    };
    let mut documents = services(&[("web", &web)]);
    documents.push(of("web", HOST).tls(&[HOST], "tls").yaml());
    documents.push(of("plain", "plain.example").yaml());
    documents.push(secret("tls", certificate));
    let (narthex, folder) = configured(&documents, lines, flags);
    World {
        _web: web,
        folder,
        narthex,
    }
}

impl World {
    fn set(&self, lines: &[(&str, &str)]) {
        configure(&self.folder, lines);
    }

    fn takes(&self, client: &Client, host: &str) -> bool {
        client.connect(self.narthex.https, host).is_ok()
    }
}

fn with_suites(names: &[CipherSuite]) -> Client {
    let mut provider = aws_lc_rs::default_provider();
    let named = |suite: &rustls::SupportedCipherSuite| names.contains(&suite.suite());
    provider.cipher_suites.retain(named);
    Client::able(provider)
}

#[test]
fn versions_are_those_of_the_config_map_while_it_has_the_key() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&certificate, &[("ssl-protocols", "TLSv1.3")], &[]);
    let old = Client::speaking(&[&rustls::version::TLS12]);
    let new = Client::speaking(&[&rustls::version::TLS13]);
    assert!(!world.takes(&old, HOST) && world.takes(&new, HOST));
    let (mut before, _) = new.connect(world.narthex.https, HOST).expect("TLS 1.3");
    world.set(&[("ssl-protocols", "TLSv1 TLSv1.1 TLSv1.2")]);
    until("only the older one", || {
        world.takes(&old, HOST) && !world.takes(&new, HOST)
    });
    // Who was there stays.
    assert_eq!(before.get(HOST, "/").status, 200);
    world.set(&[("ssl-protocols", "SSLv3")]);
    until("the default, both", || {
        world.takes(&old, HOST) && world.takes(&new, HOST)
    });
    world.narthex.until_log("data[ssl-protocols]");
}

#[test]
fn suites_and_curves_are_those_of_the_config_map() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&certificate, &[], &[]);
    let strong = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    let quick = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    assert!(world.takes(&with_suites(&[quick]), HOST));
    world.set(&[("ssl-ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384:DES-CBC3-SHA")]);
    until("one is left", || !world.takes(&with_suites(&[quick]), HOST));
    assert!(world.takes(&with_suites(&[strong]), HOST));
    // The list says nothing of TLS 1.3.
    assert!(world.takes(&with_suites(&[CipherSuite::TLS13_AES_128_GCM_SHA256]), HOST));
    let only = |group: NamedGroup| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups.retain(|known| known.name() == group);
        Client::able(provider)
    };
    world.set(&[("ssl-ecdh-curve", "prime256v1:secp521r1")]);
    until("one is left", || {
        !world.takes(&only(NamedGroup::X25519), HOST)
    });
    assert!(world.takes(&only(NamedGroup::secp256r1), HOST));
    world.set(&[("ssl-ecdh-curve", "auto")]);
    until("all are back", || {
        world.takes(&only(NamedGroup::X25519), HOST)
    });
    assert!(world.takes(&with_suites(&[quick]), HOST));
}

#[test]
fn http2_is_offered_unless_the_config_map_says_otherwise() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&certificate, &[("use-http2", "false")], &[]);
    let agreed = || {
        let client = Client::trusting_anything().alpn(&["h2", "http/1.1"]);
        let (_, shaken) = client.connect(world.narthex.https, HOST).expect("TLS");
        shaken.alpn
    };
    assert_eq!(agreed().as_deref(), Some("http/1.1"));
    world.set(&[]);
    until("it is offered", || agreed().as_deref() == Some("h2"));
}

#[test]
fn handshakes_of_hosts_that_nobody_has_are_refused_where_that_is_asked_for() {
    let certificate = Certificate::of(&[HOST]);
    let world = world(&certificate, &[], &[]);
    let client = Client::trusting_anything;
    assert!(world.takes(&client(), "nobody.example"));
    world.set(&[("ssl-reject-handshake", "true")]);
    until("it is refused", || {
        !world.takes(&client(), "nobody.example")
    });
    assert!(!world.takes(&client().without_sni(), HOST));
    assert!(world.takes(&client(), HOST));
    // A host is one without a certificate of its own, too.
    assert!(world.takes(&client(), "plain.example"));
    world.set(&[]);
    until("it is taken", || world.takes(&client(), "nobody.example"));
}

#[test]
fn answers_of_authorities_are_stapled_while_the_config_map_says_so() {
    let authority = Arc::new(Authority::new());
    let responder = Answering::start(Arc::clone(&authority), Manner::Good(HOUR));
    let certificate = authority.asked_about_at(&[HOST], &responder.url);
    let world = world(&certificate, &[], &["--ocsp-allow-local"]);
    let shown = || stapled(world.narthex.https, HOST, "-tls1_3");
    assert_eq!(shown(), None);
    assert_eq!(responder.asked(), 0);
    world.set(&[("enable-ocsp", "true")]);
    until("it is stapled", || shown().as_deref() == Some("good"));
    world.set(&[("enable-ocsp", "false")]);
    until("it is not", || shown().is_none());
    world.set(&[("enable-ocsp", "true")]);
    until("it is again", || shown().as_deref() == Some("good"));
}

#[test]
fn connections_that_are_passed_on_end_when_they_are_silent_for_too_long() {
    let backend = TcpBackend::named("tcp");
    let port = ports::free();
    let lines = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: tcp}}\ndata: {{\"{port}\": \"default/tcp:80\"}}\n"
    );
    let folder = Folder::of(&[service("tcp", &[backend.address()]), lines]);
    folder.write("config.yaml", &config_map(CONTROLLER, &[]));
    let flags = [CONFIGURED, "--tcp-services-configmap=ingress-nginx/tcp"];
    let _narthex = Narthex::on(&folder).args(&flags).start();
    let mut patient = connect(port);
    exchange(&mut patient, b"hello");
    folder.rename_over(
        "config.yaml",
        &config_map(CONTROLLER, &[("proxy-stream-timeout", "300ms")]),
    );
    until("a silent one ends", || {
        let mut client = connect(port);
        client.write_all(b"hello").expect("taken");
        client
            .set_read_timeout(Some(std::time::Duration::from_secs(3)))
            .expect("a limit");
        is_over(&mut client)
    });
    exchange(&mut patient, b"who came before has the time of then");
}

#[test]
fn as_many_endpoints_are_tried_for_a_connection_as_the_config_map_says() {
    let backend = TcpBackend::named("tcp");
    let port = ports::free();
    let lines = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: tcp}}\ndata: {{\"{port}\": \"default/tcp:80\"}}\n"
    );
    // Nobody listens on the others.
    let gone: Vec<_> = (0..3)
        .map(|_| std::net::SocketAddr::from(([127, 0, 0, 1], ports::free())))
        .collect();
    let all = [&gone[..], &[backend.address()]].concat();
    let folder = Folder::of(&[service("tcp", &all), lines]);
    let keys = [("proxy-stream-next-upstream", "false")];
    folder.write("config.yaml", &config_map(CONTROLLER, &keys));
    let flags = [
        CONFIGURED,
        "--tcp-services-configmap=ingress-nginx/tcp",
        "--access-log-format=json",
    ];
    let narthex = Narthex::on(&folder).args(&flags).start();
    // Reset, or at its end at once.
    let served = || {
        let mut client = connect(port);
        let mut byte = [0];
        let sent = client.write_all(b"x").is_ok();
        sent && matches!(std::io::Read::read(&mut client, &mut byte), Ok(1))
    };
    for _ in 0..8 {
        served();
    }
    let tried = || -> Vec<u64> {
        let lines = narthex.access_log();
        let attempts = lines.iter().filter_map(|line| line["attempts"].as_u64());
        attempts.collect()
    };
    until("they are logged", || tried().len() >= 8);
    assert!(tried().iter().all(|tries| *tries <= 1), "{:?}", tried());
    folder.rename_over(
        "config.yaml",
        &config_map(CONTROLLER, &[("proxy-stream-next-upstream-tries", "0")]),
    );
    until("all are tried", || {
        served() && served() && served() && served()
    });
}
