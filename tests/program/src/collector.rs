//! A collector of traces (OTLP by gRPC), which reads what it is told by OpenTelemetry's own
//! messages.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::Certificate;
use crate::h2_backend::{Asked, Behaviour, H2Backend, server_config};
use crate::wait::eventually;

/// One span, as it was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// `service.name` of whoever told it.
    pub service: String,
    pub name: String,
    /// In hexadecimal, as the other ids.
    pub trace: String,
    pub id: String,
    /// Empty if there is none.
    pub parent: String,
    pub state: String,
    /// 2 is a request that came, 3 one that was made.
    pub kind: i32,
    pub attributes: BTreeMap<String, String>,
    /// Whether it says that it failed.
    pub failed: bool,
    pub begun: u64,
    pub ended: u64,
}

impl Told {
    /// An attribute; the empty text if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// How a collector answers.
#[derive(Debug, Clone, Copy, Default)]
pub enum Answers {
    /// It takes all.
    #[default]
    Well,
    /// It refuses for now (UNAVAILABLE).
    NotNow,
    /// It refuses for good (INVALID_ARGUMENT).
    Never,
    /// It says that it has not taken so many.
    Partly(i64),
    /// Not before it is told to answer otherwise, and then that it has taken all.
    Slowly,
}

/// A running collector.
pub struct Collector {
    backend: H2Backend,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    spans: Mutex<Vec<Told>>,
    /// How many spans each call had.
    calls: Mutex<Vec<usize>>,
    answers: Mutex<Answers>,
    asked: AtomicUsize,
}

impl Collector {
    /// One that takes all.
    pub fn start() -> Self {
        Self::behaving(Behaviour::default())
    }

    /// The same behind TLS.
    pub fn secure(certificate: &Certificate) -> Self {
        Self::behaving(Behaviour {
            tls: Some(server_config(certificate, &["h2"])),
            ..Behaviour::default()
        })
    }

    fn behaving(behaviour: Behaviour) -> Self {
        let inner = Arc::<Inner>::default();
        let shared = Arc::clone(&inner);
        let backend = H2Backend::with(behaviour, move |asked| answer(Arc::clone(&shared), asked));
        Self { backend, inner }
    }

    pub fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    /// As flags name it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Answers like this from now on.
    pub fn answer(&self, answers: Answers) {
        *lock(&self.inner.answers) = answers;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// What it was told and took.
    pub fn spans(&self) -> Vec<Told> {
        lock(&self.inner.spans).clone()
    }

    /// How many spans there were in each call that it took.
    pub fn calls(&self) -> Vec<usize> {
        lock(&self.inner.calls).clone()
    }

    /// What it is told of a request for this path, once it is: the request's own span, and those
    /// of attempts, in their order.
    #[track_caller]
    pub fn request(&self, path: &str) -> (Told, Vec<Told>) {
        eventually("the request is told of", || {
            let spans = self.spans();
            let mut served = spans.iter().filter(|span| span.kind == 2);
            let served = served.find(|span| span.get("url.path") == path)?.clone();
            let attempts = spans.iter().filter(|span| span.parent == served.id);
            let mut attempts: Vec<_> = attempts.filter(|span| span.kind == 3).cloned().collect();
            attempts.sort_by_key(|span| span.begun);
            Some((served, attempts))
        })
    }
}

async fn answer(inner: Arc<Inner>, mut asked: Asked) -> Result<(), h2::Error> {
    let mut body = BytesMut::new();
    while let Some(data) = asked.body.data().await {
        let data = data?;
        let _ = asked.body.flow_control().release_capacity(data.len());
        body.extend_from_slice(&data);
    }
    inner.asked.fetch_add(1, Ordering::SeqCst);
    let request = &asked.request;
    let field = |name: &str| request.headers().get(name).map(|value| value.as_bytes());
    assert_eq!(
        request.uri().path(),
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert_eq!(field("content-type"), Some(&b"application/grpc"[..]));
    assert_eq!(field("te"), Some(&b"trailers"[..]));
    assert_eq!(body[0], 0, "not compressed");
    assert_eq!(
        u32::from_be_bytes([body[1], body[2], body[3], body[4]]) as usize,
        body.len() - 5
    );
    let export = ExportTraceServiceRequest::decode(&body[5..]).expect("an export");
    let answers = *lock(&inner.answers);
    let mut rejected = 0;
    let status = match answers {
        Answers::Well => "0",
        Answers::NotNow => "14",
        Answers::Never => "3",
        Answers::Partly(count) => {
            rejected = count;
            "0"
        }
        Answers::Slowly => {
            while matches!(*lock(&inner.answers), Answers::Slowly) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            "0"
        }
    };
    if status == "0" {
        take(&inner, export);
    }
    let head = Response::builder().header("content-type", "application/grpc");
    let head = head.body(()).expect("a head");
    let mut respond = asked.respond.send_response(head, false)?;
    let message = ExportTraceServiceResponse {
        partial_success: (rejected > 0).then(|| ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: "too many".to_owned(),
        }),
    };
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).expect("small"));
    message.encode(&mut framed).expect("room");
    respond.send_data(Bytes::from(framed), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().expect("a value"));
    respond.send_trailers(trailers)
}

fn take(inner: &Inner, export: ExportTraceServiceRequest) {
    let mut count = 0;
    for group in export.resource_spans {
        let resource = attributes(&group.resource.expect("a resource").attributes);
        let service = resource.get("service.name").cloned().unwrap_or_default();
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            count += 1;
            lock(&inner.spans).push(told(&service, span));
        }
    }
    lock(&inner.calls).push(count);
}

fn told(service: &str, span: Span) -> Told {
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
    assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
    Told {
        service: service.to_owned(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        kind: span.kind,
        attributes: attributes(&span.attributes),
        failed: span.status.is_some_and(|status| status.code == 2),
        name: span.name,
        begun: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("neither a text nor a number: {other:?}"),
    };
    all.iter()
        .map(|pair| (pair.key.clone(), text(&pair.value)))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
