//! A registry beside `narthex serve`, in threads of its own: what is pushed and pulled costs the
//! control plane nothing.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::Plan;
use super::running::{Metrics, Running, Unready};
use crate::failure::Failure;

/// How often storage and address are tried that the process before this one still has.
const AGAIN: Duration = Duration::from_millis(200);

/// A registry in threads of its own.
#[derive(Debug)]
pub(crate) struct Beside {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Beside {
    /// Opens and serves it. Where another process is being replaced, it begins once that has ended
    /// its own.
    pub(crate) fn start(
        plan: Plan,
        replaces: bool,
        registry: &mut Registry,
    ) -> Result<Self, Failure> {
        let metrics = Metrics::register(registry);
        let (end, mut ended) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::Builder::new().name("narthex-registry".to_owned());
        let thread = thread.spawn(move || {
            let runtime = match super::runtime() {
                Ok(runtime) => runtime,
                Err(failure) => {
                    let _ = ready.send(Err(failure));
                    return;
                }
            };
            runtime.block_on(async move {
                let running = loop {
                    match Running::open(&plan, metrics.clone()).await {
                        Ok(running) => break running,
                        Err(Unready::Taken(_)) if replaces => {
                            let _ = ready.send(Ok(()));
                            tokio::select! {
                                () = tokio::time::sleep(AGAIN) => {}
                                _ = &mut ended => return,
                            }
                        }
                        Err(unready) => {
                            let _ = ready.send(Err(unready.into()));
                            return;
                        }
                    }
                };
                let (address, place) = (running.address(), &plan.place);
                tracing::info!("images of {place} are served at {address}");
                let _ = ready.send(Ok(()));
                // Also where nobody is left to say it.
                running.serve(async { drop(ended.await) }).await;
            });
            runtime.shutdown_background();
        });
        let thread = thread.map_err(|error| Failure::new(format!("no thread: {error}")))?;
        match is_ready.recv() {
            Ok(Ok(())) => Ok(Self { end, thread }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::new("the registry has not begun")),
        }
    }

    /// Takes no more, and ends when what is under way has ended.
    pub(crate) fn end(self) -> JoinHandle<()> {
        // A thread that has ended needs no word.
        let _ = self.end.send(());
        self.thread
    }
}
