//! The access log: one line per exchange, formatted by the worker, written by a thread.
//!
//! A worker never waits for the log. It formats into a buffer of its own and hands full buffers to
//! the writer's thread through a bounded channel; where that is full, because whoever reads our
//! standard output does not, lines are dropped and counted.

mod format;
mod writer;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::record::Record;
use crate::settings::AccessLogFormat;

use format::Clock;
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
}

impl AccessLog {
    fn new(format: AccessLogFormat, writer: SyncSender<Message>, dropped: Arc<AtomicU64>) -> Self {
        let (give_back, spare) = sync_channel(SPARE_BUFFERS);
        Self {
            format,
            pending: RefCell::new(Pending {
                bytes: Vec::new(),
                lines: 0,
                clock: Clock::default(),
            }),
            writer,
            dropped,
            spare,
            give_back,
        }
    }

    /// Notes one exchange.
    pub(crate) fn record(&self, record: &Record<'_>) {
        let pending = &mut *self.pending.borrow_mut();
        match self.format {
            AccessLogFormat::Json => format::json(&mut pending.bytes, &mut pending.clock, record),
            AccessLogFormat::Common => {
                format::common(&mut pending.bytes, &mut pending.clock, record);
            }
            AccessLogFormat::Off => return,
        }
        pending.lines += 1;
        if pending.bytes.len() >= FLUSH_BYTES {
            self.hand_over(pending);
        }
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
