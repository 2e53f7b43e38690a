//! A response on its way to the client.

use std::future::Future;
use std::task::Context;
use std::time::{Duration, Instant};

use model::filter::ErrorPages;
use model::policy::RetryOn;

use super::parts::{Facts, late};
use crate::client::{ClientFault, Length, ResponseSink};
use crate::headers::{Name, Names, ResponseHead};
use crate::record::Reason;
use crate::timer::Timer;
use crate::upstream::{Announced, BodySource};
use crate::worker::Worker;

/// The most interim responses (1xx) before the response.
const MAX_INTERIM: usize = 16;

/// The limits of one attempt. Zero is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits<'a> {
    /// Between two writes of the request.
    pub(super) send: Duration,
    /// Until the head of the response.
    pub(super) head: Duration,
    /// Between two reads of its body.
    pub(super) read: Duration,
    /// The largest body of the request.
    pub(super) max_body: u64,
    /// An attempt that is late may be followed by another.
    pub(super) late_again: bool,
    /// What the rule has sent again, if it says so for this request.
    pub(super) route: Option<RetryOn>,
    /// What holds instead of the methods, where the rule says so: this request may.
    pub(super) repeatable: bool,
    /// Until when statuses are followed by another attempt, if that ends.
    pub(super) until: Option<Instant>,
    /// The statuses that are followed by another attempt.
    pub(super) codes: &'a [u16],
    /// Who answers in the place of backends that fail.
    pub(super) errors: Option<&'a ErrorPages>,
}

impl Limits<'_> {
    /// The reason to make another attempt in the place of passing this status on, or to have
    /// somebody else answer, if there is one.
    pub(super) fn unwanted(&self, status: u16) -> Result<(), Reason> {
        let ended = || self.until.is_some_and(|until| Instant::now() >= until);
        if self.codes.contains(&status) && !ended() {
            return Err(Reason::UpstreamStatus(status));
        }
        match self.errors {
            Some(pages) if pages.intercepts && pages.replaces(status) => {
                Err(Reason::ErrorPage(status))
            }
            _ => Ok(()),
        }
    }

    /// Whether an attempt that failed for this reason may be followed by another, if nothing of a
    /// response has gone out. `idempotent` is whether the request may be served twice.
    pub(super) fn again(&self, reason: Reason, idempotent: bool) -> bool {
        let Some(on) = self.route else {
            return match reason {
                Reason::UpstreamStatus(_) => true,
                Reason::UpstreamClosed => idempotent,
                Reason::ResponseTimeout => idempotent && self.late_again,
                _ => false,
            };
        };
        self.repeatable
            && match reason {
                Reason::UpstreamStatus(_) => true,
                Reason::UpstreamClosed | Reason::UpstreamReset | Reason::UpstreamTruncated => {
                    on.error
                }
                Reason::ResponseTimeout => on.timeout,
                Reason::UpstreamProtocol => on.malformed,
                _ => false,
            }
    }
}

pub(super) struct Download<'a, S> {
    pub(super) worker: &'a Worker,
    pub(super) limits: Limits<'a>,
    pub(super) timer: &'a mut Timer,
    pub(super) response: &'a mut ResponseHead,
    pub(super) sink: &'a mut S,
    pub(super) facts: &'a Facts,
}

impl<S: ResponseSink> Download<'_, S> {
    /// Reads the head of the response into `self.response`; interim ones go to the client.
    pub(super) async fn read_head(
        &mut self,
        upstream: &mut impl BodySource,
        head_request: bool,
        begin: Instant,
    ) -> Result<Announced, Reason> {
        for _ in 0..=MAX_INTERIM {
            let Self {
                sink,
                timer,
                response,
                ..
            } = self;
            let next = upstream.head(response, head_request);
            let gone = |cx: &mut Context<'_>| sink.poll_closed(cx);
            let limit = self.limits.head;
            let announced = self
                .facts
                .moving_while_wanted(timer, limit, next, gone)
                .await?;
            match self.response.status {
                status @ (100 | 102..=199) => {
                    self.response.headers.remove_hop_by_hop();
                    tracing::trace!(status, "interim response");
                    self.facts.interim.set(true);
                    let answer = self.answer(|sink, head| sink.interim(head));
                    tokio::select! {
                        biased;
                        result = answer => result?,
                        reason = upstream.flooded() => return Err(reason),
                    }
                }
                _ => {
                    self.facts.moved();
                    self.facts.upstream.set(Some(begin.elapsed()));
                    return Ok(announced);
                }
            }
        }
        Err(Reason::UpstreamProtocol)
    }

    /// Sends the response's head and body to the client.
    pub(super) async fn relay(
        &mut self,
        upstream: &mut impl BodySource,
        announced: Announced,
        head_request: bool,
    ) -> Result<(), Reason> {
        let status = self.response.status;
        self.facts.status.set(status);
        if let Some(trail) = self.facts.trail.borrow_mut().as_mut() {
            trail.answered(&self.response.headers);
        }
        self.prepare_head(head_request);
        let keep = self.facts.body_done.get() && !self.worker.is_draining();
        self.sink
            .head(self.response, announced.length, keep)
            .await
            .map_err(ClientFault::reason)?;
        loop {
            if !upstream.has_buffered() && !upstream.is_done() {
                self.answer(|sink, _| sink.flush()).await?;
            }
            let Self { sink, timer, .. } = self;
            let gone = |cx: &mut Context<'_>| sink.poll_closed(cx);
            let limit = self.limits.read;
            let bytes = self
                .facts
                .moving_while_wanted(timer, limit, upstream.fill(), gone)
                .await?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            let last = announced.length == Length::Known(self.facts.bytes_out.get() + count as u64);
            self.answer(|sink, _| sink.data(bytes, last)).await?;
            Facts::add(&self.facts.bytes_out, count);
            self.facts.moved();
            upstream.consume(count);
        }
        let trailers = upstream.take_trailers();
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
        self.facts.finish_head(self.worker, headers);
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
        let limit = self.worker.settings().timeouts.write;
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
