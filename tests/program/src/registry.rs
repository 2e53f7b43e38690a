//! Registries of container images for the tests, and what fills them.

pub mod containerd;
pub mod crane;
pub mod debian;
pub mod gate;
pub mod guarded;
pub mod image;
pub mod server;

pub use containerd::{Containerd, node_config};
pub use crane::crane;
pub use debian::{DebianRegistry, PASSWORD};
pub use gate::{Asked, Gate, Verdict};
pub use image::{Image, Layout, digest, skopeo};
pub use server::Registry;
