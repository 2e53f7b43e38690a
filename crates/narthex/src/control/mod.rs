//! What the running process knows of itself, for the admin address.

mod ingress_nginx;
mod live;
mod metrics;
mod news;
mod objects;
mod process;
mod routes;
mod sources;

pub(crate) use live::{Applied, Live, Obtains};
pub(crate) use news::News;
pub(crate) use objects::{Objects, SaidBy};
pub(crate) use routes::{backend, canary, conditions, filter, served_certificates, shares};
