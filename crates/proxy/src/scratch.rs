//! Memory that exchanges use one after the other.

use crate::headers::{RequestHead, ResponseHead};

/// Memory for one exchange, used again by the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) request: RequestHead,
    pub(crate) response: ResponseHead,
    pub(crate) upstream_out: Vec<u8>,
    pub(crate) client_out: Vec<u8>,
}
