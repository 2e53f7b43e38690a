//! A worker's thread: it carries out what the control plane orders, and looks after its worker.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::{Entrance, Layer, Snapshot};
use tokio::sync::{mpsc, oneshot};

use crate::accept::{self, Ending, Listening};
use crate::inherit::Addresses;
use crate::listen::Socket;
use crate::spread::Accepted;
use crate::worker::Worker;

/// How often the log is flushed and idle connections are looked over.
const TICK: Duration = Duration::from_millis(100);

/// What the control plane tells a worker. Each is answered once it is done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Have this configuration ready, to serve it when it is released.
    Prepare(Arc<Snapshot>),
    /// Serve what was released, whether anybody asks or not.
    TakeUp,
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
    Drain { kept: Arc<Addresses> },
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
            Command::Prepare(snapshot) => worker.give(snapshot),
            Command::TakeUp => worker.keep_in_step(),
            Command::Listen { entrance, sockets } => {
                let accepting = sockets
                    .into_iter()
                    .filter_map(|socket| accept::start(&worker, socket, entrance));
                listeners.entry(entrance).or_default().extend(accepting);
            }
            Command::Close { entrance } => {
                let all = listeners.remove(&entrance).unwrap_or_default();
                end(all.into_iter().map(|one| (one, Ending::Close))).await;
            }
            Command::Share(to) => {
                for listening in listeners.values().flatten() {
                    // Whoever asked has gone: then nobody needs it.
                    let _ = to.send(listening.share());
                }
            }
            Command::Drain { kept } => {
                worker.drain();
                let all = listeners.drain().flat_map(|(_, listening)| listening);
                end(all.map(|one| at_the_end(one, &kept))).await;
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

/// How a socket is given up when the process ends: at the addresses that another process keeps it
/// is left to that.
fn at_the_end(listening: Listening, kept: &Addresses) -> (Listening, Ending) {
    let layer = listening.layer();
    let address = listening.address();
    let is_kept = address.is_ok_and(|address| kept.of(layer).contains(&address));
    let ending = match layer {
        _ if is_kept => Ending::Release,
        Layer::Tcp => Ending::Close,
        // Closing it would end its sessions, and have the kernel give others' clients to sockets
        // that do not know them.
        Layer::Udp => Ending::Drain,
    };
    (listening, ending)
}

/// Gives sockets up, all at once.
async fn end(listening: impl Iterator<Item = (Listening, Ending)>) {
    let ending = listening.filter_map(|(listening, ending)| {
        let ended = listening.end(ending);
        // Sessions go on for as long as they like: who ends the process waits for them.
        (ending != Ending::Drain).then_some(ended)
    });
    let ending: Vec<_> = ending.collect();
    for ended in ending {
        // A task that panicked has dropped its socket, too.
        let _ = ended.await;
    }
}
