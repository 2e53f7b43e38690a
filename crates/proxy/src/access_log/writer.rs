//! The thread that writes the access log.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::{AccessLog, KEEP_BYTES};
use crate::settings::AccessLogFormat;

/// Batches that wait for the writer: at 16 KiB each, 1 MiB of log before lines are dropped.
const QUEUE: usize = 64;
/// Between two attempts at an output that is non-blocking (as another process may have made a
/// terminal or pipe that it shares with us) and full.
const RETRY: Duration = Duration::from_millis(10);

/// Lines of one worker on their way to the writer.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lines: u64,
    pub(super) give_back: SyncSender<Vec<u8>>,
}

/// What the writer's thread is told.
#[derive(Debug)]
pub(super) enum Message {
    Batch(Batch),
    /// Answer when all that came before is written, then end.
    Finish(SyncSender<()>),
}

/// The thread that writes the access log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl LogWriter {
    /// A writer to standard output.
    ///
    /// # Errors
    /// If standard output is closed, or no thread can be started.
    pub(crate) fn stdout() -> io::Result<Self> {
        // A descriptor of our own, so that a full pipe holds no lock that a `println!` elsewhere,
        // or the end of the process, would wait for.
        let own = io::stdout().as_fd().try_clone_to_owned()?;
        Self::start(File::from(own))
    }

    /// A writer to `out`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(crate) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut output = Output {
            out,
            dropped: Arc::clone(&dropped),
            failing: false,
            torn: false,
        };
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || output.run(&receiver))?;
        Ok(Self { sender, dropped })
    }

    /// A worker's end.
    pub(crate) fn log(&self, format: AccessLogFormat) -> AccessLog {
        AccessLog::new(format, self.sender.clone(), Arc::clone(&self.dropped))
    }

    /// How many lines were not written, ever: `narthex_access_log_dropped_lines_total`.
    pub(crate) fn dropped_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }

    /// Waits until everything that was handed over is written, for `deadline` at most: whoever
    /// does not read our output must not keep us from ending. Returns whether all was written.
    pub(crate) fn finish(self, deadline: Duration) -> bool {
        let end = Instant::now() + deadline;
        let (done, finished) = sync_channel(1);
        let mut message = Message::Finish(done);
        loop {
            match self.sender.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) if Instant::now() < end => message = back,
                Err(TrySendError::Full(_)) => return false,
            }
            thread::sleep(RETRY.min(deadline));
        }
        finished
            .recv_timeout(end.saturating_duration_since(Instant::now()))
            .is_ok()
    }
}

/// Where the thread writes to.
struct Output<W> {
    out: W,
    dropped: Arc<AtomicU64>,
    /// Whether the last write failed: only a change is told.
    failing: bool,
    /// Whether a write failed in the middle of a line, which the next must not continue.
    torn: bool,
}

