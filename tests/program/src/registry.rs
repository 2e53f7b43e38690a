//! Registries of container images for the tests, and what fills them.

pub mod bucket;
pub mod containerd;
pub mod debian;
pub mod gate;
pub mod guarded;
pub mod image;
pub mod server;
pub mod tools;

pub use bucket::Bucket;
pub use containerd::{Containerd, node_config};
pub use debian::{DebianRegistry, PASSWORD};
pub use gate::{Asked, Gate, Verdict};
pub use image::{Image, Layout, digest, noise, skopeo};
pub use server::Registry;
pub use tools::crane;
