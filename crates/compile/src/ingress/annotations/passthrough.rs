//! `ssl-passthrough`: whether TLS goes on to the backend as it is.

use super::values::{BadValue, boolean};

/// The names that this group reads.
pub(super) const NAMES: &[&str] = &[SSL_PASSTHROUGH];

/// Without its prefix.
pub(crate) const SSL_PASSTHROUGH: &str = "ssl-passthrough";

/// Reads the annotation, if it is this one.
pub(super) fn read(on: &mut bool, name: &str, value: &str) -> Option<Result<(), BadValue>> {
    (name == SSL_PASSTHROUGH).then(|| boolean(value).map(|value| *on = value))
}
