//! The thread that tells a collector: OTLP by gRPC (`TraceService/Export`), over HTTP/2.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use model::{BackendTls, HttpVersion};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::otlp::{Export, Exported, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span};
use super::{Counts, Queue};
use crate::settings::{Collector, TraceSettings};
use crate::upstream::tls::Trust;

/// The method that is called.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// How long a call may take (OTLP exporters' default).
const LIMIT: Duration = Duration::from_secs(10);
/// How long what is left may take at the end.
const LAST_LIMIT: Duration = Duration::from_secs(3);
/// After the first failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The most of an answer that is read.
const MOST_ANSWER: usize = 64 * 1024;

/// Has spans told, once there is somebody to tell.
#[derive(Debug)]
pub(crate) struct Teller {
    queue: Queue,
    counts: Arc<Counts>,
    settings: watch::Sender<Arc<TraceSettings>>,
    thread: Mutex<Thread>,
    trust: Arc<Trust>,
}

/// The thread that tells.
#[derive(Debug)]
enum Thread {
    /// There was nobody to tell so far.
    Waits(UnboundedReceiver<Span>),
    Runs(JoinHandle<()>, oneshot::Sender<()>),
    Ended,
}

impl Teller {
    pub(crate) fn new(settings: Arc<TraceSettings>, trust: Arc<Trust>) -> Self {
        let (to, spans) = unbounded_channel();
        let counts = Arc::<Counts>::default();
        Self {
            queue: Queue {
                to,
                counts: Arc::clone(&counts),
            },
            counts,
            settings: watch::Sender::new(settings),
            thread: Mutex::new(Thread::Waits(spans)),
            trust,
        }
    }

    /// A worker's end.
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Tells whom these settings name from now on.
    pub(crate) fn tell(&self, settings: Arc<TraceSettings>) {
        let wanted = settings.collector.is_some();
        self.settings.send_if_modified(|known| {
            let changed = **known != *settings;
            *known = settings;
            changed
        });
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if !wanted || !matches!(*thread, Thread::Waits(_)) {
            return;
        }
        let Thread::Waits(spans) = std::mem::replace(&mut *thread, Thread::Ended) else {
            return;
        };
        let (end, ended) = oneshot::channel();
        let exporter = Exporter {
            spans,
            settings: self.settings.subscribe(),
            counts: Arc::clone(&self.counts),
            trust: Arc::clone(&self.trust),
            to: None,
            failing: false,
        };
        match exporter.start(ended) {
            Ok(running) => *thread = Thread::Runs(running, end),
            Err(error) => tracing::error!(%error, "no thread for traces: they are told nobody"),
        }
    }

    /// Tells what is left, as far as that goes in a moment.
    pub(crate) fn finish(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Thread::Runs(running, end) = std::mem::replace(&mut *thread, Thread::Ended) {
            let _ = end.send(());
            // It ends by itself in a moment; a panic in it has been reported where it happened.
            let _ = running.join();
        }
    }
}

/// What the thread works with.
struct Exporter {
    spans: UnboundedReceiver<Span>,
    settings: watch::Receiver<Arc<TraceSettings>>,
    counts: Arc<Counts>,
    trust: Arc<Trust>,
    to: Option<To>,
    /// Whether the last call failed: only a change is worth a line.
    failing: bool,
}

/// Comes when the end is asked for.
type Ended = oneshot::Receiver<()>;

/// A connection to a collector.
struct To {
    collector: Collector,
    requests: SendRequest<Bytes>,
}

/// Why spans were not taken.
#[derive(Debug)]
enum Trouble {
    /// Another call may do.
    Now(String),
    /// These spans will never be.
    Ever(String),
}

