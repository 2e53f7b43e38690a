//! Container images: a registry, what fills it, and who may use it.
//!
//! In: requests of registry clients, lists of images that are wanted, and registries elsewhere.
//! Out: images in a registry. Nothing here knows Kubernetes or the proxy.
//!
//! - [`access`]: who may do what
//! - [`name`]: names of repositories and tags
//! - [`store`]: what a registry keeps, on any object storage
//! - [`serve`]: its HTTP API

pub mod access;
pub mod name;
pub mod serve;
pub mod store;
