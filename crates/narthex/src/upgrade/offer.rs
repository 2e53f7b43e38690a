//! The running process's side: it waits for one that takes over.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proxy::Addresses;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::SOCKET;
use super::channel::{Channel, Listener, borrow};
use super::message::{MAX_DESCRIPTORS, Message, PREPARATION, PROTOCOL, STEP};
use crate::state::State;

/// The pause after an error in accepting.
const PAUSE: Duration = Duration::from_millis(500);

/// How many processes are listened to at one time until they have said what they want.
const HEARD: usize = 16;

/// The place where a new process finds this one.
#[derive(Debug)]
pub(crate) struct Offer {
    path: PathBuf,
    listener: Listener,
    /// The file, by device and inode: another process may put its own in its place.
    file: (u64, u64),
}

/// What happens there.
#[derive(Debug)]
pub(crate) enum Event {
    /// A process asks for the listening sockets.
    Asked {
        pid: i32,
        sockets: oneshot::Sender<io::Result<Vec<OwnedFd>>>,
        /// Ends once it has them. A process that ends before has given nothing.
        given: oneshot::Receiver<()>,
    },
    /// It did not take over, for this reason.
    Failed { pid: i32, reason: String },
    /// It serves at these addresses.
    Serving { pid: i32, kept: Addresses },
}

impl Offer {
    /// Opens the place in the state folder. Without one there is none, and a process that uses the
    /// same folder is left its own, unless it has handed over to this one (`is_heir`).
    pub(crate) fn open(state: &State, is_heir: bool) -> Option<Self> {
        let State::Folder(folder) = state else {
            return None;
        };
        let path = folder.join(SOCKET);
        if !is_heir && Channel::connect(&path).is_ok() {
            tracing::warn!(
                folder = %folder.display(),
                "another process serves with this state folder: this one cannot be replaced with \
                 --upgrade; give it a --state-dir of its own"
            );
            return None;
        }
        match Self::put(path) {
            Ok(offer) => Some(offer),
            Err(error) => {
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "this process cannot be replaced with --upgrade"
                );
                None
            }
        }
    }

    /// Puts the socket there at once, so that whoever looks finds this one or the one before.
    fn put(path: PathBuf) -> io::Result<Self> {
        let temporary = path.with_file_name(format!(".{SOCKET}.{}", std::process::id()));
        // Nothing but what a process of the same number left.
        let _ = std::fs::remove_file(&temporary);
        let listener = Listener::bind(&temporary)?;
        let file = identity(&temporary)?;
        std::fs::rename(&temporary, &path)?;
        Ok(Self {
            path,
            listener,
            file,
        })
    }

    /// What to call when this process ends without having been replaced.
    pub(crate) fn withdrawal(&self) -> impl FnOnce() + use<> {
        let (path, file) = (self.path.clone(), self.file);
        move || {
            if identity(&path).is_ok_and(|found| found == file) {
                // A socket that nobody listens at does no harm.
                let _ = std::fs::remove_file(&path);
            }
        }
    }

    /// Listens to all that come, and hands over to one of them at a time.
    pub(crate) async fn run(self, events: mpsc::Sender<Event>) {
        let (hearing, busy) = (Semaphore::new(HEARD), Semaphore::new(1));
        let (hearing, busy) = (Arc::new(hearing), Arc::new(busy));
        // Nobody closes it.
        while let Ok(place) = Arc::clone(&hearing).acquire_owned().await {
            let channel = match self.listener.accept().await {
                Ok(channel) => channel,
                Err(error) => {
                    tracing::debug!(%error, "no new process can be heard");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (busy, events) = (Arc::clone(&busy), events.clone());
            // Whoever says nothing holds nobody else up.
            tokio::spawn(async move {
                tokio::select! {
                    () = converse(&channel, place, busy, &events) => {}
                    // This process ends. The other side sees that nobody answers any more.
                    () = events.closed() => {}
                }
            });
        }
    }
}

/// Hears what one process wants, and hands over to it if nobody else is at that.
async fn converse(
    channel: &Channel,
    place: OwnedSemaphorePermit,
    busy: Arc<Semaphore>,
    events: &mpsc::Sender<Event>,
) {
    let pid = match hear(channel).await {
        Ok(pid) => pid,
        Err(error) => {
            tracing::debug!(%error, "no process to hand over to");
            return;
        }
    };
    drop(place);
    let Ok(_permit) = busy.try_acquire_owned() else {
        refuse(channel, "another hand-over is under way").await;
        return;
    };
    let handed_over = async {
        give(channel, pid, events).await?;
        follow(channel).await
    };
    let event = match handed_over.await {
        Ok(kept) => Event::Serving { pid, kept },
        Err(error) => {
            let reason = reason(&error);
            refuse(channel, &reason).await;
            Event::Failed { pid, reason }
        }
    };
    // The control plane is gone only with the process.
    let _ = events.send(event).await;
}

/// A process of this user that speaks as we do.
async fn hear(channel: &Channel) -> io::Result<i32> {
    let pid = channel.peer()?;
    match channel.receive(STEP).await? {
        (Message::Hello { protocol: PROTOCOL }, _) => Ok(pid),
        (Message::Hello { protocol }, _) => {
            let reason = format!(
                "the running process speaks version {PROTOCOL} of the hand-over, the new one \
                 {protocol}: stop the one, then start the other"
            );
            refuse(channel, &reason).await;
            Err(io::Error::other(reason))
        }
        _ => Err(unexpected()),
    }
}

/// Gives the sockets.
async fn give(channel: &Channel, pid: i32, events: &mpsc::Sender<Event>) -> io::Result<()> {
    let gone = || io::Error::other("the running process is ending");
    let (to, sockets) = oneshot::channel();
    let (_until_given, given) = oneshot::channel();
    let asked = Event::Asked {
        pid,
        sockets: to,
        given,
    };
    events.send(asked).await.map_err(|_| gone())?;
    let sockets = sockets.await.map_err(|_| gone())??;
    let mut left = sockets.len();
    for some in sockets.chunks(MAX_DESCRIPTORS) {
        left -= some.len();
        let message = Message::Sockets { left };
        channel.send(&message, &borrow(some)).await?;
    }
    Ok(())
}

/// The rest, until the new process accepts.
async fn follow(channel: &Channel) -> io::Result<Addresses> {
    let (Message::Ready { kept, datagrams }, _) = channel.receive(PREPARATION).await? else {
        return Err(unexpected());
    };
    channel.send(&Message::Go, &[]).await?;
    // With the word given, only its end takes it back.
    match channel.receive(PREPARATION).await? {
        (Message::Serving, _) => Ok(Addresses {
            tcp: kept,
            udp: datagrams,
        }),
        _ => Err(unexpected()),
    }
}

async fn refuse(channel: &Channel, reason: &str) {
    let reason = reason.to_owned();
    // Whoever is not there any more needs no reason.
    let _ = channel.send(&Message::Refused { reason }, &[]).await;
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message out of order")
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended before it was ready".to_owned(),
        io::ErrorKind::TimedOut => "it was not ready in time".to_owned(),
        _ => error.to_string(),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
