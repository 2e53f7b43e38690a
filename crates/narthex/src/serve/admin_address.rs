//! The admin address in the life of a process: bound or inherited, served, left to the next one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use admin::AdminServer;
use proxy::Inherited;
use tokio::task::JoinHandle;

use crate::control::Live;
use crate::failure::Failure;

/// The admin address.
#[derive(Debug)]
pub(super) struct Admin {
    address: SocketAddr,
    /// Until it is served.
    server: Option<AdminServer>,
    serving: Option<JoinHandle<()>>,
    /// A second hold of the socket, for the process after this one.
    socket: OwnedFd,
}

impl Admin {
    /// Takes the address over from the process before this one, or binds it.
    pub(super) fn open(
        address: SocketAddr,
        inherited: Option<&mut Inherited>,
    ) -> Result<Self, Failure> {
        let held = inherited.and_then(|inherited| inherited.take(address).pop());
        let server = match held {
            Some(listener) => AdminServer::of(listener, address),
            None => AdminServer::bind(address),
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

    /// Where it is bound.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to answer.
    pub(super) fn serve(&mut self, live: &Arc<Live>) {
        let Some(server) = self.server.take() else {
            return;
        };
        let live = Arc::clone(live);
        self.serving = Some(tokio::spawn(async move {
            if let Err(error) = server.serve(live).await {
                tracing::error!(%error, "the admin address is not served");
            }
        }));
    }

    /// A hold of the socket for another process.
    pub(super) fn share(&self) -> std::io::Result<OwnedFd> {
        self.socket.try_clone()
    }

    /// Leaves it to the process that has taken over. Answers that are under way end.
    pub(super) fn leave(self) {
        if let Some(serving) = self.serving {
            serving.abort();
        }
    }
}
