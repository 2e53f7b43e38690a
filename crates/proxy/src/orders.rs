//! A worker's thread: it carries out what the control plane orders, and looks after its worker.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::Snapshot;
use tokio::sync::{mpsc, oneshot};

use crate::accept::{self, Listening};
use crate::worker::Worker;

/// How often the log is flushed and idle connections are looked over.
const TICK: Duration = Duration::from_millis(100);

/// What the control plane tells a worker. Each is answered once it is done.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve this configuration from the next request on.
    Publish(Arc<Snapshot>),
    /// Accept on these sockets, for the listener of this port.
    Listen {
        port: u16,
        sockets: Vec<std::net::TcpListener>,
    },
    /// Stop accepting for a port; its connections live on.
    Close { port: u16 },
    /// Stop accepting, and let every connection end after its request.
    Drain,
    /// End.
    Stop,
}

/// A command, and where its end is reported.
pub(crate) type Order = (Command, oneshot::Sender<()>);

/// Runs a worker until it is told to stop.
pub(crate) async fn run(worker: Rc<Worker>, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut listeners: HashMap<u16, Vec<Listening>> = HashMap::new();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
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
            Command::Listen { port, sockets } => {
                let accepting = sockets
                    .into_iter()
                    .filter_map(|socket| accept::start(&worker, socket, port));
                listeners.entry(port).or_default().extend(accepting);
            }
            Command::Close { port } => {
                close(listeners.remove(&port).unwrap_or_default()).await;
            }
            Command::Drain => {
                worker.drain();
                close(listeners.drain().flat_map(|(_, listening)| listening)).await;
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

/// Closes sockets, all at once.
async fn close(listening: impl IntoIterator<Item = Listening>) {
    let closing: Vec<_> = listening.into_iter().map(Listening::close).collect();
    for closed in closing {
        // A task that panicked has closed its socket, too.
        let _ = closed.await;
    }
}
