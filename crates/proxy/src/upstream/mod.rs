//! Connections to endpoints, and what is known of them, kept by each worker for itself.

pub(crate) mod balance;
mod endpoint;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use model::{Backend, Endpoint};
use tokio::net::TcpStream;

use crate::buffer::{Buffer, BufferPool};
use crate::io::Stream;
use crate::timer::Timer;
use balance::BackendState;
pub(crate) use endpoint::EndpointState;

/// One worker's connections.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoints: RefCell<HashMap<u64, Rc<EndpointState>>>,
    backends: RefCell<HashMap<u64, Rc<BackendState>>>,
    idle_per_endpoint: usize,
    idle_limit: Duration,
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

impl Pool {
    pub(crate) fn new(idle_per_endpoint: usize, idle_limit: Duration) -> Self {
        Self {
            endpoints: RefCell::default(),
            backends: RefCell::default(),
            idle_per_endpoint,
            idle_limit,
        }
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

impl Upstream {
    /// Notes that the head of the response came, so long after the request began to be sent.
    pub(crate) fn answered(&self, took: Duration, status: u16, begin: Instant) {
        match status {
            // Whose answer is that it cannot answer is not quick.
            502..=504 => self.lease.0.penalize(took, begin + took),
            _ => self.lease.0.answered(took, begin + took),
        }
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
