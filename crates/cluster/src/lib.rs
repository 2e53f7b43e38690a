//! The Kubernetes API's side: watches in; status, Events and Leases out.

mod clock;
mod election;
mod events;
mod metrics;
mod publish;
mod replicas;
mod status;

pub use metrics::Metrics;
pub use publish::{Identity, Options as PublishOptions, Publisher, Served, View};
pub use replicas::Position;
pub use status::{Address, Classes, Publish};

/// What our writes are known by in `metadata.managedFields`.
const MANAGER: &str = "narthex";
