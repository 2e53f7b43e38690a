//! Gateway API's side: what is said of its objects, and what is provided for Gateways.
//!
//! What is said ([`compile::status`]) is the compiler's; here it becomes an object's status
//! ([`render`], [`merge`]), as far as it is so on every live replica and the Gateway has its Service
//! ([`gate`]). The leader alone writes ([`Writer`]), and only what differs from what the API server
//! has ([`view`]). [`provision`] knows what the Services of Gateways provide.

mod decide;
mod gate;
mod merge;
mod pace;
mod provision;
mod render;
mod view;
mod writer;

pub(crate) use provision::follow;
pub(crate) use writer::{Inputs, Writer};
