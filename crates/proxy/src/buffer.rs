//! Read buffers, borrowed from the worker only while they hold something.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll, ready};

use crate::io::Stream;

/// What a buffer holds at first: room for the head of nearly every message.
const SMALL: usize = 8 * 1024;

/// What it grows to for large heads and for bodies that keep coming.
pub(crate) const LARGE: usize = 64 * 1024;

/// The most free buffers of each size that a worker keeps.
const KEPT: usize = 256;

/// A worker's free buffers. All are zeroed once and used again, so no read needs `unsafe`.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    small: RefCell<Vec<Box<[u8]>>>,
    large: RefCell<Vec<Box<[u8]>>>,
}

impl BufferPool {
    fn take(&self, size: usize) -> Box<[u8]> {
        let free = if size == SMALL {
            &self.small
        } else {
            &self.large
        };
        free.borrow_mut()
            .pop()
            .unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn give(&self, data: Box<[u8]>) {
        let free = match data.len() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        let mut free = free.borrow_mut();
        if free.len() < KEPT {
            free.push(data);
        }
    }
}

/// Bytes read from a socket and not used yet. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    data: Box<[u8]>,
    start: usize,
    end: usize,
    /// The last read filled the buffer: the next one is worth a large one.
    busy: bool,
}

impl Buffer {
    /// What is there.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    /// Whether nothing is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Marks the first `count` bytes as used.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(
            count <= self.end - self.start,
            "more consumed than there is"
        );
        self.start = (self.start + count).min(self.end);
    }

    /// Gives the memory back if nothing is in it.
    pub(crate) fn release(&mut self, pool: &BufferPool) {
        if self.is_empty() && !self.data.is_empty() {
            pool.give(std::mem::take(&mut self.data));
            (self.start, self.end) = (0, 0);
        }
    }

    /// Reads once, behind what is there. `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// Of the stream; and `OutOfMemory` if the buffer is full at its largest size, which callers
    /// prevent by their own limits.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
        pool: &BufferPool,
    ) -> Poll<io::Result<usize>> {
        self.make_room(pool)?;
        let room = &mut self.data[self.end..];
        let size = room.len();
        let Poll::Ready(result) = stream.poll_read(cx, room) else {
            self.release(pool);
            return Poll::Pending;
        };
        let count = result?;
        self.end += count;
        self.busy = count == size;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self, pool: &BufferPool) -> io::Result<()> {
        if self.is_empty() {
            let wanted = if self.busy { LARGE } else { SMALL };
            if self.data.len() != wanted {
                self.release(pool);
                self.data = pool.take(wanted);
            }
            (self.start, self.end) = (0, 0);
        } else if self.end == self.data.len() {
            if self.start > 0 {
                self.data.copy_within(self.start..self.end, 0);
            } else if self.data.len() < LARGE {
                let mut larger = pool.take(LARGE);
                larger[..self.end].copy_from_slice(&self.data[..self.end]);
                pool.give(std::mem::replace(&mut self.data, larger));
            } else {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            (self.start, self.end) = (0, self.end - self.start);
        }
        Ok(())
    }
}

/// Reads once into `buffer`.
pub(crate) async fn fill(
    buffer: &mut Buffer,
    stream: &Stream,
    pool: &BufferPool,
) -> io::Result<usize> {
    std::future::poll_fn(|cx| {
        let count = ready!(buffer.poll_fill(cx, stream, pool));
        Poll::Ready(count)
    })
    .await
}
