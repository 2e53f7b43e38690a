//! Kubernetes objects in, what the proxy is told to do out: a pure function without I/O or clock.
//!
//! In: an [`objects::Store`]. Out: a [`model::Snapshot`] for the data plane and a [`Report`] for
//! people. Three steps, each its own type: *parsed* (one Ingress's own values, every error
//! collected), *resolved* (with its class, Services and Secrets found), *compiled* (one host's
//! router out of every Ingress that names it).
//!
//! A [`Compiler`] remembers the parts of its last compilation and reuses those whose inputs are
//! the same objects: one route's change rebuilds one host, and a pod's coming and going rebuilds
//! nothing but one [`Backend`](model::Backend)'s list of endpoints.
//!
//! What does not belong here: reading manifests, resolving names, deciding anything per request.

mod certificates;
mod compiler;
mod config_map;
mod gateway;
mod hosts;
mod ingress;
mod issuance;
mod migration;
mod name;
mod on_demand;
mod options;
mod preview;
mod references;
mod report;
mod seen;
mod service;
pub mod status;
mod stream_services;
mod suggest;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tickets;

pub use compiler::{Compiled, Compiler};
pub use config_map::markdown as config_map_page;
pub use gateway::{
    DATA_PLANE_LABEL, DedicatedPlan, GATEWAY_LABEL, GatewayPlan, MANAGED_BY, PlannedPort, Provider,
    Quantity, ServiceType, Share, label_value,
};
pub use ingress::annotations::table::{Risk, markdown as annotations_page};
pub use issuance::{
    AcmeIssuer, CertificateWish, DnsProvider, IssuerKey, IssuerPlan, KeyAlgorithm, SolverPlan,
    Terms, Tsig, Usage, Way,
};
pub use migration::{
    Fate, Host, Inventory, Item, Migration, Path, Place, Surprise, Verdict, migration,
};
pub use on_demand::OnDemand;
pub use options::{CertificateOptions, EndpointOverride, GatewayPorts, GatewayScope, Options};
pub use preview::{Foreseen, Ownership, Preview, preview};
pub use report::{ByObject, Counts, ObjectReport, Report};
