//! Container images: a registry, what fills it, and who may use it.
//!
//! In: requests of registry clients, lists of images that are wanted, and registries elsewhere.
//! Out: images in a registry. Nothing here knows Kubernetes or the proxy.
//!
//! - [`name`]: names of repositories and tags
//! - [`client`]: speaking to a registry
//! - [`list`]: which images are wanted, and what manifests need
//! - [`sync`]: copying what is missing, and saying what there is
pub mod client;
pub mod list;
pub mod name;
pub mod sync;
