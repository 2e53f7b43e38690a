//! HTTP/2 to endpoints (RFC 9113), by the `h2` crate: few connections, many streams on each.
//!
//! A worker keeps a list of connections for each endpoint. A stream goes to the first that has
//! room for it; where none has, another connection is opened, one at a time and up to a limit;
//! beyond that, requests wait for room as long as for a connection. A connection leaves the list
//! once it is dead, or its other end wants no more streams; what is under way on it goes on.

mod connection;
mod stream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::Lease;
use crate::io::Stream;
use crate::settings::UpstreamHttp2;
use connection::Connection;
pub(crate) use stream::{Http2Stream, Opened};

/// One worker's connections to one endpoint.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    opening: Cell<bool>,
    /// The endpoint was left the choice, and took HTTP/1.
    http1: Cell<bool>,
    /// There may be room where there was none.
    changed: Notify,
}

impl Connections {
    /// A stream on a connection that has room for it.
    pub(super) fn take(&self, lease: &Lease, settings: &UpstreamHttp2) -> Option<Http2Stream> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.takes_streams());
        let connection = open
            .iter()
            .find(|connection| connection.has_room(settings.streams))?;
        connection.doubt(settings.ping_after);
        Some(Http2Stream::new(connection, lease.again()))
    }

    /// Whether the endpoint, left the choice, took HTTP/1 the last time.
    pub(super) fn prefers_http1(&self) -> bool {
        self.http1.get()
    }

    /// The right to open one connection more, if there may be one. Those of HTTP/1 are opened as
    /// they are needed.
    pub(super) fn may_open(&self, settings: &UpstreamHttp2) -> Option<Opening<'_>> {
        let most = settings.connections.max(1);
        let full = self.opening.get() || self.open.borrow().len() >= most;
        if full && !self.http1.get() {
            return None;
        }
        self.opening.set(true);
        Some(Opening(self))
    }

    /// Whether a connection is being opened.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.get()
    }

    /// Waits until there may be room.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Forgets connections that are dead, or have been without a stream for too long. Whether
    /// there are others.
    pub(super) fn prune(&self, idle_limit: Duration) -> bool {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| connection.takes_streams() && !connection.is_idle(idle_limit));
        !open.is_empty()
    }

    /// Lets every connection end with the last stream on it.
    pub(super) fn clear(&self) {
        self.open.borrow_mut().clear();
    }

    fn room(&self) {
        self.changed.notify_one();
    }
}

/// The right to open a connection.
#[derive(Debug)]
pub(super) struct Opening<'a>(&'a Connections);

impl Opening<'_> {
    /// Notes that the endpoint took HTTP/1.
    pub(super) fn settle_for_http1(self) {
        self.0.http1.set(true);
    }

    /// Begins to speak HTTP/2, which waits for nothing.
    pub(super) async fn begin(
        self,
        stream: Stream,
        lease: &Lease,
        settings: &UpstreamHttp2,
    ) -> Option<Http2Stream> {
        self.0.http1.set(false);
        let connection = Connection::begin(stream, settings).await?;
        let taken = Http2Stream::new(&connection, lease.again());
        self.0.open.borrow_mut().push(connection);
        Some(taken)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.changed.notify_waiters();
    }
}
