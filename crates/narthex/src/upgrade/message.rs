//! What is said at a hand-over.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The version of what is said. A running process may be older or newer than the one that takes
/// over: a change that the other side could not understand needs a new number.
pub(super) const PROTOCOL: u32 = 1;

/// The time limit of one step: a message that nothing but the other side's attention stands before.
pub(super) const STEP: Duration = Duration::from_secs(10);

/// How long a new process may take to read, compile and bind everything.
pub(super) const PREPARATION: Duration = Duration::from_secs(120);

/// The most descriptors of one message; the kernel takes 253.
pub(super) const MAX_DESCRIPTORS: usize = 64;

/// The most sockets that are taken over, of all messages together.
pub(super) const MAX_SOCKETS: usize = 16 * 1024;

/// One message. Fields that are not known are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "lowercase")]
pub(super) enum Message {
    /// The new process asks for the sockets. This message stays as it is in every version.
    Hello {
        /// What it speaks.
        protocol: u32,
    },
    /// The old one gives some.
    Sockets {
        /// How many are still to come.
        left: usize,
    },
    /// The new one could accept now.
    Ready {
        /// Where, of TCP. The old one closes the rest itself, so that their queues are seen to.
        kept: Vec<SocketAddr>,
        /// The same of UDP.
        #[serde(default)]
        datagrams: Vec<SocketAddr>,
    },
    /// The old one lets it.
    Go,
    /// The new one accepts.
    Serving,
    /// The old one goes on by itself.
    Refused {
        /// For people.
        reason: String,
    },
}
