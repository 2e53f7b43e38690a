use std::io::Write as _;
use std::time::Duration;

use model::{Certificate, HostTable};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, ClientConfig, DigitallySignedStruct, HandshakeKind, NamedGroup,
    SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::opening::TOO_LARGE;
use super::*;

#[derive(Clone, Copy)]
enum Kind {
    Ecdsa,
    Rsa,
}

fn certificate(kind: Kind) -> Arc<Certificate> {
    let algorithm = match kind {
        Kind::Ecdsa => &PKCS_ECDSA_P256_SHA256,
        Kind::Rsa => &PKCS_RSA_SHA256,
    };
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new(vec!["example.com".to_owned()]).unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private).unwrap();
    Arc::new(Certificate {
        key: Arc::new(CertifiedKey::new(vec![der], signer)),
        source: "test".into(),
        not_after: 0,
        staple: model::Staple::default(),
    })
}

fn set(kinds: &[Kind]) -> Arc<CertificateSet> {
    Arc::new(CertificateSet {
        certificates: kinds.iter().map(|&kind| certificate(kind)).collect(),
        used: None,
        suites: None,
    })
}

fn table<const N: usize>(hosts: [(&str, &Arc<CertificateSet>); N]) -> CertificateTable {
    let mut table = HostTable::default();
    for (host, set) in hosts {
        table.insert(host, Arc::clone(set));
    }
    CertificateTable {
        hosts: table,
        default: set(&[Kind::Ecdsa]),
    }
}

const MOST_HELLO: usize = 16 * 1024;

fn acceptor() -> Acceptor {
    Acceptor::new(Context::new(&TlsSettings::default()).unwrap(), MOST_HELLO)
}

fn shown(set: &CertificateSet, index: usize) -> Vec<u8> {
    set.certificates[index].key.cert[0].to_vec()
}

/// Believes every certificate, and understands only some signatures.
#[derive(Debug)]
struct Trusting(Vec<SignatureScheme>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// HTTP, and no certificates of clients.
const PLAIN: Terms<'_> = Terms {
    clients: None,
    asked: None,
    http: true,
};

const ECDSA: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;
const RSA: SignatureScheme = SignatureScheme::RSA_PSS_SHA256;
const BOTH: &[SignatureScheme] = &[ECDSA, RSA];
const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

fn client(
    version: &'static SupportedProtocolVersion,
    schemes: &[SignatureScheme],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    // As browsers do.
    provider
        .kx_groups
        .sort_by_key(|group| group.name() != NamedGroup::X25519MLKEM768);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(schemes.to_owned())))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// What a client saw.
struct Seen {
    certificate: Vec<u8>,
    resumed: bool,
    alpn: Option<Vec<u8>>,
}

async fn connect(config: Arc<ClientConfig>, name: &str, tcp: TcpStream) -> io::Result<Seen> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = TlsConnector::from(config).connect(name, tcp).await?;
    // With this byte the tickets have come, too.
    stream.read_u8().await?;
    let session = stream.get_ref().1;
    Ok(Seen {
        certificate: session.peer_certificates().unwrap()[0].to_vec(),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
    })
}

/// One listener for all names, as Ingress has it.
fn https(table: &CertificateTable, clients: Option<&Arc<ClientAuth>>) -> Arc<TlsSite> {
    let nobody = Arc::new(model::Rule {
        route: "".into(),
        field: "".into(),
        path: model::PathMatch::Prefix("".into()),
        conditions: None,
        filters: [].into(),
        action: model::Action::NotFound,
        timeouts: Arc::new(model::Timeouts {
            connect: Duration::ZERO,
            send: Duration::ZERO,
            read: Duration::ZERO,
            total: Duration::ZERO,
            attempt: Duration::ZERO,
        }),
        max_body: 0,
        retry: None,
        affinity: None,
        extras: None,
    });
    Arc::new(TlsSite::Https(model::HttpsSite {
        site: Arc::new(model::Site {
            name: "".into(),
            hosts: Arc::default(),
            default: Arc::new(model::VirtualHost::new("".into(), vec![], None, 0)),
            nobody,
            asks_clients: false,
        }),
        certificates: Arc::new(CertificateTable {
            hosts: table.hosts.clone(),
            default: Arc::clone(&table.default),
        }),
        clients: clients.cloned(),
    }))
}

