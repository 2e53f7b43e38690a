//! Bodies on a connection: a reader of one, a writer of one, for either side.

use std::io;

use crate::buffer::{Buffer, BufferPool, fill};
use crate::client::{ClientFault, Closed};
use crate::headers::Headers;
use crate::http1::body::{Decoder, Piece, write_chunk_line, write_last_chunk};
use crate::http1::parse::{Framing, Malformed};
use crate::io::Stream;

/// Pieces up to this size are put behind what waits to be written, to save a system call.
const COALESCE: usize = 4 * 1024;

/// What waits to be written is written beyond this size.
const MAX_WAITING: usize = 16 * 1024;

/// Why a body could not be read to its end.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The sender closed too early.
    Closed,
    /// The chunks are outside of the grammar.
    Malformed,
    /// The socket failed.
    Io,
}

impl From<Malformed> for ReadError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<ReadError> for ClientFault {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed => Self::Malformed,
            ReadError::Closed | ReadError::Io => Self::Closed,
        }
    }
}

/// Reads one body.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    stream: &'a Stream,
    pub(crate) buffer: &'a mut Buffer,
    pool: &'a BufferPool,
    decoder: Decoder,
    /// Filled once the body is over.
    pub(crate) trailers: Headers,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        stream: &'a Stream,
        buffer: &'a mut Buffer,
        pool: &'a BufferPool,
        framing: Framing,
    ) -> Self {
        Self {
            stream,
            buffer,
            pool,
            decoder: Decoder::new(framing),
            trailers: Headers::default(),
        }
    }

    /// From here on there is a body.
    pub(crate) fn begin(&mut self, framing: Framing) {
        self.decoder = Decoder::new(framing);
        self.buffer.release(self.pool);
    }

    /// Reads once, whatever it is.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        fill(self.buffer, self.stream, self.pool).await
    }

    /// From here on all is content, until the sender closes.
    pub(crate) fn become_tunnel(&mut self) {
        self.decoder = Decoder::new(Framing::UntilClose);
    }

    /// The next of the content; nothing at the end.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub(crate) async fn fill(&mut self) -> Result<&[u8], ReadError> {
        let len = loop {
            if let Some(len) = self.buffered()? {
                break len;
            }
            let count = self.read().await;
            if count.map_err(|_| ReadError::Io)? == 0 {
                if self.decoder.closed() {
                    break 0;
                }
                return Err(ReadError::Closed);
            }
        };
        Ok(&self.buffer.bytes()[..len])
    }

    /// How much content is there already, at the beginning of the buffer; `None` if more must be
    /// read to tell.
    fn buffered(&mut self) -> Result<Option<usize>, ReadError> {
        loop {
            match self.decoder.next(self.buffer.bytes(), &mut self.trailers)? {
                Piece::Content { skip, len } => {
                    self.buffer.consume(skip);
                    if len > 0 {
                        return Ok(Some(len));
                    }
                }
                Piece::End { skip } => {
                    self.buffer.consume(skip);
                    self.buffer.release(self.pool);
                    return Ok(Some(0));
                }
                Piece::More => return Ok(None),
            }
        }
    }

    /// Says that so much of what `fill` gave has been taken.
    pub(crate) fn consume(&mut self, count: usize) {
        self.buffer.consume(count);
        self.decoder.used(count);
        self.buffer.release(self.pool);
    }

    /// Whether the body is over.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether `fill` would not wait.
    pub(crate) fn has_buffered(&mut self) -> bool {
        !matches!(self.buffered(), Ok(None))
    }

    /// Waits until the sender closes; for ever, if it sends something else instead.
    pub(crate) async fn closed(&mut self) -> Closed {
        if !self.buffer.is_empty() {
            std::future::pending::<()>().await;
        }
        match self.read().await {
            Ok(0) => Closed::Direction,
            // The next request, already.
            Ok(_) => std::future::pending().await,
            Err(_) => Closed::Connection,
        }
    }
}

/// Writes one message: first what is in `out` (its head), then its body.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    stream: &'a Stream,
    /// What waits to be written.
    pub(crate) out: &'a mut Vec<u8>,
    /// Whether the body goes out in chunks.
    pub(crate) chunked: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(stream: &'a Stream, out: &'a mut Vec<u8>) -> Self {
        Self {
            stream,
            out,
            chunked: false,
        }
    }

    /// Writes a piece of the body, or lets it wait for [`Self::flush`].
    pub(crate) async fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.chunked {
            write_chunk_line(self.out, bytes.len());
        }
        if bytes.len() <= COALESCE && self.out.len() + bytes.len() <= MAX_WAITING {
            self.out.extend_from_slice(bytes);
        } else {
            let result = self.stream.write_all(self.out, bytes).await;
            self.out.clear();
            result?;
        }
        if self.chunked {
            self.out.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Ends the body, and writes all that waits.
    pub(crate) async fn end(&mut self, trailers: &Headers) -> io::Result<()> {
        if self.chunked {
            write_last_chunk(self.out, trailers);
        }
        self.flush().await
    }

    /// Writes all that waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let result = self.stream.write_all(self.out, &[]).await;
        self.out.clear();
        result
    }

    /// Ends our side of the connection.
    pub(crate) async fn shutdown(&self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}
