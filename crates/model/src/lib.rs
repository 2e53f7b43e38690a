//! What the proxy is told to do, as immutable data, and how a request is matched against it.
//!
//! In: what `compile` built. Out: for a request, the [`Rule`] that answers it. There is no I/O
//! here, no clock and no Kubernetes type. The one thing that changes under a published
//! [`Snapshot`] is a [`Backend`]'s slot of endpoints, so that a pod's coming and going rebuilds
//! no route.

pub mod backend;
pub mod certificate;
#[cfg(test)]
mod fuzz;
pub mod host;
pub mod path;
pub mod route;
mod router;
pub mod snapshot;

pub use backend::{Backend, Endpoint, EndpointSet, Unavailable};
pub use certificate::{Certificate, CertificateSet, CertificateTable};
pub use host::{HostName, HostTable};
pub use path::NormalPath;
pub use route::{Action, Filter, HttpsRedirect, PathMatch, Rule, Timeouts};
pub use router::PathRouter;
pub use snapshot::{Listener, Protocol, Selection, Snapshot, VirtualHost};
