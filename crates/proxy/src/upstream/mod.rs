//! Connections to endpoints, kept by each worker for itself.

pub(crate) mod balance;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::Endpoint;
use tokio::net::TcpStream;

use crate::buffer::{Buffer, BufferPool};
use crate::io::Stream;
use crate::timer::Timer;

/// One worker's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoints: RefCell<HashMap<u64, Rc<EndpointState>>>,
    idle_per_endpoint: usize,
    idle_limit: Duration,
}

/// What one worker knows of an endpoint.
#[derive(Debug)]
pub(crate) struct EndpointState {
    endpoint: Arc<Endpoint>,
    idle: RefCell<Vec<Idle>>,
    in_flight: Cell<u32>,
}

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
    pub(crate) reused: bool,
    lease: Lease,
}

/// Counts an exchange at its endpoint for as long as it lasts.
#[derive(Debug)]
struct Lease(Rc<EndpointState>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0
            .in_flight
            .set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectError {
    Failed,
    Timeout,
}

impl EndpointState {
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    pub(crate) fn id(&self) -> u64 {
        self.endpoint.id
    }

    /// The exchanges that this worker has there now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.get()
    }
}

impl Pool {
    pub(crate) fn new(idle_per_endpoint: usize, idle_limit: Duration) -> Self {
        Self {
            endpoints: RefCell::default(),
            idle_per_endpoint,
            idle_limit,
        }
    }

    /// What this worker knows of an endpoint.
    pub(crate) fn state(&self, endpoint: &Arc<Endpoint>) -> Rc<EndpointState> {
        let mut endpoints = self.endpoints.borrow_mut();
        let state = endpoints.entry(endpoint.id).or_insert_with(|| {
            Rc::new(EndpointState {
                endpoint: Arc::clone(endpoint),
                idle: RefCell::default(),
                in_flight: Cell::new(0),
            })
        });
        Rc::clone(state)
    }

    /// A connection to an endpoint: the one used last, unless it is to be fresh, or a new one.
    pub(crate) async fn connect(
        &self,
        endpoint: Rc<EndpointState>,
        fresh: bool,
        limit: Duration,
    ) -> Result<Upstream, ConnectError> {
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        let lease = Lease(endpoint);
        if !fresh && let Some(stream) = self.take_idle(&lease.0) {
            return Ok(Upstream {
                stream,
                buffer: Buffer::default(),
                reused: true,
                lease,
            });
        }
        let connect = TcpStream::connect(lease.0.address());
        let connected = Timer::default().limit(limit, connect).await;
        let socket = connected
            .map_err(|_| ConnectError::Timeout)?
            .map_err(|_| ConnectError::Failed)?;
        // Without it, the last piece of a body could wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        Ok(Upstream {
            stream: socket.into(),
            buffer: Buffer::default(),
            reused: false,
            lease,
        })
    }

    /// Keeps a connection for the next exchange, if nothing is left on it.
    pub(crate) fn keep(&self, upstream: Upstream, buffers: &BufferPool) {
        let Upstream {
            stream,
            mut buffer,
            lease,
            ..
        } = upstream;
        // More than the response was sent: whose response that is, nobody can tell.
        if !buffer.is_empty() {
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

    /// Closes what has been idle for too long, and forgets endpoints that nobody uses.
    pub(crate) fn prune(&self) {
        self.endpoints.borrow_mut().retain(|_, state| {
            let mut idle = state.idle.borrow_mut();
            idle.retain(|idle| idle.since.elapsed() < self.idle_limit && idle.stream.is_idle());
            !idle.is_empty() || Rc::strong_count(state) > 1
        });
    }

    /// Closes every idle connection.
    pub(crate) fn clear(&self) {
        for state in self.endpoints.borrow().values() {
            state.idle.borrow_mut().clear();
        }
    }
}

impl Upstream {
    /// The two directions.
    pub(crate) fn split(&mut self) -> (&Stream, Receiving<'_>) {
        (
            &self.stream,
            Receiving {
                stream: &self.stream,
                buffer: &mut self.buffer,
            },
        )
    }
}

/// What a response is read from.
pub(crate) trait Receive {
    fn receive(&mut self) -> (&Stream, &mut Buffer);
}

/// The direction from the endpoint.
pub(crate) struct Receiving<'a> {
    stream: &'a Stream,
    buffer: &'a mut Buffer,
}

impl Receive for Receiving<'_> {
    fn receive(&mut self) -> (&Stream, &mut Buffer) {
        (self.stream, self.buffer)
    }
}

impl Receive for Upstream {
    fn receive(&mut self) -> (&Stream, &mut Buffer) {
        (&self.stream, &mut self.buffer)
    }
}
