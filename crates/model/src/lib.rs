//! What the proxy is told to do, as immutable data, and how a request is matched against it.
//!
//! In: what `compile` built. Out: for a request, the [`Rule`] that answers it. There is no I/O
//! here, no clock and no Kubernetes type. What changes under a published [`Snapshot`] is a
//! [`Backend`]'s slot of endpoints, so that a pod's coming and going rebuilds no route, and an
//! [`Endpoint`]'s health.

pub mod access_log;
pub mod address;
pub mod backend;
pub mod canary;
pub mod certificate;
pub mod clients;
pub mod condition;
pub mod endpoint;
pub mod endpoint_set;
pub mod filter;
#[cfg(test)]
mod fuzz;
pub mod host;
pub mod listener;
pub mod maglev;
pub mod path;
mod pcre;
pub mod policy;
pub mod route;
mod router;
mod shards;
pub mod snapshot;
pub mod split;
pub mod stream;
pub mod suite;
pub mod text;
pub mod ticket;
pub mod told;
pub mod tracing;
pub mod transport;
pub mod tuning;

pub use access_log::AccessLogs;
pub use address::AddressSet;
pub use backend::{Backend, Unavailable};
pub use canary::Canary;
pub use certificate::{Certificate, CertificateSet, CertificateTable, Challenges, Staple, Suites};
pub use clients::{ClientAuth, ClientPolicy};
pub use condition::{Conditions, FieldMatch, Pattern, RequestView, ValueMatch};
pub use endpoint::Endpoint;
pub use endpoint_set::{EndpointSet, Member};
pub use filter::{Filter, HttpsRedirect};
pub use host::{HostName, HostTable};
pub use listener::{
    Entrance, HttpSites, HttpsSite, Layer, Listener, Selection, Service, Site, TlsSite, TlsSites,
    TlsStreams,
};
pub use path::NormalPath;
pub use policy::Policy;
pub use route::{Action, ConnectionHeader, Extras, PathMatch, Rule, Timeouts};
pub use router::PathRouter;
pub use snapshot::{Snapshot, VirtualHost};
pub use split::{Share, Split, Target};
pub use stream::Stream;
pub use ticket::{TicketKey, TicketKeys};
pub use told::{Blocked, FieldNames, Told};
pub use tracing::{Ratio, Sampler, Traced, Tracing};
pub use transport::{BackendTls, HttpVersion, Transport};
pub use tuning::{Forwarding, Groups, TlsTuning, Tuning};