fn sites(table: &CertificateTable) -> TlsSites {
    TlsSites {
        ingress: Some(https(table, None)),
        ..TlsSites::default()
    }
}

async fn accept(
    acceptor: &Acceptor,
    tcp: TcpStream,
    sites: &TlsSites,
) -> Result<Accepted, HandshakeError> {
    match acceptor.accept(tcp, sites, None, &|| None).await? {
        Secured::Https(accepted) => Ok(accepted),
        other => panic!("{other:?}"),
    }
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn try_handshake(
    acceptor: &Acceptor,
    table: &CertificateTable,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Accepted, HandshakeError>, io::Result<Seen>) {
    try_sites(acceptor, &sites(table), config, name).await
}

async fn try_sites(
    acceptor: &Acceptor,
    sites: &TlsSites,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Result<Accepted, HandshakeError>, io::Result<Seen>) {
    let (client, server) = tcp_pair().await;
    let server = async {
        let mut accepted = accept(acceptor, server, sites).await?;
        accepted.stream.write_u8(1).await?;
        accepted.stream.flush().await?;
        Ok(accepted)
    };
    tokio::join!(server, connect(Arc::clone(config), name, client))
}

async fn handshake(
    acceptor: &Acceptor,
    table: &CertificateTable,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (Accepted, Seen) {
    let (accepted, seen) = try_handshake(acceptor, table, config, name).await;
    (accepted.unwrap(), seen.unwrap())
}

#[tokio::test]
async fn the_server_name_selects_the_certificate() {
    let (exact, wildcard) = (set(&[Kind::Ecdsa]), set(&[Kind::Ecdsa]));
    let table = table([("a.example.com", &exact), ("*.example.com", &wildcard)]);
    let acceptor = acceptor();
    for version in [TLS12, TLS13] {
        let client = client(version, BOTH, &[]);
        for (name, expected) in [
            ("a.example.com", &exact),
            ("b.example.com", &wildcard),
            ("c.b.example.com", &table.default),
            ("example.org", &table.default),
            ("127.0.0.1", &table.default),
        ] {
            let (accepted, seen) = handshake(&acceptor, &table, &client, name).await;
            assert_eq!(seen.certificate, shown(expected, 0), "{name}");
            assert!(Arc::ptr_eq(&accepted.tls.certificates, expected), "{name}");
        }
    }
}

#[tokio::test]
async fn a_client_gets_the_kind_of_certificate_that_it_can_use() {
    let dual = set(&[Kind::Ecdsa, Kind::Rsa]);
    let table = table([("example.com", &dual)]);
    let acceptor = acceptor();
    for version in [TLS12, TLS13] {
        for (schemes, index) in [(BOTH, 0), (&[ECDSA], 0), (&[RSA], 1)] {
            let client = client(version, schemes, &[]);
            let (_, seen) = handshake(&acceptor, &table, &client, "example.com").await;
            assert_eq!(seen.certificate, shown(&dual, index), "{schemes:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_can_use_none_is_told_so() {
    let table = table([("example.com", &set(&[Kind::Ecdsa]))]);
    for version in [TLS12, TLS13] {
        let client = client(version, &[RSA], &[]);
        let (accepted, seen) = try_handshake(&acceptor(), &table, &client, "example.com").await;
        assert!(matches!(accepted, Err(HandshakeError::Failed(_))));
        assert_eq!(alert(seen), AlertDescription::HandshakeFailure);
    }
}

fn alert(seen: io::Result<Seen>) -> AlertDescription {
    let error = seen.err().unwrap().into_inner().unwrap();
    match error.downcast_ref::<rustls::Error>().unwrap() {
        rustls::Error::AlertReceived(alert) => *alert,
        error => panic!("{error}"),
    }
}

#[tokio::test]
async fn http_2_is_preferred_if_the_client_knows_it() {
    let table = table([]);
    let acceptor = acceptor();
    for (alpn, expected) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let client = client(TLS13, BOTH, alpn);
        let (accepted, seen) = handshake(&acceptor, &table, &client, "example.com").await;
        assert_eq!(seen.alpn.as_deref(), expected.map(str::as_bytes));
        assert_eq!(accepted.alpn_h2, expected == Some("h2"));
    }
    let client = client(TLS13, BOTH, &["smtp"]);
    let (_, seen) = try_handshake(&acceptor, &table, &client, "example.com").await;
    assert_eq!(alert(seen), AlertDescription::NoApplicationProtocol);
}

#[tokio::test]
async fn the_key_exchange_is_post_quantum_where_the_client_can() {
    let (accepted, _) = handshake(
        &acceptor(),
        &table([]),
        &client(TLS13, BOTH, &[]),
        "example.com",
    )
    .await;
    let group = accepted.stream.get_ref().1.negotiated_key_exchange_group();
    assert_eq!(group.unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!(accepted.tls.version, "TLSv1.3");
}

#[tokio::test]
async fn a_session_is_resumed_on_any_worker() {
    let table = table([("example.com", &set(&[Kind::Ecdsa]))]);
    let context = Context::new(&TlsSettings::default()).unwrap();
    let workers = [0, 1].map(|_| Acceptor::new(Arc::clone(&context), MOST_HELLO));
    for (version, name) in [(TLS12, "TLSv1.2"), (TLS13, "TLSv1.3")] {
        let client = client(version, BOTH, &["h2"]);
        for (turn, worker) in [0, 1, 0, 1].into_iter().enumerate() {
            let worker = &workers[worker];
            let (accepted, seen) = handshake(worker, &table, &client, "example.com").await;
            assert_eq!(seen.resumed, turn > 0, "{name}");
            assert_eq!(accepted.tls.version, name);
            assert!(accepted.alpn_h2);
        }
    }
}

#[tokio::test]
async fn a_changed_certificate_is_shown_on_the_next_handshake() {
    let (old, new) = (set(&[Kind::Ecdsa]), set(&[Kind::Ecdsa]));
    let before = table([("example.com", &old)]);
    let after = table([("example.com", &new)]);
    let acceptor = acceptor();
    for version in [TLS12, TLS13] {
        let client = client(version, BOTH, &[]);
        handshake(&acceptor, &before, &client, "example.com").await;
        let (_, seen) = handshake(&acceptor, &before, &client, "example.com").await;
        assert!(seen.resumed);
        let (accepted, seen) = handshake(&acceptor, &after, &client, "example.com").await;
        assert!(!seen.resumed, "a ticket is good for its own certificates");
        assert_eq!(seen.certificate, shown(&new, 0));
        assert!(Arc::ptr_eq(&accepted.tls.certificates, &new));
        let (_, seen) = handshake(&acceptor, &after, &client, "example.com").await;
        assert!(seen.resumed);
    }
}

#[tokio::test]
async fn the_same_certificates_in_a_new_snapshot_resume() {
    let certificate = certificate(Kind::Ecdsa);
    let again = || {
        Arc::new(CertificateSet {
            certificates: [Arc::clone(&certificate)].into(),
            used: None,
            suites: None,
        })
    };
    let acceptor = acceptor();
    let client = client(TLS13, BOTH, &[]);
    for turn in 0..3 {
        let table = table([("example.com", &again())]);
        let (_, seen) = handshake(&acceptor, &table, &client, "example.com").await;
        assert_eq!(seen.resumed, turn > 0);
    }
}

#[tokio::test]
async fn configurations_of_sets_that_are_gone_are_not_kept_for_ever() {
    let certificate = certificate(Kind::Ecdsa);
    let acceptor = acceptor();
    let kept: Vec<_> = (0..3 * MAX_CONFIGS)
        .map(|index| {
            let set = Arc::new(CertificateSet {
                certificates: [Arc::clone(&certificate)].into(),
                used: None,
                suites: None,
            });
            let config = acceptor.config(&set, &PLAIN).0;
            assert!(Arc::ptr_eq(&config, &acceptor.config(&set, &PLAIN).0));
            assert!(acceptor.configs.borrow().len() <= MAX_CONFIGS);
            (index % 2 == 0).then_some(set)
        })
        .collect();
    assert_eq!(kept.iter().flatten().count(), 3 * MAX_CONFIGS / 2);
}

#[tokio::test]
async fn http_without_tls_is_answered_400() {
    let (mut client, server) = tcp_pair().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let (acceptor, sites) = (acceptor(), sites(&table([])));
    let (accepted, read) = tokio::join!(
        accept(&acceptor, server, &sites),
        client.read_to_string(&mut answer)
    );
    assert!(matches!(accepted, Err(HandshakeError::PlainHttp)));
    read.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "this port speaks HTTPS\n");
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
}

#[tokio::test]
async fn bytes_that_are_no_tls_get_an_alert() {
    let (mut client, server) = tcp_pair().await;
    client.write_all(&[0x16; 64]).await.unwrap();
    let mut answer = Vec::new();
    let (acceptor, sites) = (acceptor(), sites(&table([])));
    let (accepted, read) = tokio::join!(
        accept(&acceptor, server, &sites),
        client.read_to_end(&mut answer)
    );
    assert!(matches!(accepted, Err(HandshakeError::Failed(_))));
    read.unwrap();
    assert_eq!(answer[0], 21, "a record of type alert");
}

#[tokio::test]
async fn a_client_hello_without_end_is_refused() {
    let (mut client, server) = tcp_pair().await;
    // A handshake message of 60,000 bytes in records of 1,000.
    let mut record = vec![22, 3, 1, 3, 232, 1, 0, 234, 96];
    record.resize(5 + 1000, 0);
    client.write_all(&record).await.unwrap();
    record[5..9].fill(0);
    for _ in 0..30 {
        client.write_all(&record).await.unwrap();
    }
    let mut answer = Vec::new();
    let (acceptor, sites) = (acceptor(), sites(&table([])));
    let (accepted, read) = tokio::join!(
        accept(&acceptor, server, &sites),
        client.read_to_end(&mut answer)
    );
    assert!(matches!(accepted, Err(HandshakeError::HelloTooLarge)));
    read.unwrap();
    assert_eq!(answer, TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_no_failure() {
    let (client, server) = tcp_pair().await;
    drop(client);
    let accepted = accept(&acceptor(), server, &sites(&table([]))).await;
    assert!(matches!(accepted, Err(HandshakeError::NothingSent)));
}

#[test]
fn server_names_are_read_in_lower_case_without_trailing_dot() {
    for (sent, read) in [
        ("www.example.comx", Some("www.example.comx")),
        ("WWW.Example.comX", Some("www.example.comx")),
        ("www.example.com.", Some("www.example.com")),
        ("192.000.002.0001", None),
    ] {
        let config = client(TLS13, BOTH, &[]);
        let name = ServerName::try_from("www.example.comx").unwrap();
        let mut hello = Vec::new();
        rustls::ClientConnection::new(config, name)
            .unwrap()
            .write_tls(&mut hello)
            .unwrap();
        let at = hello
            .windows(sent.len())
            .position(|bytes| bytes == b"www.example.comx")
            .unwrap();
        (&mut hello[at..]).write_all(sent.as_bytes()).unwrap();
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &hello[..]).unwrap();
        match acceptor.accept() {
            Ok(accepted) => {
                let name = server_name(&accepted.unwrap().client_hello());
                assert_eq!(name.as_deref(), read);
            }
            Err(_) => assert_eq!(read, None, "rustls refuses what is no name"),
        }
    }
}

/// A client that shows a certificate, if it is given one.
fn client_with(shown: Option<&(CertificateDer<'static>, KeyPair)>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(BOTH.to_owned())));
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((der, key)) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            builder
                .with_client_auth_cert(vec![der.clone()], key)
                .unwrap()
        }
    })
}

/// A certificate, from itself or from an authority.
fn issued(by: Option<&rcgen::Issuer<'_, &KeyPair>>) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    params.distinguished_name.push(
        rcgen::DnType::CommonName,
        if by.is_some() { "leaf" } else { "root" },
    );
    if by.is_none() {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let certificate = match by {
        Some(issuer) => params.signed_by(&key, issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (certificate.der().clone(), key)
}

#[tokio::test]
async fn clients_get_in_by_the_certificate_that_they_show() {
    let (root, root_key) = issued(None);
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "root");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::new(params, &root_key);
    let (known, stranger) = (issued(Some(&issuer)), issued(None));
    let table = table([]);
    let policy = |authorities: Vec<_>, optional| {
        Arc::new(ClientAuth {
            authorities: authorities.into(),
            optional,
        })
    };
    let of_root = || vec![root.clone()];
    for (clients, shown, gets_in) in [
        (policy(of_root(), false), Some(&known), true),
        (policy(of_root(), false), Some(&stranger), false),
        (policy(of_root(), false), None, false),
        (policy(vec![], false), Some(&known), false),
        (policy(vec![], false), None, false),
        (policy(of_root(), true), Some(&known), true),
        (policy(of_root(), true), Some(&stranger), true),
        (policy(of_root(), true), None, true),
        (policy(vec![], true), Some(&stranger), true),
    ] {
        let sites = TlsSites {
            ingress: Some(https(&table, Some(&clients))),
            ..TlsSites::default()
        };
        let config = client_with(shown);
        let (accepted, seen) = try_sites(&acceptor(), &sites, &config, "example.com").await;
        let shows = shown.map(|(der, _)| der == &known.0);
        let optional = clients.optional;
        assert_eq!(
            accepted.is_ok(),
            gets_in,
            "optional {optional}, known {shows:?}"
        );
        assert_eq!(seen.is_ok(), gets_in);
    }
}

#[tokio::test]
async fn a_ticket_from_where_nobody_is_asked_is_no_good_where_clients_are() {
    let (root, _) = issued(None);
    let certificate = set(&[Kind::Ecdsa]);
    let table = table([("example.com", &certificate)]);
    let clients = Arc::new(ClientAuth {
        authorities: [root].into(),
        optional: false,
    });
    let acceptor = acceptor();
    let config = client(TLS13, BOTH, &[]);
    handshake(&acceptor, &table, &config, "example.com").await;
    let (_, seen) = handshake(&acceptor, &table, &config, "example.com").await;
    assert!(seen.resumed);
    let asking = TlsSites {
        ingress: Some(https(&table, Some(&clients))),
        ..TlsSites::default()
    };
    let (accepted, _) = try_sites(&acceptor, &asking, &config, "example.com").await;
    assert!(accepted.is_err());
}

#[tokio::test]
async fn a_name_that_nothing_is_served_by_is_refused() {
    let mut sites = TlsSites::default();
    sites.gateways.insert("a.example", https(&table([]), None));
    for (name, expected) in [
        ("a.example", true),
        ("b.example", false),
        ("127.0.0.1", false),
    ] {
        let config = client(TLS13, BOTH, &[]);
        let (accepted, seen) = try_sites(&acceptor(), &sites, &config, name).await;
        assert_eq!(accepted.is_ok(), expected, "{name}");
        if !expected {
            assert!(matches!(accepted, Err(HandshakeError::UnknownName)));
            assert_eq!(alert(seen), AlertDescription::UnrecognisedName);
        }
    }
}

#[tokio::test]
async fn what_is_passed_through_is_passed_on_from_its_first_byte() {
    let route = Arc::new(Stream {
        route: "default/route".into(),
        field: "".into(),
        split: None,
        connect: Duration::ZERO,
        idle: Duration::ZERO,
        tries: None,
        within: std::time::Duration::ZERO,
        announced: false,
        announces: None,
    });
    let mut streams = HostTable::default();
    streams.insert(".example", route);
    let mut sites = TlsSites::default();
    sites
        .gateways
        .insert(".example", Arc::new(TlsSite::Passthrough(streams)));
    let acceptor = acceptor();
    let (client_end, server) = tcp_pair().await;
    let (sender, mut wire) = tcp_pair().await;
    // What the client says, byte for byte, in pieces that are no records.
    let mut hello = vec![0; 4096];
    let config = client(TLS13, BOTH, &["h2"]);
    let connecting =
        tokio::spawn(async move { connect(config, "x.y.example", sender).await.is_ok() });
    let read = wire.read(&mut hello).await.unwrap();
    hello.truncate(read);
    let pieces = async {
        let mut client_end = client_end;
        for piece in hello.chunks(100) {
            client_end.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        client_end
    };
    let (accepted, _client) = tokio::join!(acceptor.accept(server, &sites, None, &|| None), pieces);
    match accepted.unwrap() {
        Secured::Passthrough(_, sent, route) => {
            assert_eq!(sent, hello);
            assert_eq!(&*route.route, "default/route");
        }
        other => panic!("{other:?}"),
    }
    drop(wire);
    assert!(!connecting.await.unwrap());
}
