//! gRPC: which requests are calls, and how our own answers look to their clients.

pub(crate) mod web;

use crate::headers::{Name, RequestHead};
use crate::record::Reason;
use crate::respond;

/// How a gRPC call comes from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// As it goes to the backend.
    Native,
    /// For browsers, which cannot read trailers.
    Web(Encoding),
}

/// How gRPC-Web writes its bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Binary,
    /// In base64, for browsers that cannot stream bytes.
    Text,
}

/// What kind of gRPC call a request is, if it is one.
pub(crate) fn call(request: &RequestHead) -> Option<Call> {
    of_content_type(request.headers.get(Name::ContentType)?)
}

/// By the content type, whatever the message format and the parameters.
pub(crate) fn of_content_type(value: &[u8]) -> Option<Call> {
    const GRPC: &[u8] = b"application/grpc";
    let (prefix, rest) = value.split_at_checked(GRPC.len())?;
    if !prefix.eq_ignore_ascii_case(GRPC) {
        return None;
    }
    let end = rest.iter().position(|byte| b"+; \t".contains(byte));
    let kind = &rest[..end.unwrap_or(rest.len())];
    match kind.to_ascii_lowercase().as_slice() {
        b"" => Some(Call::Native),
        b"-web" => Some(Call::Web(Encoding::Binary)),
        b"-web-text" => Some(Call::Web(Encoding::Text)),
        _ => None,
    }
}

/// The gRPC status for an answer of our own: the client should take it as it would take the HTTP
/// status, where our reason does not say more.
pub(crate) fn status(reason: Reason) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    const UNKNOWN: u8 = 2;
    const PERMISSION_DENIED: u8 = 7;
    match respond::status(reason) {
        // As GRPCRoute has it for references that are wrong.
        500 if reason == Reason::InvalidBackend => UNAVAILABLE,
        403 => PERMISSION_DENIED,
        404 | 405 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 414 | 431 => RESOURCE_EXHAUSTED,
        400 | 417 => INTERNAL,
        421 | 429 | 502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_content_type() {
        for (value, expected) in [
            ("application/grpc", Some(Call::Native)),
            ("application/grpc+proto", Some(Call::Native)),
            ("Application/gRPC;charset=utf-8", Some(Call::Native)),
            ("application/grpc-web", Some(Call::Web(Encoding::Binary))),
            (
                "application/grpc-web+proto",
                Some(Call::Web(Encoding::Binary)),
            ),
            ("application/grpc-web-text", Some(Call::Web(Encoding::Text))),
            (
                "application/grpc-web-text+proto",
                Some(Call::Web(Encoding::Text)),
            ),
            ("application/grpcx", None),
            ("application/grp", None),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(of_content_type(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn http_statuses_have_their_grpc_statuses() {
        for (reason, expected) in [
            (Reason::NoRoute, 12),
            (Reason::ConnectFailed, 14),
            (Reason::UpstreamBusy, 14),
            (Reason::ResponseTimeout, 4),
            (Reason::BodyTooLarge, 8),
            (Reason::BadHost, 13),
            (Reason::Misdirected, 14),
            (Reason::InvalidBackend, 14),
            (Reason::AuthFailed, 7),
        ] {
            assert_eq!(status(reason), expected, "{reason:?}");
        }
    }
}