impl<W: Write> Output<W> {
    fn run(&mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Batch(batch) => self.batch(batch),
                Message::Finish(done) => {
                    // Nobody waits any more if the deadline has passed.
                    let _ = done.try_send(());
                    return;
                }
            }
        }
    }

    fn batch(&mut self, mut batch: Batch) {
        match self.write(&batch.bytes) {
            Ok(()) => self.failing = false,
            Err((error, unwritten)) => {
                self.dropped
                    .fetch_add(unwritten.min(batch.lines), Ordering::Relaxed);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "the access log cannot be written; its lines are lost");
                }
            }
        }
        if batch.bytes.capacity() <= KEEP_BYTES {
            batch.bytes.clear();
            let _ = batch.give_back.try_send(batch.bytes);
        }
    }

    /// Writes whole lines. The error comes with the number of lines that were not written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), (io::Error, u64)> {
        if self.torn {
            self.write_all(b"\n")
                .map_err(|(error, _)| (error, count_lines(bytes)))?;
            self.torn = false;
        }
        self.write_all(bytes).map_err(|(error, written)| {
            self.torn = written > 0 && bytes[written - 1] != b'\n';
            (error, count_lines(&bytes[written..]))
        })
    }

    /// The error comes with the number of bytes that were written before it.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => return Err((ErrorKind::WriteZero.into(), written)),
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => return Err((error, written)),
            }
        }
        Ok(())
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Condvar, Mutex};

    use super::super::format::tests::record;
    use super::*;

    /// An output whose writes wait until the gate is open.
    #[derive(Clone, Default)]
    struct Gated(Arc<(Mutex<Gate>, Condvar)>);

    #[derive(Default)]
    struct Gate {
        open: bool,
        written: Vec<u8>,
    }

    impl Gated {
        fn open(&self) {
            self.0.0.lock().unwrap().open = true;
            self.0.1.notify_all();
        }

        fn lines(&self) -> u64 {
            count_lines(&self.0.0.lock().unwrap().written)
        }
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let state = self.0.0.lock().unwrap();
            let mut state = self.0.1.wait_while(state, |gate| !gate.open).unwrap();
            state.written.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_before_finish_returns() {
        let out = Gated::default();
        out.open();
        let writer = LogWriter::start(out.clone()).unwrap();
        let log = writer.log(AccessLogFormat::Json);
        for _ in 0..1000 {
            log.record(&record());
        }
        log.flush();
        assert!(writer.finish(Duration::from_secs(10)));
        assert_eq!(out.lines(), 1000);
    }

    #[test]
    fn a_stuck_output_drops_and_counts_and_hangs_nobody() {
        let out = Gated::default();
        let writer = LogWriter::start(out.clone()).unwrap();
        let dropped = writer.dropped_lines();
        let log = writer.log(AccessLogFormat::Common);
        let start = Instant::now();
        for _ in 0..100_000 {
            log.record(&record());
        }
        log.flush();
        let lost = dropped.load(Ordering::Relaxed);
        assert!(lost > 0, "the queue is bounded");
        assert!(!writer.finish(Duration::from_millis(50)));
        assert!(start.elapsed() < Duration::from_secs(60));
        out.open();
        while out.lines() + lost < 100_000 {
            assert!(start.elapsed() < Duration::from_secs(60));
            thread::sleep(RETRY);
        }
        assert_eq!(
            out.lines() + lost,
            100_000,
            "each line is written or counted"
        );
    }

    #[test]
    fn a_closed_output_is_counted_and_does_not_end_the_thread() {
        let (reader, pipe) = io::pipe().unwrap();
        drop(reader);
        let writer = LogWriter::start(pipe).unwrap();
        let dropped = writer.dropped_lines();
        let log = writer.log(AccessLogFormat::Json);
        for _ in 0..3 {
            log.record(&record());
            log.flush();
        }
        assert!(writer.finish(Duration::from_secs(10)));
        assert_eq!(dropped.load(Ordering::Relaxed), 3);
    }

    /// Takes 10 bytes, then fails once, then takes everything.
    struct Torn(usize, mpsc::Sender<Vec<u8>>);

    impl Write for Torn {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            let taken = match self.0 {
                1 => &bytes[..10],
                2 => return Err(ErrorKind::StorageFull.into()),
                _ => bytes,
            };
            self.1.send(taken.to_owned()).unwrap();
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_short_is_not_continued_by_the_next() {
        let (sender, written) = mpsc::channel();
        let writer = LogWriter::start(Torn(0, sender)).unwrap();
        let dropped = writer.dropped_lines();
        let log = writer.log(AccessLogFormat::Json);
        log.record(&record());
        log.flush();
        log.record(&record());
        log.flush();
        assert!(writer.finish(Duration::from_secs(10)));
        let all: Vec<u8> = written.iter().flatten().collect();
        assert_eq!(all[10], b'\n');
        assert!(serde_json::from_slice::<serde_json::Value>(&all[11..]).is_ok());
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn format_off_writes_nothing() {
        let out = Gated::default();
        out.open();
        let writer = LogWriter::start(out.clone()).unwrap();
        let log = writer.log(AccessLogFormat::Off);
        log.record(&record());
        log.flush();
        assert!(writer.finish(Duration::from_secs(10)));
        assert_eq!(out.lines(), 0);
    }
}
