//! As much of an HTTP/1.1 client as a load needs.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The host that all loads name.
pub(crate) const HOST: &str = "bench.example";

/// A GET of the small body.
pub(crate) fn get(connection: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: {connection}\r\n\r\n")
}

/// Sends `request` and reads the whole answer, which has to be a 200 with a Content-Length.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let head = head(stream, buffer).await?;
    if !buffer.starts_with(b"HTTP/1.1 200") {
        return Err(io::Error::other(first_line(buffer)));
    }
    let length = content_length(&buffer[..head])
        .ok_or_else(|| io::Error::other("an answer without Content-Length"))?;
    while buffer.len() < head + length {
        read_some(stream, buffer).await?;
    }
    Ok(())
}

/// Reads until the head is complete, into the emptied `buffer`; the head's length.
pub(crate) async fn head(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<usize> {
    buffer.clear();
    loop {
        read_some(stream, buffer).await?;
        let end = buffer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            return Ok(end + 4);
        }
    }
}

async fn read_some(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    field(head, "content-length")?.parse().ok()
}

/// A field's value.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn first_line(buffer: &[u8]) -> String {
    let line = buffer.split(|byte| *byte == b'\r').next();
    String::from_utf8_lossy(line.unwrap_or_default()).into_owned()
}
