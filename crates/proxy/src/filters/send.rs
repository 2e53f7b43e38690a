//! Sends clients where a text says (nginx: `return 301 text`).

use model::filter::Send;
use model::filter::send::Rest;

use super::location::url;
use super::{Answer, Context};
use crate::headers::RequestHead;
use crate::record::Reason;
use crate::respond::Given;
use crate::variables::expand;

/// The answer. `path` is the one that would go upstream.
pub(super) fn answer(
    send: &Send,
    request: &RequestHead,
    path: &[u8],
    context: Context<'_>,
) -> Answer {
    let mut to = expand(&send.to, &context.scope(request, path, &[]));
    match send.rest {
        Rest::Nothing => {}
        // A query without anything in it is none, as nginx has it.
        Rest::Query if request.query() != b"?" => to.extend_from_slice(request.query()),
        Rest::Query => {}
        Rest::TargetWithoutSlash => {
            to.extend_from_slice(request.path());
            to.extend_from_slice(request.query());
            if to.ends_with(b"/") {
                to.pop();
            }
        }
    }
    if !matches!(send.status, 301 | 302 | 303 | 307 | 308) {
        let mut given = Given {
            status: send.status,
            body: to,
            ..Given::default()
        };
        given.headers.push(b"Content-Type", b"text/html");
        return Answer::Given(Box::new(given), Reason::Returned);
    }
    if send.absolute && to.starts_with(b"/") {
        to = absolute(send, &to, context);
    }
    Answer::Redirect {
        status: send.status,
        location: printable(to),
        reason: Reason::Redirect,
    }
}

/// A path as a URL of the request's own scheme and host.
fn absolute(send: &Send, path: &[u8], context: Context<'_>) -> Vec<u8> {
    let scheme = match context.client.secure {
        true => "https",
        false => "http",
    };
    let local = context.connection.local;
    let port = send.names_port.then(|| local.port());
    match context.host {
        // Who sends no Host knows us by our address.
        "" => url(scheme, &local.ip().to_string(), port, path, b""),
        host => url(scheme, host, port, path, b""),
    }
}

/// Without bytes that no URL has, as variables may bring them.
pub(super) fn printable(url: Vec<u8>) -> Vec<u8> {
    let is_bad = |byte: u8| byte <= b' ' || byte >= 0x7f;
    if !url.iter().any(|&byte| is_bad(byte)) {
        return url;
    }
    let mut out = Vec::with_capacity(url.len() + 8);
    for byte in url {
        match is_bad(byte) {
            true => out.extend(format!("%{byte:02X}").bytes()),
            false => out.push(byte),
        }
    }
    out
}
