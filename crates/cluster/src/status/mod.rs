//! Ingresses' `status.loadBalancer`: which addresses, for which Ingresses, written by whom.
//!
//! The leader alone writes, and only what differs. It watches the Ingresses once more, for their
//! status: the other replicas, and the compiler, have no use for that. Whatever is queued is
//! decided again when its turn comes, by what is known then; what is under way is bounded.

mod address;
mod backlog;
mod classes;
mod desired;
mod history;
mod ingress_nginx;
mod pace;
mod publish;
mod view;
mod write;
mod writer;

pub use address::Address;
pub use classes::Classes;
pub use publish::Publish;

pub(crate) use address::Addresses;
pub(crate) use backlog::{Backlog, Look};
pub(crate) use history::History;
pub(crate) use ingress_nginx::IngressNginx;
pub(crate) use pace::{Budget, backoff};
pub(crate) use write::{Means, Outcome, send};
pub(crate) use writer::{AT_ONCE, FirstAddress, Inputs, PLANNING, REFUSED, Writer};
