//! The admin address and the health address in the life of a process: bound or inherited, served,
//! left to the next one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use admin::{AdminServer, Pages};
use proxy::Inherited;
use tokio::task::JoinHandle;

use crate::control::Live;
use crate::failure::Failure;

/// The admin address, and the health address where there is one.
#[derive(Debug)]
pub(super) struct Admin {
    admin: Bound,
    health: Option<Bound>,
}

/// One address.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    /// Until it is served.
    server: Option<AdminServer>,
    serving: Option<JoinHandle<()>>,
    /// A second hold of the socket, for the process after this one.
    socket: OwnedFd,
}

impl Admin {
    /// Takes the addresses over from the process before this one, or binds them.
    pub(super) fn open(
        admin: SocketAddr,
        health: Option<SocketAddr>,
        mut inherited: Option<&mut Inherited>,
    ) -> Result<Self, Failure> {
        let mut open = |address, pages| Bound::open(address, pages, inherited.as_deref_mut());
        Ok(Self {
            admin: open(admin, Pages::All)?,
            health: health
                .map(|address| open(address, Pages::Health))
                .transpose()?,
        })
    }

    /// Where the admin address is bound.
    pub(super) fn address(&self) -> SocketAddr {
        self.admin.address
    }

    /// Where the health address is bound.
    pub(super) fn health_address(&self) -> Option<SocketAddr> {
        self.health.as_ref().map(|health| health.address)
    }

    /// Everywhere that is bound.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all().map(|bound| bound.address)
    }

    /// Begins to answer.
    pub(super) fn serve(&mut self, live: &Arc<Live>) {
        for bound in [Some(&mut self.admin), self.health.as_mut()]
            .into_iter()
            .flatten()
        {
            bound.serve(live);
        }
    }

    /// A hold of each socket for another process.
    pub(super) fn share(&self) -> io::Result<Vec<OwnedFd>> {
        self.all().map(|bound| bound.socket.try_clone()).collect()
    }

    /// Leaves them to the process that has taken over. Answers that are under way end.
    pub(super) fn leave(self) {
        for bound in [Some(self.admin), self.health].into_iter().flatten() {
            if let Some(serving) = bound.serving {
                serving.abort();
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = &Bound> {
        std::iter::once(&self.admin).chain(&self.health)
    }
}

impl Bound {
    fn open(
        address: SocketAddr,
        pages: Pages,
        inherited: Option<&mut Inherited>,
    ) -> Result<Self, Failure> {
        let held = inherited.and_then(|inherited| inherited.take(address).pop());
        let server = match held {
            Some(listener) => AdminServer::of(listener, address, pages),
            None => AdminServer::bind(address, pages),
        };
        let server = server.map_err(Failure::new)?;
        let socket = server
            .share()
            .map_err(|error| Failure::new(format!("no more file descriptors: {error}")))?;
        Ok(Self {
            address: server.address(),
            server: Some(server),
            serving: None,
            socket,
        })
    }

    fn serve(&mut self, live: &Arc<Live>) {
        let Some(server) = self.server.take() else {
            return;
        };
        let (live, address) = (Arc::clone(live), self.address);
        self.serving = Some(tokio::spawn(async move {
            if let Err(error) = server.serve(live).await {
                tracing::error!(%error, "{address} is not served");
            }
        }));
    }
}
