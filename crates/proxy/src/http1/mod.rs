//! HTTP/1 (RFC 9112), on both sides: syntax by `httparse`, framing strict and our own.

pub(crate) mod body;
pub(crate) mod parse;
pub(crate) mod server;
pub(crate) mod stream;