impl Exporter {
    fn start(mut self, mut ended: Ended) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("traces".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let left = self.run(&mut ended).await;
                    // What is not told by then is told nobody.
                    let _ = timeout(LAST_LIMIT, self.flush(left)).await;
                });
                // A lookup of a name may take longer than anybody waits.
                runtime.shutdown_background();
            })
    }

    /// Tells until the end is asked for. Returns what is in hand then.
    async fn run(&mut self, ended: &mut Ended) -> Vec<Span> {
        let mut batch = Vec::new();
        loop {
            if !self.gather(&mut batch, ended).await || !self.deliver(&mut batch, ended).await {
                return batch;
            }
        }
    }

    /// Waits for as many spans as are told at once, or for as long as the first may wait. False at
    /// the end.
    async fn gather(&mut self, batch: &mut Vec<Span>, ended: &mut Ended) -> bool {
        let mut due = None;
        loop {
            let (most, delay) = {
                let settings = self.settings.borrow();
                (settings.batch, settings.delay)
            };
            if batch.len() >= most.max(1) {
                return true;
            }
            let late = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                span = self.spans.recv() => match span {
                    Some(span) => {
                        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
                        batch.push(span);
                        due.get_or_insert_with(|| Instant::now() + delay);
                    }
                    None => return false,
                },
                () = late => return true,
                _ = &mut *ended => return false,
            }
        }
    }

    /// Tells a batch, however often that takes. False at the end.
    async fn deliver(&mut self, batch: &mut Vec<Span>, ended: &mut Ended) -> bool {
        let mut pause = FIRST_PAUSE;
        loop {
            let told = tokio::select! {
                told = self.attempt(batch) => told,
                // Whatever comes of it, there is no time for more than once.
                _ = &mut *ended => return false,
            };
            if told {
                batch.clear();
                return true;
            }
            let jitter = 0.75 + 0.5 * fastrand::f64();
            tokio::select! {
                () = sleep(pause.mul_f64(jitter)) => pause = (pause * 2).min(LONGEST_PAUSE),
                Ok(()) = self.settings.changed() => pause = FIRST_PAUSE,
                _ = &mut *ended => return false,
            }
        }
    }

    /// Tells a batch once. Whether that is all that can be done with it.
    async fn attempt(&mut self, batch: &[Span]) -> bool {
        let settings = Arc::clone(&self.settings.borrow_and_update());
        let Some(collector) = &settings.collector else {
            Counts::add(&self.counts.dropped, batch.len());
            return true;
        };
        let message = message(&settings, batch);
        let answer = timeout(LIMIT, self.call(collector, message)).await;
        let answer = answer.unwrap_or_else(|_| Err(Trouble::Now("no answer in time".to_owned())));
        let Collector { host, port, .. } = collector;
        match answer {
            Ok(refused) => {
                let refused = refused.min(batch.len());
                Counts::add(&self.counts.refused, refused);
                Counts::add(&self.counts.told, batch.len() - refused);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(%host, port, "the collector takes traces again");
                }
                true
            }
            Err(Trouble::Ever(error)) => {
                Counts::add(&self.counts.refused, batch.len());
                self.complain(host, *port, &error, "the collector refuses traces");
                true
            }
            Err(Trouble::Now(error)) => {
                self.to = None;
                let what = "traces cannot be told, which is tried again; what is too many is lost";
                self.complain(host, *port, &error, what);
                false
            }
        }
    }

    fn complain(&mut self, host: &str, port: u16, error: &str, what: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(%host, port, error, "{what}");
        }
    }

    /// Makes a call. How many spans the collector would not have.
    async fn call(&mut self, collector: &Collector, message: Bytes) -> Result<usize, Trouble> {
        let to = match self.to.take() {
            Some(to) if to.collector == *collector => match to.requests.ready().await {
                Ok(requests) => requests,
                // It was closed meanwhile.
                Err(_) => connect(collector, &self.trust).await?,
            },
            _ => connect(collector, &self.trust).await?,
        };
        let mut requests = to.ready().await.map_err(broken)?;
        let Collector { host, port, tls } = collector;
        let scheme = if *tls { "https" } else { "http" };
        let request = Request::post(format!("{scheme}://{host}:{port}{METHOD}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("narthex/", env!("CARGO_PKG_VERSION")))
            .body(())
            .map_err(|error| Trouble::Ever(error.to_string()))?;
        let (response, mut body) = requests.send_request(request, false).map_err(broken)?;
        body.send_data(message, true).map_err(broken)?;
        let (head, mut body) = response.await.map_err(broken)?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(broken)?;
            let _ = body.flow_control().release_capacity(data.len());
            if answer.len() + data.len() > MOST_ANSWER {
                return Err(Trouble::Ever("it answers too much".to_owned()));
            }
            answer.extend_from_slice(&data);
        }
        let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
        self.to = Some(To {
            collector: collector.clone(),
            requests,
        });
        match head.status.as_u16() {
            200 => {}
            status @ (429 | 502..=504) => return Err(Trouble::Now(format!("it answers {status}"))),
            status => return Err(Trouble::Ever(format!("it answers {status}"))),
        }
        outcome(&head.headers, &trailers)?;
        Ok(refused(&answer))
    }

    /// Tells what is left, once.
    async fn flush(&mut self, mut batch: Vec<Span>) {
        loop {
            let most = self.settings.borrow().batch.max(1);
            while batch.len() < most
                && let Ok(span) = self.spans.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() || !self.attempt(&batch).await {
                return;
            }
            batch.clear();
        }
    }
}

