//! What both sides of the proxy do with the `h2` crate: fields and data on their way out.

use std::future::poll_fn;

use bytes::Bytes;
use h2::SendStream;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::headers::{Headers, Name};

/// The largest piece that is given to a stream at once.
const MAX_PIECE: usize = 64 * 1024;

/// The stream takes nothing more.
#[derive(Debug)]
pub(crate) struct Gone;

/// A field that HTTP/2 cannot carry.
#[derive(Debug)]
pub(crate) struct Unfit;

/// Sends all of `bytes` as the other end takes them.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    mut bytes: &[u8],
    last: bool,
) -> Result<(), Gone> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len().min(MAX_PIECE));
        // What is assigned already is not announced again.
        while stream.capacity() == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                _ => return Err(Gone),
            }
        }
        let capacity = stream.capacity();
        let (now, later) = bytes.split_at(capacity.min(bytes.len()));
        bytes = later;
        let end = last && later.is_empty();
        stream
            .send_data(Bytes::copy_from_slice(now), end)
            .map_err(|_| Gone)?;
    }
    Ok(())
}

/// Ends a message.
pub(crate) fn end(stream: &mut SendStream<Bytes>, trailers: &Headers) -> Result<(), Gone> {
    let result = if trailers.len() == 0 {
        stream.send_data(Bytes::new(), true)
    } else {
        stream.send_trailers(to_map(trailers).map_err(|Unfit| Gone)?)
    };
    result.map_err(|_| Gone)
}

/// The fields as h2 takes them. Both sides hold them to the same syntax, so none is lost here.
pub(crate) fn to_map(headers: &Headers) -> Result<HeaderMap, Unfit> {
    let mut map = HeaderMap::with_capacity(headers.len());
    for (_, name, value) in headers.iter() {
        let name = HeaderName::from_bytes(name).map_err(|_| Unfit)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| Unfit)?;
        map.append(name, value);
    }
    Ok(map)
}

/// Adds what may be among a message's trailers.
pub(crate) fn take_trailers(from: Option<&HeaderMap>, to: &mut Headers) {
    for (name, value) in from.into_iter().flatten() {
        let known = Name::of(name.as_str().as_bytes());
        if !known.is_forbidden_in_trailers() {
            to.push_known(known, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}
