//! Replacing the process without losing a connection.
//!
//! The running process waits at a Unix socket in the state folder. A new one, started with
//! `--upgrade`, is given its listening sockets there, each with the connections that wait in its
//! queue, and prepares everything; only when it accepts does the old one stop accepting, and end
//! once what it has under way has ended. Whatever goes wrong before that leaves the old one as it
//! was.
//!
//! | new | old | |
//! | --- | --- | --- |
//! | `Hello` | | the protocol's version |
//! | | `Sockets` | one or more messages, each with descriptors |
//! | `Ready` | | everything is compiled and bound; at which addresses it goes on |
//! | | `Go` | nothing is lost if the new one ends before this |
//! | `Serving` | | it accepts; the old one stops accepting |
//!
//! `Refused` may come instead of any of the old one's messages. The socket is the user's own
//! (0600), and both sides look at the other's user id as the kernel tells it. One hand-over at a
//! time; every message has a bounded size and every step a time limit.

mod channel;
mod message;
mod offer;
mod take;

pub(crate) use offer::{Event, Offer};
pub(crate) use take::take_over;

/// The socket's name in the state folder.
const SOCKET: &str = "upgrade.sock";
