//! Connections that are passed on byte for byte (TCPRoute, TLSRoute).
//!
//! One task a connection, and two buffers, borrowed from the worker while they hold something. What
//! one side ends, the other is told of; the connection ends with both, or when neither has said
//! anything for too long.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::endpoint::Failure;
use model::{Backend, Target};

use crate::buffer::{Buffer, fill};
use crate::client::Connection;
use crate::io::Stream;
use crate::proxy_header;
use crate::record::{Reason, Record, Version};
use crate::upstream::Upstream;
use crate::upstream::balance::{Ask, stream_keys};
use crate::upstream::tls::Offer;
use crate::worker::Worker;

/// The most endpoints that are tried for one connection.
const MOST_ATTEMPTS: usize = 8;

/// A client's end of a connection.
pub(crate) struct Client {
    stream: Stream,
    connection: Connection,
    /// What was read of it already.
    sent: Vec<u8>,
}

impl Client {
    /// Of a connection from which nothing has been read.
    pub(crate) fn of(stream: Stream, connection: Connection) -> Self {
        Self {
            stream,
            connection,
            sent: Vec::new(),
        }
    }

    /// The same, after this has been read.
    pub(crate) fn having_sent(self, sent: Vec<u8>) -> Self {
        Self { sent, ..self }
    }
}

/// What is known of a connection so far.
struct Facts {
    endpoint: Cell<Option<SocketAddr>>,
    attempts: Cell<u8>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// When something last moved.
    moved: Cell<Instant>,
}

/// Passes a connection on until it ends, and records it.
pub(crate) async fn serve(worker: &Rc<Worker>, client: Client, route: &model::Stream) {
    let (clock, time) = (Instant::now(), SystemTime::now());
    let facts = Facts {
        endpoint: Cell::new(None),
        attempts: Cell::new(0),
        bytes_in: Cell::new(0),
        bytes_out: Cell::new(0),
        moved: Cell::new(clock),
    };
    let backend = choose(route, |total| fastrand::u32(..total));
    let result = match &backend {
        Ok(backend) => pass_on(worker, &client, route, backend, &facts).await,
        Err(reason) => Err(*reason),
    };
    if result.is_err() {
        client.stream.reset_on_close();
    }
    let connection = &client.connection;
    let name = connection
        .tls
        .as_ref()
        .and_then(|tls| tls.server_name.as_deref());
    worker.record_stream(&Record {
        port: connection.entrance.port,
        start: time,
        client: connection.peer.ip(),
        method: b"",
        host: name.unwrap_or_default().as_bytes(),
        target: b"",
        version: Version::Tcp,
        tls: connection.tls.as_ref().map(|tls| tls.version),
        status: 0,
        reason: result.err(),
        route: &route.route,
        backend: backend.as_ref().map_or("", |backend| &*backend.name),
        endpoint: facts.endpoint.get(),
        attempts: facts.attempts.get(),
        duration: clock.elapsed(),
        upstream: None,
        bytes_in: facts.bytes_in.get(),
        bytes_out: facts.bytes_out.get(),
        request_id: b"",
        user_agent: b"",
        referer: b"",
        host_slot: 0,
        unlogged: false,
    });
}

/// One of the route's backends, by weight: that of the number which `draw` gives below a total.
pub(crate) fn choose(
    route: &model::Stream,
    draw: impl FnOnce(u32) -> u32,
) -> Result<Arc<Backend>, Reason> {
    let split = route.split.as_ref().ok_or(Reason::NoRoute)?;
    match &split.share(draw(split.total())).target {
        Target::Backend(backend) => Ok(Arc::clone(backend)),
        Target::Invalid => Err(Reason::InvalidBackend),
    }
}

