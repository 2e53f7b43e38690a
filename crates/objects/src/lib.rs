//! What the world says: Kubernetes objects, and where they come from.
//!
//! In: manifest files and folders. Out: a [`Store`] of typed objects, and [`Problem`]s for what
//! could not be read. What an object *means* does not belong here: that is `compile`'s.

pub mod kinds;
pub mod manifests;
mod problem;
pub mod sorted;
mod store;
pub mod tree;
mod validate;
pub mod wildcard;

pub use problem::{Problem, Severity};
pub use sorted::Sorted;
pub use store::{Changed, SERVICE_NAME_LABEL, Store};
pub use validate::validate;
