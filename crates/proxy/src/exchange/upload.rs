//! A request's body on its way to the backend.

use std::future::Future;
use std::time::{Duration, Instant};

use super::concurrent::gone;
use super::parts::{Facts, late};
use crate::client::RequestBody;
use crate::record::Reason;
use crate::timer::{Elapsed, Timer};
use crate::upstream::{BodySink, Refused};

/// Why an upload ended early.
pub(super) enum UploadEnd {
    /// The exchange is over, for this reason.
    Exchange(Reason),
    /// The backend takes no more.
    Refused,
}

pub(super) struct Upload<'a> {
    pub(super) timer: Timer,
    pub(super) body_limit: Duration,
    pub(super) send_limit: Duration,
    pub(super) max_body: u64,
    pub(super) facts: &'a Facts,
}

impl Upload<'_> {
    pub(super) async fn run<B: RequestBody, W: BodySink>(
        mut self,
        body: &mut B,
        writer: &mut W,
    ) -> Result<(), UploadEnd> {
        loop {
            if !body.has_buffered() {
                // The head must not wait for a body that may wait for an answer (100-continue).
                self.send(writer.flush()).await?;
            }
            let moving = self
                .facts
                .moving(&mut self.timer, self.body_limit, body.fill());
            let bytes = match moving.await {
                Ok(bytes) => bytes.map_err(|fault| UploadEnd::Exchange(fault.reason()))?,
                Err(elapsed) => {
                    return Err(UploadEnd::Exchange(late(elapsed, Reason::BodyTimeout)));
                }
            };
            if bytes.is_empty() {
                self.facts.body_done.set(true);
                self.send(writer.end(body.trailers())).await?;
                self.facts.sent_at.set(Some(Instant::now()));
                gone(body, self.facts).await;
                return Err(UploadEnd::Exchange(Reason::ClientClosed));
            }
            let count = bytes.len();
            Facts::add(&self.facts.bytes_in, count);
            if self.max_body > 0 && self.facts.bytes_in.get() > self.max_body {
                return Err(UploadEnd::Exchange(Reason::BodyTooLarge));
            }
            let Self {
                timer,
                send_limit,
                facts,
                ..
            } = &mut self;
            Self::sent(facts.moving(timer, *send_limit, writer.data(bytes)).await)?;
            self.facts.moved();
            body.consume(count);
        }
    }

    async fn send(
        &mut self,
        operation: impl Future<Output = Result<(), Refused>>,
    ) -> Result<(), UploadEnd> {
        Self::sent(self.timer.limit(self.send_limit, operation).await)
    }

    fn sent(result: Result<Result<(), Refused>, Elapsed>) -> Result<(), UploadEnd> {
        match result {
            Ok(result) => result.map_err(|Refused| UploadEnd::Refused),
            Err(elapsed) => Err(UploadEnd::Exchange(late(elapsed, Reason::ResponseTimeout))),
        }
    }
}
