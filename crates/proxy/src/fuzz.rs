//! Fuzz targets of the parsers that read what clients and backends send.
//!
//! In the tests each runs its seeds (`__fuzz__/…/corpus`), what once broke it
//! (`__fuzz__/…/crashes`) and some thousand inputs of chance; `cargo xtask fuzz` runs them guided by
//! the code that inputs reach.

use bolero::check;

use crate::headers::{Headers, RequestHead, ResponseHead};
use crate::http1::body::{Decoder, Piece, write_chunk_line, write_last_chunk};
use crate::http1::parse::{self, EndFinder, Framing, Malformed, Parsed};
use crate::proxy_protocol;
use crate::record::{Reason, Version};
use crate::settings::Limits;
use crate::tls::hello;

/// The length of the head, found at once and byte by byte.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let at_once = EndFinder::default().find(bytes);
    let mut finder = EndFinder::default();
    let steps = (0..=bytes.len()).map(|end| finder.find(&bytes[..end]));
    let step_by_step = steps.into_iter().find(|found| *found != Ok(None));
    assert_eq!(step_by_step.unwrap_or(Ok(None)), at_once);
    at_once.ok().flatten()
}

fn read_request(bytes: &[u8]) -> Result<(Option<Framing>, RequestHead), Reason> {
    let mut head = RequestHead::default();
    let framing = parse::request(bytes, &mut head, &Limits::default())?;
    Ok((framing, head))
}

fn read_response(bytes: &[u8]) -> Result<(Parsed, ResponseHead), Malformed> {
    let mut head = ResponseHead::default();
    let parsed = parse::response(bytes, &mut head, false)?;
    Ok((parsed, head))
}

fn fields(headers: &Headers) -> Vec<(&[u8], &[u8])> {
    headers
        .iter()
        .map(|(_, name, value)| (name, value))
        .collect()
}

/// A request that is accepted and written anew is the same to whoever reads it next.
#[test]
fn request_heads() {
    check!().for_each(|bytes: &[u8]| {
        let Some(len) = head_length(bytes) else {
            return;
        };
        let Ok((framing, head)) = read_request(&bytes[..len]) else {
            return;
        };
        let mut written = Vec::new();
        written.extend_from_slice(head.method());
        written.push(b' ');
        written.extend_from_slice(head.target());
        written.extend_from_slice(match head.version {
            Version::Http10 => b" HTTP/1.0\r\n",
            _ => b" HTTP/1.1\r\n",
        });
        if !head.authority().is_empty() || head.version == Version::Http11 {
            written.extend_from_slice(b"Host: ");
            written.extend_from_slice(head.authority());
            written.extend_from_slice(b"\r\n");
        }
        head.headers.write_to(&mut written);
        written.extend_from_slice(b"\r\n");
        assert_eq!(head_length(&written), Some(written.len()));
        let (again, reread) = read_request(&written).expect("what we write can be read");
        assert_eq!(again, framing);
        assert_eq!(
            (reread.method(), reread.target(), reread.authority()),
            (head.method(), head.target(), head.authority())
        );
        assert_eq!(fields(&reread.headers), fields(&head.headers));
    });
}

/// The same for responses.
#[test]
fn response_heads() {
    check!().for_each(|bytes: &[u8]| {
        let Some(len) = head_length(bytes) else {
            return;
        };
        let Ok((parsed, head)) = read_response(&bytes[..len]) else {
            return;
        };
        let old = bytes.windows(8).any(|window| window == b"HTTP/1.0");
        let mut written = format!("HTTP/1.{} {} ", u8::from(!old), head.status).into_bytes();
        written.extend_from_slice(head.reason());
        written.extend_from_slice(b"\r\n");
        head.headers.write_to(&mut written);
        written.extend_from_slice(b"\r\n");
        assert_eq!(head_length(&written), Some(written.len()));
        let (again, reread) = read_response(&written).expect("what we write can be read");
        assert_eq!(again.framing, parsed.framing);
        assert_eq!(reread.status, head.status);
        assert_eq!(fields(&reread.headers), fields(&head.headers));
    });
}

