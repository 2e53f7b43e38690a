//! Who comes after this process.

use std::io;
use std::os::fd::OwnedFd;

use proxy::{Addresses, Proxy};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::admin_address::Admin;
use crate::state::State;
use crate::upgrade::{Event, Offer};

/// Processes that want to take over.
pub(super) struct Heirs {
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    waiting: Option<Waiting>,
}

struct Waiting {
    task: JoinHandle<()>,
    withdraw: Box<dyn FnOnce() + Send>,
}

impl Heirs {
    /// Nobody is waited for yet.
    pub(super) fn new() -> Self {
        let (sender, events) = mpsc::channel(1);
        Self {
            sender,
            events,
            waiting: None,
        }
    }

    /// Waits for them in the state folder, if there is one. `is_heir` if this process has taken
    /// over there itself.
    pub(super) fn wait(&mut self, state: &State, is_heir: bool) {
        self.waiting = Offer::open(state, is_heir).map(|offer| Waiting {
            withdraw: Box::new(offer.withdrawal()),
            task: tokio::spawn(offer.run(self.sender.clone())),
        });
    }

    /// What the next one does. Cancel safe.
    pub(super) async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // Not with a sender of our own.
            None => std::future::pending().await,
        }
    }

    /// Hands over to nobody any more. A hand-over that is under way is cut, and the new process
    /// sees that it need not wait.
    pub(super) fn disinherit(self) {
        if let Some(waiting) = self.waiting {
            (waiting.withdraw)();
            waiting.task.abort();
        }
    }
}

/// Every listening socket, for another process.
pub(super) async fn share(proxy: &Proxy, admin: &Admin) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = proxy.share().await?;
    sockets.extend(admin.share()?);
    Ok(sockets)
}

/// The addresses whose queues must be left alone when a signal ends this process: all of them, if
/// another process is about to take over.
pub(super) fn kept_at_end(proxy: &Proxy) -> Addresses {
    if proxy.is_shared() {
        tracing::info!("the ports are left to the process that is taking over");
        return proxy.addresses();
    }
    Addresses::default()
}
