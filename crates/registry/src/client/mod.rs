//! Speaking to a registry, as the OCI distribution specification 1.1 has it.
//!
//! [`Client`] is one registry: its TLS, its credential, its pace. Every answer but a blob is
//! limited in size, every blob is verified while it is read, and whatever may be asked again is:
//! after a 429 or 5xx, and after a broken connection, with back-off.

mod auth;
mod blob;
mod credentials;
mod digest;
mod error;
#[cfg(test)]
mod fuzz;
mod manifest;
mod names;
mod pace;
mod request;
mod settings;
mod upload;

pub use blob::{Blob, DescribedBlob};
pub use credentials::{Credential, Credentials};
pub use digest::{Digest, Hasher};
pub use error::{Error, Kind};
pub use manifest::{Described, Manifest, Put};
pub use names::{cosign_tags, host_of_docker_hub, is_repository, is_tag};
pub use request::{Client, Scheme};
pub use settings::{Settings, Transport};
pub use upload::{Chunks, Mounted, Upload};