/// Content and trailers of a chunked body that arrives in pieces of `size`; none if it is refused
/// or cut.
fn dechunk(bytes: &[u8], size: usize) -> Option<(Vec<u8>, Headers, usize)> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut content, mut trailers) = (Vec::new(), Headers::default());
    let (mut start, mut end) = (0, 0);
    loop {
        match decoder.next(&bytes[start..end], &mut trailers).ok()? {
            Piece::Content { skip, len } => {
                start += skip;
                content.extend_from_slice(&bytes[start..start + len]);
                decoder.used(len);
                start += len;
            }
            Piece::End { skip } => return Some((content, trailers, start + skip)),
            Piece::More if end == bytes.len() => return None,
            Piece::More => end = (end + size).min(bytes.len()),
        }
    }
}

/// However a chunked body arrives, it is the same; and the same once written anew.
#[test]
fn chunked_bodies() {
    check!().for_each(|bytes: &[u8]| {
        let whole = dechunk(bytes, bytes.len().max(1));
        for size in [1, 2, 7] {
            let piecewise = dechunk(bytes, size);
            assert_eq!(piecewise.is_some(), whole.is_some());
            if let (Some((a, a_trailers, a_end)), Some((b, b_trailers, b_end))) =
                (&piecewise, &whole)
            {
                assert_eq!((a, a_end), (b, b_end));
                assert_eq!(fields(a_trailers), fields(b_trailers));
            }
        }
        let Some((content, trailers, _)) = whole else {
            return;
        };
        let mut written = Vec::new();
        if !content.is_empty() {
            write_chunk_line(&mut written, content.len());
            written.extend_from_slice(&content);
            written.extend_from_slice(b"\r\n");
        }
        write_last_chunk(&mut written, &trailers);
        let (reread, again, end) = dechunk(&written, 5).expect("what we write can be read");
        assert_eq!((reread, end), (content, written.len()));
        assert_eq!(fields(&again), fields(&trailers));
    });
}

/// A PROXY protocol header ends where its own bytes say, and no beginning of it is one.
#[test]
fn proxy_headers() {
    check!().for_each(|bytes: &[u8]| {
        let Ok(Some((source, len))) = proxy_protocol::parse(bytes) else {
            return;
        };
        for end in 0..len {
            assert_eq!(proxy_protocol::parse(&bytes[..end]), Ok(None));
        }
        assert_eq!(
            proxy_protocol::parse(&bytes[..len]),
            Ok(Some((source, len)))
        );
    });
}

/// However a ClientHello arrives, it asks for the same name; and for no other than rustls reads.
#[test]
fn client_hellos() {
    const MOST: usize = 64 * 1024;

    check!().for_each(|bytes: &[u8]| {
        let (whole, end) = hello::read_in_pieces(bytes, usize::MAX, MOST);
        for size in [1, 2, 7] {
            let (piecewise, piecewise_end) = hello::read_in_pieces(bytes, size, MOST);
            assert_eq!(piecewise, whole);
            // What is wrong may be found earlier.
            assert!(piecewise_end <= end || whole.is_err());
        }
        let Ok(Some(ours)) = whole else {
            return;
        };
        let mut acceptor = rustls::server::Acceptor::default();
        let mut rest = &bytes[..end];
        while !rest.is_empty() {
            acceptor.read_tls(&mut rest).expect("memory does not fail");
            // It refuses more than we do: there need not be anything that it could answer.
            let Ok(accepted) = acceptor.accept() else {
                return;
            };
            if let Some(accepted) = accepted {
                let hello = accepted.client_hello();
                let theirs = hello.server_name();
                let theirs = theirs.map(|name| name.strip_suffix('.').unwrap_or(name));
                assert_eq!(ours.server_name.as_deref(), theirs);
                return;
            }
        }
    });
}
