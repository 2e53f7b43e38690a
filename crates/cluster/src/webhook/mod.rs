//! The admission webhook: what would be wrong with an Ingress is said to whoever applies it.
//!
//! In: AdmissionReviews of the API server, over HTTPS. Out: a refusal that names the fields of an
//! Ingress of ours that could not be served as written, or warnings. Whatever else happens, the
//! answer is yes: a proxy that is in trouble must not keep people from repairing it.
//!
//! [`review`] makes an answer out of a request's body and nothing else. [`authority`] makes
//! certificates, [`keeper`] keeps them in a Secret that all replicas share.

mod authority;
mod keeper;
mod metrics;
mod review;
mod server;

pub use keeper::{Keeper, Names};
pub use metrics::Metrics;
pub use review::{Judge, Scope};
pub use server::{Identity, Server};
