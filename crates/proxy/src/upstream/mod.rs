//! Connections to endpoints, and what is known of them, kept by each worker for itself.

pub(crate) mod balance;
mod common;
mod connect;
mod endpoint;
pub(crate) mod fastcgi;
mod http1;
mod http2;
mod message;
mod subject;
pub(crate) mod tls;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use model::{Backend, Endpoint};

use crate::buffer::{Buffer, BufferPool};
use crate::http1::parse::Framing;
use crate::http1::stream::Reader;
use crate::io::Stream;
use crate::settings::{Settings, UpstreamHttp2};
use crate::timer::Timer;
use balance::BackendState;
pub(crate) use connect::{ConnectError, Connected};
pub(crate) use endpoint::EndpointState;
use http2::Connections;
pub(crate) use http2::{Http2Stream, Opened};
pub(crate) use message::{Announced, BodySink, BodySource, Refused};
use tls::{Connector, Trust};

/// One worker's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoints: RefCell<HashMap<u64, Rc<EndpointState>>>,
    backends: RefCell<HashMap<u64, Rc<BackendState>>>,
    idle_per_endpoint: usize,
    idle_limit: Duration,
    connector: Connector,
    http2: UpstreamHttp2,
}

/// A connection that waits for the next exchange.
#[derive(Debug)]
struct Idle {
    stream: Stream,
    since: Instant,
}

/// A connection in use by one exchange.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) stream: Stream,
    buffer: Buffer,
    /// It has carried an exchange before.
    reused: bool,
    /// It has told the endpoint of one client, or that it ends, and is no other's.
    exclusive: bool,
    lease: Lease,
}

/// Counts an exchange at its endpoint for as long as it lasts.
#[derive(Debug)]
pub(crate) struct Lease(Rc<EndpointState>);

impl Lease {
    pub(crate) fn new(endpoint: Rc<EndpointState>) -> Self {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        Self(endpoint)
    }

    fn again(&self) -> Self {
        Self::new(Rc::clone(&self.0))
    }

    fn http2(&self) -> Option<&Connections> {
        self.0.http2.get().map(|connections| &**connections)
    }

    /// Notes that the head of the response came, so long after the request began to be sent.
    pub(crate) fn answered(&self, took: Duration, status: u16, begin: Instant) {
        match status {
            // Whose answer is that it cannot answer is not quick.
            502..=504 => self.0.penalize(took, begin + took),
            _ => self.0.answered(took, begin + took),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0
            .in_flight
            .set(self.0.in_flight.get().saturating_sub(1));
    }
}

impl Pool {
    pub(crate) fn new(settings: &Settings, trust: Arc<Trust>) -> Self {
        Self {
            endpoints: RefCell::default(),
            backends: RefCell::default(),
            idle_per_endpoint: settings.idle_per_endpoint,
            idle_limit: settings.upstream_idle,
            connector: Connector::new(trust),
            http2: settings.upstream_http2,
        }
    }

    /// One that keeps nothing, for tests.
    #[cfg(test)]
    pub(crate) fn unconnected() -> Self {
        let settings = Settings {
            idle_per_endpoint: 0,
            upstream_idle: Duration::ZERO,
            ..Settings::default()
        };
        Self::new(&settings, Arc::new(Trust::new(Vec::new())))
    }

    /// What this worker knows of an endpoint.
    pub(crate) fn state(&self, endpoint: &Arc<Endpoint>) -> Rc<EndpointState> {
        let mut endpoints = self.endpoints.borrow_mut();
        let state = endpoints
            .entry(endpoint.id)
            .or_insert_with(|| Rc::new(EndpointState::new(endpoint)));
        Rc::clone(state)
    }

    /// What this worker knows of a backend.
    pub(crate) fn backend(&self, backend: &Backend) -> Rc<BackendState> {
        let mut backends = self.backends.borrow_mut();
        let state = backends
            .entry(backend.id)
            .or_insert_with(|| Rc::new(BackendState::new()));
        state.used.set(true);
        Rc::clone(state)
    }

