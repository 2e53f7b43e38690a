//! The HTTP/1.1 that the API server speaks to a webhook: POSTs with a length, one after another.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The largest head in bytes.
const MAX_HEAD: usize = 16 * 1024;

const MAX_HEADERS: usize = 64;

/// The largest body in bytes: an object of etcd's 1.5 MiB as it was and as it is to be.
pub(super) const MAX_BODY: usize = 3 * 1024 * 1024;

/// The one path.
const PATH: &str = "/validate";

/// A request.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) body: Vec<u8>,
    /// Whether another request may follow.
    pub(super) keep_alive: bool,
}

/// Why a request is refused: the status and what is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) u16, pub(super) &'static str);

/// What is read of a head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    len: usize,
    body: usize,
    keep_alive: bool,
    /// Whether the client waits to be told to go on.
    expects: bool,
}

/// Reads the next request's first bytes into `buffer`. Whether there is one.
pub(super) async fn begin(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    Ok(!buffer.is_empty() || stream.read_buf(buffer).await? > 0)
}

/// Reads the rest of a request that has begun.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
) -> io::Result<Result<Post, Refused>> {
    let head = loop {
        match parse(buffer) {
            Ok(Some(head)) => break head,
            Ok(None) => {}
            Err(refused) => return Ok(Err(refused)),
        }
        let room = MAX_HEAD - buffer.len();
        if (&mut *stream).take(room as u64).read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    buffer.drain(..head.len);
    if head.expects && buffer.is_empty() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        stream.flush().await?;
    }
    let rest = buffer.split_off(head.body.min(buffer.len()));
    let mut body = std::mem::replace(buffer, rest);
    while body.len() < head.body {
        // What has not come yet gets no memory: a length alone costs the client nothing.
        let missing = head.body - body.len();
        if (&mut *stream)
            .take(missing as u64)
            .read_buf(&mut body)
            .await?
            == 0
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Ok(Post {
        body,
        keep_alive: head.keep_alive,
    }))
}

/// Writes an answer.
pub(super) async fn write(
    stream: &mut (impl AsyncWrite + Unpin),
    status: u16,
    body: &[u8],
    keep_alive: bool,
) -> io::Result<()> {
    let (reason, content_type) = match status {
        200 => ("OK", "application/json"),
        400 => ("Bad Request", "text/plain"),
        404 => ("Not Found", "text/plain"),
        405 => ("Method Not Allowed", "text/plain"),
        411 => ("Length Required", "text/plain"),
        413 => ("Content Too Large", "text/plain"),
        431 => ("Request Header Fields Too Large", "text/plain"),
        _ => ("Internal Server Error", "text/plain"),
    };
    let connection = if keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let mut bytes = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         {connection}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await?;
    stream.flush().await
}

fn parse(bytes: &[u8]) -> Result<Option<Head>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused(431, "the request's head is too large\n"));
        }
        Err(_) => return Err(Refused(400, "this is no valid HTTP/1.1 request\n")),
    };
    let target = request.path.unwrap_or_default();
    // The API server adds ?timeout=….
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    if path != PATH {
        return Err(Refused(404, "there is only /validate here\n"));
    }
    if request.method != Some("POST") {
        return Err(Refused(405, "AdmissionReviews are POSTed\n"));
    }
    let values = |name: &'static str| {
        let headers = request.headers.iter();
        headers
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    };
    let mut lengths = values("content-length");
    let (Some(length), None, None) = (
        lengths.next(),
        lengths.next(),
        values("transfer-encoding").next(),
    ) else {
        return Err(Refused(411, "a body needs one Content-Length\n"));
    };
    let digits = std::str::from_utf8(length)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(digits) = digits else {
        return Err(Refused(400, "Content-Length is no number\n"));
    };
    // More digits than a number holds are more bytes than are read.
    let body = digits.parse().unwrap_or(usize::MAX);
    if body > MAX_BODY {
        return Err(Refused(413, "the body is larger than 3 MiB\n"));
    }
    let says = |name, token: &str| {
        values(name).any(|value: &[u8]| {
            value
                .split(|&byte| byte == b',')
                .any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
    };
    Ok(Some(Head {
        len,
        body,
        keep_alive: request.version == Some(1) && !says("connection", "close"),
        expects: says("expect", "100-continue"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> u16 {
        parse(text.as_bytes()).expect_err(text).0
    }

    #[test]
    fn a_head_is_read_or_refused() {
        let text = "POST /validate?timeout=2s HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n";
        let head = parse(text.as_bytes()).expect("good").expect("whole");
        assert_eq!(
            (head.len, head.body, head.keep_alive),
            (text.len(), 7, true)
        );
        assert_eq!(parse(b"POST /valid"), Ok(None));
        for (text, status) in [
            ("GET /validate HTTP/1.1\r\n\r\n", 405),
            ("POST /other HTTP/1.1\r\n\r\n", 404),
            ("POST /validate HTTP/1.1\r\n\r\n", 411),
            ("POST /validate HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
            (
                "POST /validate HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
                411,
            ),
            (
                "POST /validate HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                411,
            ),
            (
                "POST /validate HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n",
                413,
            ),
            (
                "POST /validate HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
                413,
            ),
            ("\u{1}\r\n\r\n", 400),
        ] {
            assert_eq!(refused(text), status, "{text:?}");
        }
        assert_eq!(
            refused(&format!("POST /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD))),
            431
        );
    }

    #[tokio::test]
    async fn requests_follow_one_another_on_one_connection() {
        let (mut client, mut server) = tokio::io::duplex(16);
        let post = "POST /validate HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc";
        let sent = tokio::spawn(async move {
            client
                .write_all(format!("{post}{post}").as_bytes())
                .await
                .expect("sent");
            client
        });
        let mut buffer = Vec::new();
        for _ in 0..2 {
            assert!(begin(&mut server, &mut buffer).await.expect("reads"));
            let post = read(&mut server, &mut buffer)
                .await
                .expect("reads")
                .expect("good");
            assert_eq!(post.body, b"abc");
        }
        drop(sent.await.expect("sent"));
        assert!(!begin(&mut server, &mut buffer).await.expect("reads"));
    }
}