async fn pass_on(
    worker: &Rc<Worker>,
    client: &Client,
    route: &model::Stream,
    backend: &Backend,
    facts: &Facts,
) -> Result<(), Reason> {
    let state = worker.upstreams.backend(backend);
    let members = state.members(&worker.upstreams, backend);
    let _permit = match members.policy().max_requests {
        0 => None,
        most => Some(backend.admit(most).ok_or(Reason::Overloaded)?),
    };
    let connection = &client.connection;
    let version = route.announces.or_else(|| members.policy().proxy_header);
    let opening = version.map_or_else(Vec::new, |version| {
        proxy_header::of_client(version, connection.peer, connection.local)
    });
    let ejection = &members.policy().ejection;
    let mut tried = Vec::new();
    let mut last = None;
    let most = route.tries.map_or(MOST_ATTEMPTS, usize::from);
    let begun = Instant::now();
    let in_time = || route.within.is_zero() || begun.elapsed() < route.within;
    while tried.len() < most && (tried.is_empty() || in_time()) {
        let ask = Ask {
            now: Instant::now(),
            keys: stream_keys(members.policy(), connection.peer.ip()),
            tried: &tried,
            affinity: None,
        };
        let Some(choice) = state.pick(&members, &ask) else {
            break;
        };
        let endpoint = choice.endpoint;
        facts.endpoint.set(Some(endpoint.address()));
        facts.attempts.set(facts.attempts.get().saturating_add(1));
        let connect = Rc::clone(&endpoint);
        let connect = worker
            .upstreams
            .announced(connect, &opening, Offer::Nothing, route.connect);
        match connect.await {
            Ok(upstream) => {
                worker.metrics.upstream_used(false);
                endpoint.succeeded(ejection, Instant::now);
                return relay(worker, client, &upstream, route.idle, facts).await;
            }
            Err(error) => {
                worker.metrics.upstream_connect_failed();
                let now = Instant::now();
                let took = now.saturating_duration_since(ask.now);
                if endpoint.failed(ejection, Failure::Unreachable, took, now) {
                    worker.metrics.endpoint_ejected();
                    let address = endpoint.address();
                    tracing::warn!(%address, "the endpoint is left out for a while: it failed again and again");
                }
                tried.push(endpoint.id());
                last = Some(error.reason());
            }
        }
    }
    let why = || members.unavailable().map(Reason::Unavailable);
    Err(last.or_else(why).unwrap_or(Reason::ConnectFailed))
}

/// Copies both ways until both have ended, either has failed, or neither has moved for `idle`.
async fn relay(
    worker: &Worker,
    client: &Client,
    upstream: &Upstream,
    idle: Duration,
    facts: &Facts,
) -> Result<(), Reason> {
    let (client_end, backend_end) = (&client.stream, &upstream.stream);
    let up = async {
        if !client.sent.is_empty() {
            let sent = backend_end.write_all(&client.sent, &[]).await;
            sent.map_err(|_| Reason::UpstreamClosed)?;
            add(&facts.bytes_in, client.sent.len());
        }
        let faults = (Reason::ClientClosed, Reason::UpstreamClosed);
        copy(
            worker,
            client_end,
            backend_end,
            &facts.bytes_in,
            facts,
            faults,
        )
        .await
    };
    let faults = (Reason::UpstreamReset, Reason::ClientClosed);
    let down = copy(
        worker,
        backend_end,
        client_end,
        &facts.bytes_out,
        facts,
        faults,
    );
    let both = async { tokio::try_join!(up, down).map(|_| ()) };
    let ended = tokio::select! {
        biased;
        ended = both => ended,
        () = silence(idle, &facts.moved) => Err(Reason::IdleTimeout),
    };
    if ended.is_err() {
        backend_end.reset_on_close();
    }
    ended
}

/// Copies one direction to its end, and tells the other side of it. `faults` are those of the
/// reading and of the writing end.
async fn copy(
    worker: &Worker,
    from: &Stream,
    to: &Stream,
    count: &Cell<u64>,
    facts: &Facts,
    faults: (Reason, Reason),
) -> Result<(), Reason> {
    let mut buffer = Buffer::default();
    loop {
        let read = fill(&mut buffer, from, &worker.buffers).await;
        let read = read.map_err(|_| faults.0)?;
        if read == 0 {
            break;
        }
        facts.moved.set(Instant::now());
        let written = to.write_all(buffer.bytes(), &[]).await;
        written.map_err(|_| faults.1)?;
        add(count, read);
        buffer.consume(read);
        buffer.release(&worker.buffers);
    }
    // Whoever has gone needs not be told.
    let _ = to.shutdown().await;
    facts.moved.set(Instant::now());
    Ok(())
}

fn add(counter: &Cell<u64>, count: usize) {
    counter.set(counter.get() + count as u64);
}

/// Waits until nothing has moved for so long; zero is for ever.
async fn silence(idle: Duration, moved: &Cell<Instant>) {
    if idle.is_zero() {
        return std::future::pending().await;
    }
    loop {
        let end = moved.get() + idle;
        if end <= Instant::now() {
            return;
        }
        // Set anew only when it has run out, however often something moves.
        tokio::time::sleep_until(end.into()).await;
    }
}
