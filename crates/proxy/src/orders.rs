//! A worker's thread: it carries out what the control plane orders, and looks after its worker.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{Entrance, Layer, Snapshot};
use tokio::sync::{mpsc, oneshot};

use crate::accept::{self, Ending, Listening};
use crate::listen::Socket;
use crate::spread::Accepted;
use crate::worker::Worker;

/// How often the log is flushed and idle connections are looked over.
const TICK: Duration = Duration::from_millis(100);

/// What the control plane tells a worker. Each is answered once it is done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this configuration from the next request on.
    Publish(Arc<Snapshot>),
    /// Accept on these sockets, for the listener of this entrance.
    Listen {
        entrance: Entrance,
        sockets: Vec<Socket>,
    },
    /// Stop accepting for an entrance; its connections live on.
    Close { entrance: Entrance },
    /// Give a second hold of every listening socket, for another process.
    Share(mpsc::UnboundedSender<io::Result<OwnedFd>>),
    /// Stop accepting, and let every connection end after its request. Another process accepts
    /// from now on at the addresses that are named.
    Drain { kept: Arc<[SocketAddr]> },
    /// End.
    Stop,
}

/// A command, and where its end is reported.
pub(crate) type Order = (Command, oneshot::Sender<()>);

/// Runs a worker until it is told to stop. `handed` are connections that others accepted for it.
pub(crate) async fn run(
    worker: Rc<Worker>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    mut handed: mpsc::Receiver<Accepted>,
) {
    let mut listeners: HashMap<Entrance, Vec<Listening>> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            Some(accepted) = handed.recv() => {
                accept::take(&worker, accepted);
                continue;
            }
            _ = tick.tick() => {
                worker.log.flush();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(20) {
                    worker.upstreams.prune(ticks.is_multiple_of(600));
                }
                continue;
            }
        };
        let Some((command, done)) = order else { break };
        match command {
            Command::Publish(snapshot) => worker.serve(snapshot),
            Command::Listen { entrance, sockets } => {
                let accepting = sockets
                    .into_iter()
                    .filter_map(|socket| accept::start(&worker, socket, entrance));
                listeners.entry(entrance).or_default().extend(accepting);
            }
            Command::Close { entrance } => {
                end(listeners.remove(&entrance).unwrap_or_default(), &[]).await;
            }
            Command::Share(to) => {
                // Sockets of UDP have no queue of clients that take themselves for connected: the
                // other process opens its own.
                let connected = listeners.iter().filter(|(at, _)| at.layer == Layer::Tcp);
                for listening in connected.flat_map(|(_, listening)| listening) {
                    // Whoever asked has gone: then nobody needs it.
                    let _ = to.send(listening.share());
                }
            }
            Command::Drain { kept } => {
                worker.drain();
                let all = listeners.drain().flat_map(|(_, listening)| listening);
                end(all, &kept).await;
            }
            Command::Stop => {
                worker.log.flush();
                // Nobody waits for an answer that does not come.
                let _ = done.send(());
                break;
            }
        }
        let _ = done.send(());
    }
}

/// Gives sockets up, all at once: those at the addresses that another process keeps are left to it,
/// the others are closed.
async fn end(listening: impl IntoIterator<Item = Listening>, kept: &[SocketAddr]) {
    let end = |listening: Listening| {
        let is_kept = listening
            .address()
            .is_ok_and(|address| kept.contains(&address));
        listening.end(if is_kept {
            Ending::Release
        } else {
            Ending::Close
        })
    };
    let ending: Vec<_> = listening.into_iter().map(end).collect();
    for ended in ending {
        // A task that panicked has dropped its socket, too.
        let _ = ended.await;
    }
}
