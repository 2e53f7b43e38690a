//! The Kubernetes API's side: watches in; status, Events and Leases out.

pub mod reach;
pub mod webhook;
