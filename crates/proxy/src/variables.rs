//! What nginx's variables stand for, while a request is on its way.

use std::io::Write as _;
use std::time::SystemTime;

use model::Rule;
use model::text::{Named, Piece, Text, Variable};

use crate::access_log::{location, of_tls, user};
use crate::client::Connection;
use crate::forwarded::Client;
use crate::headers::{Headers, Name, RequestHead};
use crate::upstream::balance::cookie_in_any_case;

/// What variables are looked up in.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) request: &'a RequestHead,
    pub(crate) connection: &'a Connection,
    pub(crate) client: Client,
    /// As it is compared.
    pub(crate) host: &'a str,
    /// The path as it goes upstream.
    pub(crate) path: &'a [u8],
    pub(crate) rule: &'a Rule,
    /// `namespace/service:port`, once it is chosen.
    pub(crate) backend: &'a str,
    /// What a pattern has captured: the whole, then its groups.
    pub(crate) captures: &'a [&'a [u8]],
    /// The response, once there is one.
    pub(crate) response: Option<Response<'a>>,
}

/// What is known of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a Headers,
}

/// Puts a text together.
pub(crate) fn expand(text: &Text, scope: &Scope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in text.pieces() {
        match piece {
            Piece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Variable(variable) => write(variable, scope, &mut out),
        }
    }
    out
}

