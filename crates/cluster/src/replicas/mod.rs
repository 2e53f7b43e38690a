//! Which replicas there are, and what each of them serves.
//!
//! Each keeps a Lease `<election-id>-<pod>` while it is ready, renewed every few seconds, and at
//! most once a second when it serves something newer. A replica is live while it is ready and was
//! renewed within 15 s, as seen here: one that is stopped blocks nobody for longer.

mod listening;
mod others;
mod own;
mod place;
mod position;

pub(crate) use listening::{Listening, hash};
pub(crate) use place::ask as ask_for_addresses;
pub use position::Position;
pub(crate) use position::parse_version;

pub(crate) use others::{Others, Replica};
pub(crate) use own::Own;

use std::time::Duration;

/// The label of replicas' Leases; its value is the election's id.
pub(crate) const LABEL: &str = "narthex.dev/replica-of";

/// The annotation that tells what a replica serves.
pub(crate) const SERVED: &str = "narthex.dev/served-resource-version";

/// The annotation that tells which node a replica is on.
const NODE: &str = "narthex.dev/node";

/// The annotation that tells by which addresses a replica is reached.
const ADDRESSES: &str = "narthex.dev/addresses";

/// The annotation that tells which ports of Gateways a replica listens on.
const LISTENING: &str = "narthex.dev/gateway-ports";

/// How long a replica that is not renewed is waited for.
const LIVE: Duration = Duration::from_secs(15);

/// How often a replica renews its Lease where nothing changes.
const RENEW: Duration = Duration::from_secs(5);

/// How soon it may be renewed again because something has changed.
const CHANGED: Duration = Duration::from_secs(1);
