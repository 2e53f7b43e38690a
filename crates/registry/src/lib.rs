//! Container images: a registry, what fills it, and who may use it.
//!
//! In: requests of registry clients, lists of images that are wanted, and registries elsewhere.
//! Out: images in a registry. Nothing here knows Kubernetes or the proxy.
//!
//! - [`access`]: who may do what
//! - [`cache`]: getting what is pulled and not there
//! - [`client`]: speaking to a registry
//! - [`creds`]: credentials of outside registries
//! - [`hidden`]: texts that nobody is to read by accident
//! - [`list`]: which images are wanted, and what manifests need
//! - [`name`]: names of repositories and tags
//! - [`serve`]: its HTTP API
//! - [`store`]: what a registry keeps, on any object storage
//! - [`sync`]: copying what is missing, and saying what there is

pub mod access;
pub mod cache;
pub mod client;
pub mod creds;
pub mod hidden;
pub mod list;
pub mod name;
#[cfg(test)]
mod seeds;
pub mod serve;
pub mod store;
pub mod sync;