/// Appends a variable's value; of one that has none here, nothing.
pub(crate) fn write(variable: &Variable, scope: &Scope<'_>, out: &mut Vec<u8>) {
    let request = scope.request;
    match variable {
        Variable::Header(name) if **name == *"host" => {
            out.extend_from_slice(request.authority());
        }
        Variable::Header(name) => field(&request.headers, name, out),
        Variable::SentHeader(name) | Variable::UpstreamHeader(name) => {
            if let Some(response) = &scope.response {
                field(response.headers, name, out);
            }
        }
        Variable::Cookie(name) => {
            let value = cookie_in_any_case(request, name.as_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
        Variable::Argument(name) => {
            out.extend_from_slice(argument(request.query(), name.as_bytes()));
        }
        Variable::Geo(name) => {
            if let Some(geo) = &scope.connection.geo {
                let _ = geo.write(name, scope.client.address, out);
            }
        }
        Variable::Nothing(_) => {}
        Variable::Capture(index) => {
            let captured = scope.captures.get(usize::from(*index));
            out.extend_from_slice(captured.copied().unwrap_or_default());
        }
        Variable::Named(named) => write_named(*named, scope, out),
    }
}

fn write_named(named: Named, scope: &Scope<'_>, out: &mut Vec<u8>) {
    let Scope {
        request,
        connection,
        client,
        ..
    } = *scope;
    let query = request.query();
    let args = query.strip_prefix(b"?").unwrap_or_default();
    let known = |name| request.headers.get(name).unwrap_or_default();
    match named {
        Named::Host => out.extend_from_slice(scope.host.as_bytes()),
        Named::BestHost => match known(Name::XForwardedHost) {
            [] => out.extend_from_slice(request.authority()),
            told => out.extend_from_slice(told),
        },
        Named::RequestUri => out.extend_from_slice(request.target()),
        Named::EscapedRequestUri => escape(request.target(), out),
        Named::Uri => out.extend_from_slice(scope.path),
        Named::Args => out.extend_from_slice(args),
        Named::IsArgs => out.extend_from_slice(if args.is_empty() { b"" } else { b"?" }),
        Named::Scheme => out.extend_from_slice(scheme(connection.tls.is_some())),
        Named::PassScheme => out.extend_from_slice(scheme(client.secure)),
        Named::Method => out.extend_from_slice(request.method()),
        Named::Request => {
            out.extend_from_slice(request.method());
            out.push(b' ');
            out.extend_from_slice(request.target());
            out.push(b' ');
            out.extend_from_slice(request.version.as_str().as_bytes());
        }
        Named::Protocol => out.extend_from_slice(request.version.as_str().as_bytes()),
        Named::RemoteAddr => show(out, client.address),
        Named::PeerAddr => show(out, connection.peer.ip()),
        Named::RemotePort => show(out, connection.peer.port()),
        Named::ServerAddr => show(out, connection.local.ip()),
        Named::ServerPort => show(out, connection.local.port()),
        Named::PassPort => match known(Name::XForwardedPort) {
            [] => show(out, connection.public_port),
            told => out.extend_from_slice(told),
        },
        Named::RequestId => out.extend_from_slice(known(Name::XRequestId)),
        Named::ContentType => out.extend_from_slice(known(Name::ContentType)),
        Named::ContentLength => out.extend_from_slice(known(Name::ContentLength)),
        Named::SslProtocol => {
            let version = connection.tls.as_ref().map(|tls| tls.version);
            out.extend_from_slice(version.unwrap_or_default().as_bytes());
        }
        Named::SslServerName => {
            let tls = connection.tls.as_ref();
            let name = tls.and_then(|tls| tls.server_name.as_deref());
            out.extend_from_slice(name.unwrap_or_default().as_bytes());
        }
        Named::Status => {
            if let Some(response) = &scope.response {
                show(out, response.status);
            }
        }
        Named::Namespace => out.extend_from_slice(split(&scope.rule.route, '/').0.as_bytes()),
        Named::IngressName => out.extend_from_slice(split(&scope.rule.route, '/').1.as_bytes()),
        Named::ServiceName => {
            let service = split(scope.backend, '/').1;
            out.extend_from_slice(split(service, ':').0.as_bytes());
        }
        Named::ServicePort => out.extend_from_slice(split(scope.backend, ':').1.as_bytes()),
        Named::UpstreamName => {
            let name = scope.backend.bytes();
            out.extend(name.map(|byte| {
                if matches!(byte, b'/' | b':') {
                    b'-'
                } else {
                    byte
                }
            }));
        }
        Named::Msec => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default();
            let _ = write!(out, "{}.{:03}", now.as_secs(), now.subsec_millis());
        }
        Named::Pid => show(out, std::process::id()),
        Named::ForwardedFor => {
            if let Some(told) = request.headers.joined(b"x-original-forwarded-for") {
                out.extend_from_slice(&told);
                out.extend_from_slice(b", ");
            }
            show(out, client.address);
        }
        Named::RemoteUser => {
            let given = request.headers.joined(b"authorization");
            let _ = given.and_then(|given| user(&given, out));
        }
        Named::SslCipher
        | Named::SslClientVerify
        | Named::SslClientSubject
        | Named::SslClientIssuer => {
            let tls = connection.tls.as_ref();
            let _ = tls.and_then(|tls| of_tls(tls, named, out));
        }
        Named::LocationPath => out.extend_from_slice(location(&scope.rule.path).as_bytes()),
        // Of these, the access log knows.
        Named::RequestLength
        | Named::RequestTime
        | Named::BodyBytesSent
        | Named::BytesSent
        | Named::TimeIso8601
        | Named::TimeLocal
        | Named::AlternativeUpstreamName
        | Named::UpstreamAddr
        | Named::UpstreamStatus
        | Named::UpstreamResponseTime
        | Named::UpstreamHeaderTime
        | Named::UpstreamConnectTime
        | Named::UpstreamResponseLength
        | Named::Hostname
        | Named::Connection
        | Named::Transport
        | Named::BytesReceived
        | Named::SessionTime
        | Named::UpstreamBytesSent
        | Named::UpstreamBytesReceived
        | Named::Pipe
        | Named::RequestCompletion
        | Named::ConnectionRequests => {}
    }
}

pub(crate) fn scheme(secure: bool) -> &'static [u8] {
    if secure { b"https" } else { b"http" }
}

/// What is before and after the first separator.
pub(crate) fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

fn show(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

/// A field that came several times is one with commas (RFC 9110, section 5.3).
fn field(headers: &Headers, name: &str, out: &mut Vec<u8>) {
    if let Some(value) = headers.joined(name.as_bytes()) {
        out.extend_from_slice(&value);
    }
}

/// A parameter of the query as it was sent, its name in any case (nginx: `$arg_name`).
pub(crate) fn argument<'a>(query: &'a [u8], name: &[u8]) -> &'a [u8] {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    let mut pairs = query.split(|&byte| byte == b'&');
    let value = pairs.find_map(|pair| {
        let (key, rest) = pair.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b"=")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    value.unwrap_or_default()
}

/// Escapes what has a meaning in a query (nginx: `set_escape_uri`).
pub(crate) fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_by_their_whole_name_and_not_decoded() {
        let query = b"?ab=0&A=1%202&a=3&b";
        assert_eq!(argument(query, b"a"), b"1%202");
        assert_eq!(argument(query, b"b"), b"");
        assert_eq!(argument(b"", b"a"), b"");
        let mut out = Vec::new();
        escape(b"/a?b=c d", &mut out);
        assert_eq!(out, b"%2Fa%3Fb%3Dc%20d");
    }
}
