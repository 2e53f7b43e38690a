//! The access log: one line per exchange, formatted by the worker, written by a thread.
//!
//! A worker never waits for the log. It formats into a buffer of its own and hands full buffers to
//! the writer's thread through a bounded channel; where that is full, because whoever reads our
//! standard output does not, lines are dropped and counted.

mod format;
mod nginx;
mod trail;
mod writer;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use model::AccessLogs;
use model::access_log::LogFormat;

use crate::headers::RequestHead;
use crate::record::{Reason, Record};
use crate::settings::AccessLogFormat;

use format::Clock;
use nginx::Composer;
pub(crate) use nginx::{Detail, location, of_tls, user};
pub(crate) use trail::{Claim, Ended, Trail};
pub(crate) use writer::LogWriter;
use writer::{Batch, Message};

/// A buffer of this size is handed over without waiting for the next flush.
const FLUSH_BYTES: usize = 16 * 1024;
/// A buffer that one monstrous line made larger than this is not kept for reuse.
const KEEP_BYTES: usize = 4 * FLUSH_BYTES;
/// Written buffers that wait to be used again, for each worker.
const SPARE_BUFFERS: usize = 8;

/// One worker's end of the access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: AccessLogFormat,
    /// What the configuration says; none is nothing.
    logs: RefCell<Option<Arc<AccessLogs>>>,
    pending: RefCell<Pending>,
    writer: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    spare: Receiver<Vec<u8>>,
    give_back: SyncSender<Vec<u8>>,
}

#[derive(Debug)]
struct Pending {
    bytes: Vec<u8>,
    lines: u64,
    clock: Clock,
    composer: Composer,
}

impl AccessLog {
    fn new(format: AccessLogFormat, writer: SyncSender<Message>, dropped: Arc<AtomicU64>) -> Self {
        let (give_back, spare) = sync_channel(SPARE_BUFFERS);
        Self {
            format,
            logs: RefCell::default(),
            pending: RefCell::new(Pending {
                bytes: Vec::new(),
                lines: 0,
                clock: Clock::default(),
                composer: Composer::default(),
            }),
            writer,
            dropped,
            spare,
            give_back,
        }
    }

    /// From here on, this is what the configuration says.
    pub(crate) fn tune(&self, logs: Option<&Arc<AccessLogs>>) {
        self.logs.replace(logs.cloned());
    }

    /// What is to be noted of a request that begins, if its line will ask for it.
    pub(crate) fn trail(&self, request: &RequestHead) -> Option<Box<Trail>> {
        (self.format == AccessLogFormat::IngressNginx)
            .then(|| Box::new(Trail::new(self.logs.borrow().clone(), request)))
    }

    /// The same of a question that is asked for a request, if such have lines.
    pub(crate) fn trail_of_question(&self, request: &RequestHead) -> Option<Box<Trail>> {
        let wanted = self
            .logs
            .borrow()
            .as_ref()
            .is_some_and(|logs| logs.questions);
        wanted.then(|| self.trail(request)).flatten()
    }

    /// Notes one exchange.
    pub(crate) fn record(&self, record: &Record<'_>) {
        if !self.omits(record, None) {
            self.write(record, None);
        }
    }

    /// Notes one exchange of which more is known.
    pub(crate) fn record_in_detail(&self, record: &Record<'_>, detail: &Detail<'_>) {
        if !self.omits(record, Some(detail)) {
            self.write(record, Some(detail));
        }
    }

    /// Whether the configuration wants no line.
    fn omits(&self, record: &Record<'_>, detail: Option<&Detail<'_>>) -> bool {
        let logs = self.logs.borrow();
        let is_http = record.version.is_http();
        // The catch-all host's, where no Ingress says what answers.
        let unclaimed = || {
            let is_default = record.reason == Some(Reason::NoRoute) || !record.backend.is_empty();
            let host = detail.and_then(|detail| detail.trail.host());
            let is_nobodys = matches!(host, Some((_, Claim::Nobody)));
            self.format == AccessLogFormat::IngressNginx
                && record.route.is_empty()
                && is_default
                && is_nobodys
        };
        let Some(logs) = logs.as_deref() else {
            return unclaimed();
        };
        match is_http {
            false => logs.no_streams,
            true => {
                logs.no_requests || logs.skips(record.target) || (!logs.unclaimed && unclaimed())
            }
        }
    }

    fn write(&self, record: &Record<'_>, detail: Option<&Detail<'_>>) {
        let pending = &mut *self.pending.borrow_mut();
        match self.format {
            AccessLogFormat::Json => format::json(&mut pending.bytes, &mut pending.clock, record),
            AccessLogFormat::Common => {
                format::common(&mut pending.bytes, &mut pending.clock, record);
            }
            AccessLogFormat::IngressNginx => self.write_as_nginx(pending, record, detail),
            AccessLogFormat::Off => return,
        }
        pending.lines += 1;
        if pending.bytes.len() >= FLUSH_BYTES {
            self.hand_over(pending);
        }
    }

    fn write_as_nginx(
        &self,
        pending: &mut Pending,
        record: &Record<'_>,
        detail: Option<&Detail<'_>>,
    ) {
        let logs = self.logs.borrow();
        let format = match detail {
            Some(detail) => detail.trail.format(),
            None if record.version.is_http() => trail::requests(logs.as_deref()),
            None => {
                let own = logs.as_ref().and_then(|logs| logs.streams.as_ref());
                own.unwrap_or_else(|| LogFormat::of_streams())
            }
        };
        let Pending {
            bytes,
            clock,
            composer,
            ..
        } = pending;
        composer.line(bytes, clock, format, record, detail);
    }

    /// Hands what was noted to the writer. Costs nothing if there is nothing.
    pub(crate) fn flush(&self) {
        let pending = &mut *self.pending.borrow_mut();
        if pending.lines > 0 {
            self.hand_over(pending);
        }
    }

    fn hand_over(&self, pending: &mut Pending) {
        let lines = std::mem::take(&mut pending.lines);
        let empty = self.spare.try_recv().unwrap_or_default();
        let batch = Batch {
            bytes: std::mem::replace(&mut pending.bytes, empty),
            lines,
            give_back: self.give_back.clone(),
        };
        let refused = match self.writer.try_send(Message::Batch(batch)) {
            Ok(()) => return,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => message,
        };
        self.dropped.fetch_add(lines, Ordering::Relaxed);
        if let Message::Batch(mut batch) = refused
            && batch.bytes.capacity() <= KEEP_BYTES
        {
            batch.bytes.clear();
            pending.bytes = batch.bytes;
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}
