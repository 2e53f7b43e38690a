//! Puts a path in the place of another, with what a pattern has captured of it (nginx: `rewrite`).

use std::borrow::Cow;

use model::filter::Substitute;
use model::text::{Piece, Text, Variable};

use super::send::printable;
use super::{Answer, Context};
use crate::headers::RequestHead;
use crate::record::Reason;
use crate::respond::Given;
use crate::variables::{Scope, expand, write};

const PREFIX: &[u8] = b"X-Forwarded-Prefix";

/// Changes what goes upstream, or answers.
pub(super) fn apply(
    substitute: &Substitute,
    request: &mut RequestHead,
    path: &mut Vec<u8>,
    context: Context<'_>,
) -> Option<Answer> {
    let merged = merged(path);
    let captures = substitute.pattern.captures(&merged);
    let taken = captures.as_ref().map_or(&[][..], |captures| captures);
    let scope = context.scope(request, &merged, taken);
    let prefix = substitute.prefix.as_ref().map(|text| expand(text, &scope));
    let replaced = captures.is_some().then(|| match substitute.redirects {
        true => expand(&substitute.to, &scope),
        false => put_together(&substitute.to, &scope),
    });
    if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
        request.headers.remove_named(PREFIX);
        request.headers.push(PREFIX, &prefix);
    }
    let replaced = replaced?;
    if substitute.redirects {
        return Some(Answer::Redirect {
            status: 302,
            location: printable([&replaced, request.query()].concat()),
            reason: Reason::Redirect,
        });
    }
    *path = match replaced.first() {
        // As nginx has it.
        None => return Some(nothing_left()),
        Some(b'/') => replaced,
        // A target that is no path is a request that readers differ on.
        Some(_) => [b"/", &*replaced].concat(),
    };
    None
}

/// Without empty elements, as nginx reads paths before it rewrites them.
fn merged(path: &[u8]) -> Cow<'_, [u8]> {
    if !path.windows(2).any(|pair| pair == b"//") {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len());
    for &byte in path {
        if byte != b'/' || out.last() != Some(&b'/') {
            out.push(byte);
        }
    }
    Cow::Owned(out)
}

/// A path out of a text. What does not come from the path itself is escaped.
fn put_together(text: &Text, scope: &Scope<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in text.pieces() {
        match piece {
            Piece::Literal(text) => escape(text.as_bytes(), &mut out),
            Piece::Variable(variable @ Variable::Capture(_)) => {
                let mut taken = Vec::new();
                write(variable, scope, &mut taken);
                escape_again(&taken, &mut out);
            }
            Piece::Variable(variable) => {
                let mut value = Vec::new();
                write(variable, scope, &mut value);
                escape(&value, &mut out);
            }
        }
    }
    out
}

/// Writes a part of a path as nginx does that it has read: what needs no escape has none. An escaped
/// slash stays one: decoded it would be another path.
fn escape_again(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let decoded = match (first, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let byte = decoded.unwrap_or(first);
        let stays = matches!(byte, b'/' | b'.') && decoded.is_some();
        match byte {
            b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                out.extend(format!("%{byte:02X}").bytes());
            }
            0..=b' ' | 0x7f.. => out.extend(format!("%{byte:02X}").bytes()),
            _ if stays => out.extend(format!("%{byte:02X}").bytes()),
            _ => out.push(byte),
        }
        rest = &rest[if decoded.is_some() { 3 } else { 1 }..];
    }
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// Escapes what ends a path, or is none.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'?' | b'#' | b'\\' | 0..=b' ' | 0x7f.. => {
                out.extend(format!("%{byte:02X}").bytes());
            }
            _ => out.push(byte),
        }
    }
}

fn nothing_left() -> Answer {
    Answer::Given(Box::new(Given::page(500)), Reason::InvalidBackend)
}
