//! A registry that gets what it does not have from others, and keeps it.

mod blobs;
mod kept;
mod pulls;
mod rig;
mod trouble;
