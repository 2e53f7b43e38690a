//! A response on its way to the client.

use std::future::{Future, poll_fn};
use std::time::{Duration, Instant};

use super::forward::while_wanted;
use super::parts::{Facts, late};
use crate::client::{ClientFault, Length, ResponseSink};
use crate::headers::{Name, Names, ResponseHead};
use crate::http1::parse::{self, EndFinder, Framing, Parsed};
use crate::http1::stream::{ReadError, Reader};
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::Receive;
use crate::worker::Worker;

/// The most interim responses (1xx) before the response.
const MAX_INTERIM: usize = 16;

/// The largest head of a response.
const MAX_RESPONSE_HEAD: usize = 60 * 1024;

/// The time limits of one attempt. Zero is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Between two writes of the request.
    pub(super) send: Duration,
    /// Until the head of the response.
    pub(super) head: Duration,
    /// Between two reads of its body.
    pub(super) read: Duration,
    /// An attempt that is late may be followed by another.
    pub(super) late_again: bool,
}

pub(super) struct Download<'a, S> {
    pub(super) worker: &'a Worker,
    pub(super) limits: Limits,
    pub(super) timer: &'a mut Timer,
    pub(super) response: &'a mut ResponseHead,
    pub(super) sink: &'a mut S,
    pub(super) facts: &'a Facts,
}

impl<S: ResponseSink> Download<'_, S> {
    /// Reads the head of the response into `self.response`; interim ones go to the client.
    pub(super) async fn read_head(
        &mut self,
        upstream: &mut impl Receive,
        head_request: bool,
        begin: Instant,
    ) -> Result<Parsed, Reason> {
        for _ in 0..=MAX_INTERIM {
            let Self { sink, timer, .. } = self;
            let find = while_wanted(
                find_head(upstream, self.worker),
                poll_fn(|cx| sink.poll_closed(cx)),
            );
            let len = match timer.limit(self.limits.head, find).await {
                Ok(found) => found?,
                Err(elapsed) => return Err(late(elapsed, Reason::ResponseTimeout)),
            };
            let (_, buffer) = upstream.receive();
            let parsed = parse::response(&buffer.bytes()[..len], self.response, head_request)
                .map_err(|_| Reason::UpstreamProtocol)?;
            buffer.consume(len);
            match self.response.status {
                status @ (100 | 102..=199) => {
                    self.response.headers.remove_hop_by_hop();
                    tracing::trace!(status, "interim response");
                    self.facts.interim.set(true);
                    self.answer(|sink, head| sink.interim(head)).await?;
                }
                _ => {
                    buffer.release(&self.worker.buffers);
                    self.facts.upstream.set(Some(begin.elapsed()));
                    return Ok(parsed);
                }
            }
        }
        Err(Reason::UpstreamProtocol)
    }

    /// Sends the response's head and body to the client.
    pub(super) async fn relay(
        &mut self,
        upstream: &mut impl Receive,
        parsed: Parsed,
        head_request: bool,
    ) -> Result<(), Reason> {
        let status = self.response.status;
        self.facts.status.set(status);
        self.prepare_head(head_request);
        let keep = self.facts.body_done.get() && !self.worker.is_draining();
        let length = match parsed.framing {
            Framing::Length(length) => Length::Known(length),
            Framing::Chunked | Framing::UntilClose => Length::Unknown,
        };
        self.sink
            .head(self.response, length, keep)
            .await
            .map_err(ClientFault::reason)?;
        let (stream, buffer) = upstream.receive();
        let mut reader = Reader::new(stream, buffer, &self.worker.buffers, parsed.framing);
        loop {
            if !reader.has_buffered() && !reader.is_done() {
                self.answer(|sink, _| sink.flush()).await?;
            }
            let bytes = match self.timer.limit(self.limits.read, reader.fill()).await {
                Ok(bytes) => bytes.map_err(response_fault)?,
                Err(elapsed) => return Err(late(elapsed, Reason::ResponseTimeout)),
            };
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            let last = parsed.framing == Framing::Length(self.facts.bytes_out.get() + count as u64);
            self.answer(|sink, _| sink.data(bytes, last)).await?;
            Facts::add(&self.facts.bytes_out, count);
            reader.consume(count);
        }
        let trailers = std::mem::take(&mut reader.trailers);
        self.answer(|sink, _| sink.end(&trailers)).await
    }

    /// Takes out what ends at this hop; the framing is written anew.
    fn prepare_head(&mut self, head_request: bool) {
        let status = self.response.status;
        let headers = &mut self.response.headers;
        headers.remove_hop_by_hop();
        // Without a body, Content-Length tells what there would be; to HEAD and 304 only.
        let tells = status == 304 || (head_request && status != 204);
        if !tells {
            headers.remove(Names::of(&[Name::ContentLength]));
        }
        self.facts.add_cookie(headers);
        if headers.get(Name::Date).is_none() {
            self.worker
                .date
                .with(|date| headers.push_known(Name::Date, b"Date", date));
        }
    }

    async fn answer<'b, F>(
        &'b mut self,
        operation: impl FnOnce(&'b mut S, &'b ResponseHead) -> F,
    ) -> Result<(), Reason>
    where
        F: Future<Output = Result<(), ClientFault>>,
    {
        let limit = self.worker.settings.timeouts.write;
        match self
            .timer
            .limit(limit, operation(self.sink, self.response))
            .await
        {
            Ok(result) => result.map_err(ClientFault::reason),
            Err(elapsed) => Err(late(elapsed, Reason::ClientWriteTimeout)),
        }
    }
}

/// Reads until a whole head is in the buffer, and tells its length.
async fn find_head(upstream: &mut impl Receive, worker: &Worker) -> Result<usize, Reason> {
    let (stream, buffer) = upstream.receive();
    let mut finder = EndFinder::default();
    loop {
        match finder.find(buffer.bytes()) {
            Ok(Some(len)) => return Ok(len),
            Ok(None) if buffer.bytes().len() > MAX_RESPONSE_HEAD => {
                return Err(Reason::UpstreamProtocol);
            }
            Ok(None) => {}
            Err(_) => return Err(Reason::UpstreamProtocol),
        }
        match crate::buffer::fill(buffer, stream, &worker.buffers).await {
            Ok(0) | Err(_) if buffer.is_empty() => return Err(Reason::UpstreamClosed),
            Ok(0) | Err(_) => return Err(Reason::UpstreamProtocol),
            Ok(_) => {}
        }
    }
}

pub(super) fn response_fault(error: ReadError) -> Reason {
    match error {
        ReadError::Malformed => Reason::UpstreamProtocol,
        ReadError::Closed | ReadError::Io => Reason::UpstreamTruncated,
    }
}