    /// The connection to an endpoint that was used last, if there is one, unless it is to be fresh.
    #[inline]
    pub(crate) fn idle(&self, endpoint: &Rc<EndpointState>, fresh: bool) -> Option<Upstream> {
        if fresh {
            return None;
        }
        let stream = self.take_idle(endpoint)?;
        Some(Upstream::kept(stream, Lease::new(Rc::clone(endpoint))))
    }

    /// A new connection to an endpoint.
    pub(crate) async fn connect(
        &self,
        endpoint: Rc<EndpointState>,
        limit: Duration,
    ) -> Result<Upstream, ConnectError> {
        let lease = Lease::new(endpoint);
        let connect = connect::tcp(lease.0.address());
        let connected = Timer::default().limit(limit, connect).await;
        let socket = connected.map_err(|_| ConnectError::Timeout)??;
        Ok(Upstream::new(socket.into(), lease))
    }

    /// Keeps a connection for the next exchange, if nothing is left on it.
    pub(crate) fn keep(&self, upstream: Upstream, buffers: &BufferPool) {
        let Upstream {
            stream,
            mut buffer,
            exclusive,
            lease,
            ..
        } = upstream;
        // More than the response was sent: whose response that is, nobody can tell.
        if exclusive || !buffer.is_empty() {
            return;
        }
        buffer.release(buffers);
        let mut idle = lease.0.idle.borrow_mut();
        if idle.len() < self.idle_per_endpoint {
            idle.push(Idle {
                stream,
                since: Instant::now(),
            });
        }
    }

    fn take_idle(&self, endpoint: &EndpointState) -> Option<Stream> {
        let mut idle = endpoint.idle.borrow_mut();
        while let Some(Idle { stream, since }) = idle.pop() {
            if since.elapsed() < self.idle_limit && stream.is_idle() {
                return Some(stream);
            }
        }
        None
    }

    /// Closes what has been idle for too long, and forgets endpoints that nobody uses. `backends`
    /// is whether to forget those, too, that were not used since it last was.
    pub(crate) fn prune(&self, backends: bool) {
        if backends {
            let mut backends = self.backends.borrow_mut();
            backends.retain(|_, state| state.used.replace(false));
        }
        self.endpoints.borrow_mut().retain(|_, state| {
            let mut idle = state.idle.borrow_mut();
            idle.retain(|idle| idle.since.elapsed() < self.idle_limit && idle.stream.is_idle());
            let http2 = state.http2.get();
            let any_http2 = http2.is_some_and(|connections| connections.prune(self.idle_limit));
            !idle.is_empty() || any_http2 || Rc::strong_count(state) > 1
        });
        self.connector.prune();
    }

    /// Closes every idle connection, and lets those of HTTP/2 end with what is on them.
    pub(crate) fn clear(&self) {
        for state in self.endpoints.borrow().values() {
            state.idle.borrow_mut().clear();
            if let Some(connections) = state.http2.get() {
                connections.clear();
            }
        }
    }
}

impl Upstream {
    fn new(stream: Stream, lease: Lease) -> Self {
        Self {
            stream,
            buffer: Buffer::default(),
            reused: false,
            exclusive: false,
            lease,
        }
    }

    /// One that was idle.
    fn kept(stream: Stream, lease: Lease) -> Self {
        Self {
            reused: true,
            ..Self::new(stream, lease)
        }
    }

    /// It has been told to carry one exchange more, and no other.
    pub(crate) fn end_after(&mut self) {
        self.exclusive = true;
    }

    /// The two directions, and what is known of the endpoint.
    pub(crate) fn split<'a>(
        &'a mut self,
        buffers: &'a BufferPool,
    ) -> (&'a Lease, &'a Stream, Reader<'a>) {
        let reader = Reader::new(&self.stream, &mut self.buffer, buffers, Framing::NONE);
        (&self.lease, &self.stream, reader)
    }
}
