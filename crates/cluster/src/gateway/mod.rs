//! Gateway API's side: what is provided for Gateways.

mod provision;

pub(crate) use provision::{Obstacle, Owner, Provision, Provisions, follow};
