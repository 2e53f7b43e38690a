//! The Kubernetes API's side: watches in; status, Events and Leases out.
//!
//! In: access to an API server ([`Access`]). Out: [`Watches`], which hand out changes of typed
//! objects as they happen; and a [`Publisher`], which tells the cluster what became of them.
//! Whatever the API server does (answers late, wrongly or not at all, cuts streams, forgets
//! versions) ends here: what comes out is right, or nothing does.
//!
//! What does not belong here: what an object means, and who serves it.

mod again;
pub mod certificates;
mod client;
mod clock;
mod election;
mod events;
mod gateway;
pub mod image_lists;
mod last_good;
mod local_registry;
mod metrics;
mod publish;
pub mod pull_secrets;
pub mod reach;
mod replicas;
mod status;
mod token;
mod token_review;
pub mod watch;
pub mod webhook;

pub use k8s_openapi::jiff::Timestamp;

pub use client::{Access, Connection, NoAccess};
pub use compile::ServiceType;
pub use gateway::DataPlanes;
pub use image_lists::ImageLists;
pub use last_good::{Found, LastGood, Unusable};
pub use local_registry::LocalRegistry;
pub use metrics::Metrics;
pub use publish::{Alone, End, Identity, Options as PublishOptions, Publisher, Served, View};
pub use replicas::Position;
pub use status::{Address, Classes, Publish};
pub use token_review::{TokenReviews, TokenUser};
pub use watch::{Batch, Condition, Inbox, Offer, Optional, Watches};

/// What our writes are known by in `metadata.managedFields`.
const MANAGER: &str = "narthex";
