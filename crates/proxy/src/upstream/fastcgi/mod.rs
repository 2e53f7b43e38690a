//! FastCGI to endpoints (the specification of Open Market, version 1.0): one request a connection, in
//! the role of a responder, which answers as CGI scripts do (RFC 3875, section 6).

mod head;
mod params;
mod record;

use crate::client::Length;
use crate::headers::{Headers, ResponseHead};
use crate::http1::stream::Reader;
use crate::io::Stream;
use crate::record::Reason;
use crate::upstream::message::{Announced, BodySink, BodySource, Refused};
pub(crate) use params::Params;
use record::{Kind, Piece, Records};

/// The largest head of a response.
const MAX_HEAD: usize = 60 * 1024;

/// How much of what a script says about itself is logged of one request.
const MAX_STDERR: usize = 2 * 1024;

/// The most content of one record of the request's body.
const MAX_DATA: usize = 32 * 1024;

/// What opens a request, up to its body.
pub(crate) fn opening(params: &Params) -> Vec<u8> {
    let mut out = Vec::with_capacity(params.bytes().len() + 64);
    record::begin(&mut out);
    for part in params.bytes().chunks(record::MAX_CONTENT) {
        record::write(&mut out, Kind::Params, part);
    }
    record::write(&mut out, Kind::Params, &[]);
    out
}

/// Where a request's body goes, behind its opening.
pub(crate) struct Input<'a> {
    stream: &'a Stream,
    /// What waits to be written.
    out: Vec<u8>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(stream: &'a Stream, opening: Vec<u8>) -> Self {
        let out = opening;
        Self { stream, out }
    }

    async fn write(&mut self) -> Result<(), Refused> {
        let written = self.stream.write_all(&self.out, &[]).await;
        self.out.clear();
        written.map_err(|_| Refused)
    }
}

impl BodySink for Input<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        for part in bytes.chunks(MAX_DATA) {
            record::write(&mut self.out, Kind::Stdin, part);
            if self.out.len() >= MAX_DATA {
                self.write().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        match self.out.is_empty() {
            true => Ok(()),
            false => self.write().await,
        }
    }

    async fn end(&mut self, _: &Headers) -> Result<(), Refused> {
        record::write(&mut self.out, Kind::Stdin, &[]);
        self.write().await
    }
}

/// Where a response comes from.
pub(crate) struct Output<'a> {
    reader: Reader<'a>,
    records: Records,
    /// What of the output was read beyond its head, and has not been taken yet.
    read: Vec<u8>,
    taken: usize,
    /// How much of the body is still to come, where the head says so.
    left: Option<u64>,
    done: bool,
    /// What the script says about itself.
    stderr: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(reader: Reader<'a>) -> Self {
        Self {
            reader,
            records: Records::default(),
            read: Vec::new(),
            taken: 0,
            left: None,
            done: false,
            stderr: Vec::new(),
        }
    }

    /// How much of the output is at the beginning of the buffer; nothing at its end.
    async fn next(&mut self) -> Result<usize, Reason> {
        loop {
            let bytes = self.reader.buffer.bytes();
            match self.records.next(bytes) {
                Ok(Piece::Output(len)) => return Ok(len),
                Ok(Piece::Error(len)) => {
                    let room = MAX_STDERR.saturating_sub(self.stderr.len());
                    self.stderr.extend_from_slice(&bytes[..len.min(room)]);
                    self.use_up(len);
                }
                Ok(Piece::Skip(len)) => self.reader.buffer.consume(len),
                Ok(Piece::End { complete }) => {
                    return match complete {
                        true => Ok(0),
                        false => Err(Reason::UpstreamReset),
                    };
                }
                Ok(Piece::More) => match self.reader.read().await {
                    Ok(0) | Err(_) => return Err(Reason::UpstreamTruncated),
                    Ok(_) => {}
                },
                Err(record::Malformed) => return Err(Reason::UpstreamProtocol),
            }
        }
    }

    /// Content has been taken.
    fn use_up(&mut self, count: usize) {
        self.reader.buffer.consume(count);
        self.records.used(count);
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if !self.stderr.is_empty() {
            let said = String::from_utf8_lossy(&self.stderr);
            tracing::warn!(said = %said.trim_end().escape_debug(), "a FastCGI server complains");
        }
    }
}

impl BodySource for Output<'_> {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        head_request: bool,
    ) -> Result<Announced, Reason> {
        let mut read = std::mem::take(&mut self.read);
        let len = loop {
            if let Some(len) = head::end(&read) {
                break len;
            }
            if read.len() > MAX_HEAD {
                return Err(Reason::UpstreamProtocol);
            }
            match self.next().await {
                // An end without a head is none of a response.
                Ok(0) | Err(Reason::UpstreamTruncated) if read.is_empty() => {
                    return Err(Reason::UpstreamClosed);
                }
                Ok(0) | Err(Reason::UpstreamTruncated) => return Err(Reason::UpstreamProtocol),
                Err(reason) => return Err(reason),
                Ok(len) => {
                    read.extend_from_slice(&self.reader.buffer.bytes()[..len]);
                    self.use_up(len);
                }
            }
        };
        let length = head::parse(&read[..len], head).map_err(|_| Reason::UpstreamProtocol)?;
        (self.read, self.taken) = (read, len);
        let bodiless = head_request || matches!(head.status, 204 | 304);
        self.left = if bodiless { Some(0) } else { length };
        self.done = self.left == Some(0);
        Ok(Announced {
            length: self.left.map_or(Length::Unknown, Length::Known),
            persistent: false,
        })
    }

    async fn flooded(&mut self) -> Reason {
        // The socket is not read meanwhile.
        std::future::pending().await
    }

    async fn fill(&mut self) -> Result<&[u8], Reason> {
        let most = |len: usize, left: Option<u64>| match left {
            Some(left) => len.min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => len,
        };
        if self.done {
            return Ok(&[]);
        }
        if self.taken < self.read.len() {
            let rest = &self.read[self.taken..];
            return Ok(&rest[..most(rest.len(), self.left)]);
        }
        let len = self.next().await?;
        if len == 0 {
            self.done = true;
            return match self.left {
                Some(1..) => Err(Reason::UpstreamTruncated),
                _ => Ok(&[]),
            };
        }
        Ok(&self.reader.buffer.bytes()[..most(len, self.left)])
    }

    fn consume(&mut self, count: usize) {
        if self.taken < self.read.len() {
            self.taken += count;
        } else {
            self.use_up(count);
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(count as u64);
            self.done |= *left == 0;
        }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn has_buffered(&mut self) -> bool {
        self.done
            || self.taken < self.read.len()
            || matches!(
                self.records.peek(self.reader.buffer.bytes()),
                Ok(Piece::Output(_) | Piece::End { .. })
            )
    }

    fn take_trailers(&mut self) -> Headers {
        Headers::default()
    }
}
