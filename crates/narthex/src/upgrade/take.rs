//! The new process's side: it takes over from the one that runs.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use proxy::{Addresses, Inherited};

use super::SOCKET;
use super::channel::Channel;
use super::message::{MAX_SOCKETS, Message, PROTOCOL, STEP};
use crate::failure::Failure;
use crate::state::State;

/// How long a process that ends may take to close its ports.
const CLOSING: Duration = Duration::from_secs(1);

/// A hand-over that is under way.
#[derive(Debug)]
pub(crate) struct TakeOver {
    channel: Channel,
    pid: i32,
}

/// Asks the process that serves with this state folder for its listening sockets. `None` where
/// there is none.
///
/// # Errors
/// If there is one, and it does not give them.
pub(crate) async fn take_over(state: &State) -> Result<Option<(TakeOver, Inherited)>, Failure> {
    let State::Folder(folder) = state else {
        return Err(Failure::new(
            "--upgrade finds the running process by its state folder: give both the same \
             --state-dir, which they can write",
        ));
    };
    let path = folder.join(SOCKET);
    let channel = match Channel::connect(&path) {
        Ok(channel) => channel,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    tracing::info!("no process to take over from: starting as usual");
                    Ok(None)
                }
                _ => Err(failure(&path.display(), &error)),
            };
        }
    };
    let asked = async {
        let pid = channel.peer()?;
        let inherited = Inherited::new(ask(&channel).await?)?;
        io::Result::Ok((pid, inherited))
    };
    let (pid, inherited) = match asked.await {
        Ok(taken) => taken,
        Err(error) if is_end(&error) => {
            tracing::warn!(
                "the running process is ending: starting as usual once it has closed its ports"
            );
            tokio::time::sleep(CLOSING).await;
            return Ok(None);
        }
        Err(error) => return Err(failure(&path.display(), &error)),
    };
    tracing::info!(
        pid,
        sockets = inherited.len(),
        "taking over from the running process"
    );
    Ok(Some((TakeOver { channel, pid }, inherited)))
}

async fn ask(channel: &Channel) -> io::Result<Vec<OwnedFd>> {
    let hello = Message::Hello { protocol: PROTOCOL };
    channel.send(&hello, &[]).await?;
    let mut sockets = Vec::new();
    loop {
        let (message, some) = channel.receive(STEP).await?;
        let left = match message {
            Message::Sockets { left } => left,
            Message::Refused { reason } => return Err(io::Error::other(reason)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        sockets.extend(some);
        if sockets.len() > MAX_SOCKETS {
            return Err(io::Error::other("more sockets than there can be"));
        }
        if left == 0 {
            return Ok(sockets);
        }
    }
}

impl TakeOver {
    /// Says that everything is prepared, and waits for the word. If the old process has ended by
    /// itself, the sockets are ours all the same.
    ///
    /// # Errors
    /// If it goes on by itself.
    pub(crate) async fn ready(&self, kept: Addresses) -> Result<(), Failure> {
        let pid = self.pid;
        // Where that fails, the answer may still be there to read.
        let ready = Message::Ready {
            kept: kept.tcp,
            datagrams: kept.udp,
        };
        let _ = self.channel.send(&ready, &[]).await;
        match self.channel.receive(STEP).await {
            Ok((Message::Go, _)) => Ok(()),
            Ok((Message::Refused { reason }, _)) => Err(Failure::new(format!(
                "the running process {pid} does not hand over: {reason}"
            ))),
            Err(error) if is_end(&error) => {
                tracing::warn!(pid, "the process that was to hand over has ended by itself");
                Ok(())
            }
            Ok(_) => Err(Failure::new(format!(
                "the running process {pid} says what it must not at a hand-over"
            ))),
            Err(error) => Err(Failure::new(format!(
                "the running process {pid} does not hand over: {error}"
            ))),
        }
    }

    /// Says that this process accepts: the old one ends from here on.
    pub(crate) async fn serving(self) {
        if let Err(error) = self.channel.send(&Message::Serving, &[]).await {
            tracing::debug!(pid = self.pid, %error, "the process before has ended by itself");
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
    )
}

fn failure(path: &impl std::fmt::Display, error: &io::Error) -> Failure {
    Failure::new(format!(
        "the process that waits at {path} does not hand over: {error}"
    ))
}
