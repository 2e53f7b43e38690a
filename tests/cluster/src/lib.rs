//! What the tests against a real Kubernetes stand on: clusters that start in seconds and end with
//! their test, kubectl, doors to addresses inside, Narthex in the cluster's network, and faults.
//!
//! In comes the rig (`RIG_BIN`, or `target/cluster/bin`, both built by `cargo xtask cluster build`),
//! out go assertions over real sockets. Nothing of the product's own crates is used here; a few
//! tests use them against the API server itself. Clients for HTTP, TLS and so on are those of the
//! whole-program tests, through a [`Cluster::door`].

#![allow(
    missing_docs,
    reason = "helpers of tests, named for how the tests read"
)]
#![allow(
    clippy::missing_panics_doc,
    reason = "a helper that fails ends its test, which is its purpose"
)]

pub mod acme;
pub mod chart;
mod cluster;
pub mod conformance;
pub mod crowd;
mod door;
mod faults;
mod gateway;
pub mod ingress;
mod inside;
mod kubectl;
pub mod outage;
mod process;
mod registry;
mod shell;
pub mod storm;
pub mod wait;

pub use cluster::{Cluster, Setup, rig};
pub use gateway::{Channel, condition};
pub use inside::{Inside, Serve};
pub use kubectl::{Background, Said};
pub use process::Process;
pub use registry::Registry;
pub use shell::Shell;