async fn connect(collector: &Collector, trust: &Trust) -> Result<SendRequest<Bytes>, Trouble> {
    let Collector { host, port, tls } = collector;
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((name, *port)).await;
    let socket = socket.map_err(|error| Trouble::Now(error.to_string()))?;
    let _ = socket.set_nodelay(true);
    if *tls {
        let wanted = BackendTls::new(name);
        let secured = trust.connect(socket, &wanted, HttpVersion::Http2).await;
        let (socket, _) = secured.map_err(|fault| Trouble::Now(fault.as_str().to_owned()))?;
        let (requests, connection) = h2::client::handshake(socket).await.map_err(broken)?;
        tokio::spawn(connection);
        return Ok(requests);
    }
    let (requests, connection) = h2::client::handshake(socket).await.map_err(broken)?;
    tokio::spawn(connection);
    Ok(requests)
}

fn broken(error: h2::Error) -> Trouble {
    Trouble::Now(error.to_string())
}

/// A gRPC message: not compressed, its length, and itself.
fn message(settings: &TraceSettings, batch: &[Span]) -> Bytes {
    let version = env!("CARGO_PKG_VERSION");
    let export = Export {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    KeyValue::text("service.name", &*settings.service),
                    KeyValue::text("service.version", version),
                    KeyValue::text("telemetry.sdk.name", "narthex"),
                    KeyValue::text("telemetry.sdk.language", "rust"),
                    KeyValue::text("telemetry.sdk.version", version),
                ],
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "narthex".to_owned(),
                    version: version.to_owned(),
                }),
                spans: batch.to_vec(),
            }],
        }],
    };
    let length = export.encoded_len();
    let mut message = BytesMut::with_capacity(5 + length);
    message.put_u8(0);
    // A batch has bounds, and each span has.
    message.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    export.encode_raw(&mut message);
    message.freeze()
}

/// What gRPC's status says; of an answer without a body, it is in its head.
fn outcome(head: &HeaderMap, trailers: &HeaderMap) -> Result<(), Trouble> {
    let field = |name: &str| trailers.get(name).or_else(|| head.get(name));
    let status = field("grpc-status").and_then(|status| status.to_str().ok());
    let text = || {
        let message = field("grpc-message").and_then(|message| message.to_str().ok());
        let (status, message) = (status.unwrap_or("none"), message.unwrap_or_default());
        format!("gRPC status {status} {message}")
            .trim_end()
            .to_owned()
    };
    match status {
        Some("0") => Ok(()),
        // Cancelled, late, exhausted, aborted, out of range, unavailable, lost: as OTLP says.
        Some("1" | "4" | "8" | "10" | "11" | "14" | "15") => Err(Trouble::Now(text())),
        _ => Err(Trouble::Ever(text())),
    }
}

/// How many spans an answer says that were refused.
fn refused(answer: &[u8]) -> usize {
    let message = answer
        .get(5..)
        .and_then(|message| Exported::decode(message).ok());
    let partial = message.and_then(|message| message.partial_success);
    partial.map_or(0, |partial| {
        usize::try_from(partial.rejected_spans).unwrap_or_default()
    })
}
