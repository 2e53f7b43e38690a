//! The Kubernetes API's side: watches in; status, Events and Leases out.

pub mod replicas;
pub mod webhook;
