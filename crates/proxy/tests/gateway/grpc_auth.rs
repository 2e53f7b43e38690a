//! An authority that is asked by gRPC, as Envoy asks it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response as Head};
use model::backend::Discovery;
use model::filter::{AuthProtocol, ExternalAuth};
use model::{Action, Backend, Endpoint, EndpointSet, Filter, HttpVersion, Policy, Transport};

use crate::support::*;

type Asked = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// An authority that lets pass what has `good` in it.
fn authority(asked: &Asked) -> SocketAddr {
    let listener = std::net::TcpListener::bind((LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("open");
    let asked = Arc::clone(asked);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("open");
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(connection(socket, Arc::clone(&asked)));
            }
        });
    });
    address
}

async fn connection(socket: tokio::net::TcpStream, asked: Asked) {
    let mut connection = h2::server::handshake(socket).await.expect("HTTP/2");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let asked = Arc::clone(&asked);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(bytes)) = body.data().await {
                message.extend_from_slice(&bytes);
                let _ = body.flow_control().release_capacity(bytes.len());
            }
            let good = message.windows(4).any(|part| part == b"good");
            asked.lock().expect("no panic").push((path, message));
            let answer: &[u8] = match good {
                // ok_response: x-user is kim.
                true => b"\x1a\x11\x12\x0f\x0a\x0d\x0a\x06x-user\x12\x03kim",
                // PERMISSION_DENIED, and denied_response: 401 with a body.
                false => b"\x0a\x02\x08\x07\x12\x0b\x0a\x03\x08\x91\x03\x1a\x04who?",
            };
            let length = u32::try_from(answer.len()).expect("short");
            let framed = [&[0][..], &length.to_be_bytes(), answer].concat();
            let head = Head::builder().header("content-type", "application/grpc");
            let mut sending = respond
                .send_response(head.body(()).expect("a head"), false)
                .expect("open");
            sending.send_data(Bytes::from(framed), false).expect("open");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            sending.send_trailers(trailers).expect("open");
        });
    }
}

fn asking(address: SocketAddr) -> Filter {
    let transport = Transport {
        http: HttpVersion::Http2,
        tls: None,
        ..Transport::default()
    };
    let endpoint = Arc::new(Endpoint::new(address).speaking(transport.clone()));
    let set = EndpointSet::new(vec![endpoint.into()], Arc::new(Policy::default()));
    let backend = Backend::new("default/auth:80", Discovery::Listed, set).speaking(transport);
    Filter::Auth(Box::new(ExternalAuth {
        backend: Arc::new(backend),
        protocol: AuthProtocol::Grpc {
            headers: ["authorization".into()].into(),
        },
        body: 0,
        timeout: Duration::from_secs(10),
    }))
}

#[test]
fn a_request_passes_if_the_authority_says_so() {
    let (server, asked) = (Server::named("web"), Asked::default());
    let filters = vec![asking(authority(&asked))];
    let action = Action::Forward(backend("default/web:80", &[server.address]));
    let plane = Plane::new();
    let at = plane.serve(http(vec![filtered(action, filters)]));
    let fields = ["Authorization: good", "X-User: forged", "X-Hidden: hidden"];
    assert_eq!(get(at, "/a?b", &fields).body, "web");
    let seen = &server.seen()[0];
    assert_eq!(seen.field("x-user").as_deref(), Some("kim"));
    let refused = get(at, "/a?b", &["Authorization: bad"]);
    assert_eq!((refused.status, &*refused.body), (401, "who?"));
    assert_eq!(server.seen().len(), 1);
    let asked = asked.lock().expect("no panic");
    let (path, message) = &asked[0];
    assert_eq!(path, "/envoy.service.auth.v3.Authorization/Check");
    let text = String::from_utf8_lossy(message);
    for part in ["GET", "/a?b", "example.org", "127.0.0.1", "authorization"] {
        assert!(text.contains(part), "{part} in {text:?}");
    }
    assert!(!text.contains("hidden"));
}
