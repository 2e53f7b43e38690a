use prometheus_client::registry::Registry;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A server whose judge is not ready, and the registry of its metrics.
struct Running {
    address: SocketAddr,
    identity: Arc<Identity>,
    roots: RootCertStore,
    registry: Registry,
}

/// A certificate for this machine.
fn key() -> (CertificateDer<'static>, Arc<CertifiedKey>) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("made");
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = made.cert.der().clone();
    let key = CertifiedKey::from_der(vec![certificate.clone()], key.expect("PEM"), &provider);
    (certificate, Arc::new(key.expect("they fit")))
}

fn start(present: impl Fn() -> Option<objects::Store> + Send + Sync + 'static) -> Running {
    let (root, certified) = key();
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let options = compile::Options::new(Arc::new(model::Certificate {
        key: Arc::clone(&certified),
        source: "fallback".into(),
        not_after: i64::MAX,
        staple: model::Staple::default(),
    }));
    let identity = Arc::new(Identity::default());
    identity.set(certified);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let server = Server::bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address = server.address();
    let judge = Arc::new(Judge::new(
        present,
        options,
        crate::webhook::Scope::default(),
    ));
    tokio::spawn(server.serve(Arc::clone(&identity), judge, metrics));
    Running {
        address,
        identity,
        roots,
        registry,
    }
}

impl Running {
    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocols")
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("encodes");
        text
    }
}

const REVIEW: &str = r#"{"apiVersion":"admission.k8s.io/v1","request":{"uid":"u","operation":
    "CREATE","kind":{"group":"networking.k8s.io","kind":"Ingress"},"object":{}}}"#;

fn post(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /validate?timeout=2s HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// The status, and the body as far as one read has it.
async fn answer(stream: &mut TlsStream<TcpStream>) -> (u16, String) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let read = stream.read(&mut buffer).await.expect("reads");
        assert!(read > 0, "closed after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    let status = text[9..12].parse().expect("a status");
    (
        status,
        text.split_once("\r\n\r\n").expect("a body").1.to_owned(),
    )
}

#[tokio::test]
async fn reviews_are_answered_on_one_connection_and_counted() {
    let running = start(|| None);
    let mut stream = running.connect().await.expect("connects");
    for _ in 0..2 {
        stream
            .write_all(post(REVIEW).as_bytes())
            .await
            .expect("writes");
        let (status, body) = answer(&mut stream).await;
        assert_eq!(status, 200);
        assert!(
            body.contains(r#""allowed":true"#) && body.contains("did not check"),
            "{body}"
        );
    }
    let metrics = running.metrics();
    let line = "narthex_admission_reviews_total{result=\"unchecked\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        metrics.contains("narthex_admission_seconds_count 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_no_review_or_too_large_is_told_so_and_ends_there() {
    let running = start(|| None);
    for (sent, expected) in [
        (post("nonsense"), 400),
        (post(REVIEW).replace("/validate", "/x"), 404),
        (post(REVIEW).replace("POST", "PUT"), 405),
        (
            format!(
                "POST /validate HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
                3 << 21
            ),
            413,
        ),
        (
            format!(
                "POST /validate HTTP/1.1\r\nx: {}\r\n\r\n",
                "a".repeat(20_000)
            ),
            431,
        ),
    ] {
        let mut stream = running.connect().await.expect("connects");
        stream.write_all(sent.as_bytes()).await.expect("writes");
        assert_eq!(answer(&mut stream).await.0, expected);
    }
    // That of a head that cannot be read is not: nobody asked for anything.
    assert!(running.metrics().contains("{result=\"malformed\"} 4"));
}

#[tokio::test]
async fn a_judge_that_thinks_for_long_is_not_waited_for() {
    let running = start(|| {
        std::thread::sleep(Duration::from_secs(4));
        None
    });
    // More than can be judged at one time: whoever has no turn is answered too.
    let mut streams = Vec::new();
    for _ in 0..MAX_ANSWERS + 1 {
        let mut stream = running.connect().await.expect("connects");
        stream
            .write_all(post(REVIEW).as_bytes())
            .await
            .expect("writes");
        streams.push(stream);
    }
    let mut said = Vec::new();
    for mut stream in streams {
        let (status, body) = answer(&mut stream).await;
        assert_eq!(status, 200);
        assert!(body.contains(r#""allowed":true"#), "{body}");
        said.push(body);
    }
    let count = |what: &str| said.iter().filter(|body| body.contains(what)).count();
    assert_eq!(count("it took too long"), MAX_ANSWERS);
    assert_eq!(count("too many others"), 1);
}

#[tokio::test]
async fn a_slow_client_is_dropped_and_others_are_answered_meanwhile() {
    let running = start(|| None);
    let mut slow = running.connect().await.expect("connects");
    let (first, _) = REVIEW.split_at(20);
    let head = post(REVIEW).replace(REVIEW, first);
    slow.write_all(head.as_bytes()).await.expect("writes");
    // One that says nothing at all, not even for TLS.
    let mut silent = TcpStream::connect(running.address).await.expect("connects");
    let mut stream = running.connect().await.expect("connects");
    stream
        .write_all(post(REVIEW).as_bytes())
        .await
        .expect("writes");
    assert_eq!(answer(&mut stream).await.0, 200);
    let mut rest = Vec::new();
    // Whether with or without a goodbye of TLS: no answer, and the end.
    let _ = slow.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_make_way_later() {
    let running = start(|| None);
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        held.push(running.connect().await.expect("connects"));
    }
    running.connect().await.expect_err("one more");
    held.clear();
    // Their ends are noticed soon, whenever that is.
    for _ in 0..1000 {
        if running.connect().await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no connection is accepted any more");
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let mut running = start(|| None);
    let mut before = running.connect().await.expect("connects");
    let (root, certified) = key();
    running.identity.set(certified);
    running
        .connect()
        .await
        .expect_err("the new one is not trusted yet");
    running.roots.add(root).expect("a root");
    let mut after = running.connect().await.expect("connects");
    for stream in [&mut before, &mut after] {
        stream
            .write_all(post(REVIEW).as_bytes())
            .await
            .expect("writes");
        assert_eq!(answer(stream).await.0, 200);
    }
}
