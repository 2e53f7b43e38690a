//! What ingress-nginx's redirects and rewrites come to, as far as a URL alone tells.

use model::filter::RedirectTarget;
use model::filter::send::Rest;
use model::text::{Named, Piece, Text, Variable};
use model::{Filter, HttpsRedirect, Rule};

use super::answer::lossy;
use super::url::Url;

/// Where clients without TLS are sent.
pub(super) fn https_url(url: &Url, redirect: HttpsRedirect, path: &[u8]) -> String {
    let (path, keeps_slash, names_port) = match redirect.target {
        RedirectTarget::Normalised => (lossy(path), true, false),
        RedirectTarget::Sent {
            keeps_slash,
            names_port,
        } => (url.path.clone(), keeps_slash, names_port),
    };
    let port = match redirect.port {
        443 if !names_port => String::new(),
        port => format!(":{port}"),
    };
    let mut to = format!("https://{}{port}{path}{}", host(url), url.query);
    if !keeps_slash && to.ends_with('/') {
        to.pop();
    }
    to
}

/// Where a rule sends all its clients, and with which status. Variables that a URL does not tell stay
/// as they are.
pub(super) fn sent(
    rule: &Rule,
    url: &Url,
    path: &[u8],
    port: Option<u16>,
) -> Option<(u16, String)> {
    let send = rule.filters.iter().find_map(|filter| match filter {
        Filter::Send(send) => Some(&**send),
        _ => None,
    });
    let Some(send) = send else {
        let redirects = |filter: &&Filter| matches!(filter, Filter::Substitute(it) if it.redirects);
        let one = std::slice::from_ref(rule.filters.iter().find(redirects)?);
        return rewritten(one, &lossy(path)).map(|to| (302, to + &url.query));
    };
    let mut to = expanded(&send.to, url, port);
    match send.rest {
        Rest::Nothing => {}
        Rest::Query => to += &url.query,
        Rest::TargetWithoutSlash => {
            to = to + &url.path + &url.query;
            if to.ends_with('/') {
                to.pop();
            }
        }
    }
    if send.absolute && to.starts_with('/') {
        to = format!("{}://{}{to}", scheme(url), host(url));
    }
    Some((send.status, to))
}

/// The path in the place of another; none if it stays.
pub(super) fn rewritten(filters: &[Filter], path: &str) -> Option<String> {
    filters.iter().find_map(|filter| {
        let Filter::Substitute(substitute) = filter else {
            return None;
        };
        let captures = substitute.pattern.captures(path.as_bytes())?;
        let mut out = String::new();
        for piece in substitute.to.pieces() {
            match piece {
                Piece::Literal(text) => out += text,
                Piece::Variable(Variable::Capture(index)) => {
                    let captured = captures.get(usize::from(*index));
                    out += &lossy(captured.copied().unwrap_or_default());
                }
                Piece::Variable(other) => out += &other.to_string(),
            }
        }
        Some(out)
    })
}

fn expanded(text: &Text, url: &Url, port: Option<u16>) -> String {
    let mut out = String::new();
    for piece in text.pieces() {
        match piece {
            Piece::Literal(text) => out += text,
            Piece::Variable(Variable::Named(Named::Scheme | Named::PassScheme)) => {
                out += scheme(url);
            }
            Piece::Variable(Variable::Named(Named::PassPort)) if let Some(port) = port => {
                out += &port.to_string();
            }
            Piece::Variable(Variable::Named(Named::Host)) => out += &host(url),
            Piece::Variable(Variable::Header(name)) if **name == *"host" => out += &host(url),
            Piece::Variable(other) => out += &other.to_string(),
        }
    }
    out
}

fn scheme(url: &Url) -> &'static str {
    if url.tls { "https" } else { "http" }
}

fn host(url: &Url) -> String {
    let host = url.host.as_str();
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}
