//! The endpoint's side of an exchange, whatever its protocol: where a request goes, and where a
//! response comes from.

use crate::client::Length;
use crate::headers::{Headers, ResponseHead};
use crate::record::Reason;

/// The endpoint takes nothing more of the request. Its response may say why.
#[derive(Debug)]
pub(crate) struct Refused;

/// Where a request's body goes.
pub(crate) trait BodySink {
    /// A piece of the body. May wait for `flush`.
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Refused>;

    /// Sends what waits.
    async fn flush(&mut self) -> Result<(), Refused>;

    /// The end of the body; sends all.
    async fn end(&mut self, trailers: &Headers) -> Result<(), Refused>;
}

/// What the head of a response says of what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) length: Length,
    /// Whether the connection may be used again after the body.
    pub(crate) persistent: bool,
}

impl Announced {
    /// Of an interim response.
    pub(crate) const NOTHING: Self = Self {
        length: Length::Absent,
        persistent: true,
    };
}

/// Where a response comes from.
pub(crate) trait BodySource {
    /// The next head, interim ones among them. The body's, once that is final.
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        head_request: bool,
    ) -> Result<Announced, Reason>;

    /// Waits, while nobody asks for a head, until there are more of them than may be.
    async fn flooded(&mut self) -> Reason;

    /// The next of the body; nothing at the end.
    async fn fill(&mut self) -> Result<&[u8], Reason>;

    /// Says that so much of what `fill` gave has been taken.
    fn consume(&mut self, count: usize);

    /// Whether the body is over.
    fn is_done(&self) -> bool;

    /// Whether `fill` would not wait.
    fn has_buffered(&mut self) -> bool;

    /// What followed the body.
    fn take_trailers(&mut self) -> Headers;
}
