//! The beginning of a request's body, kept in case the request is to be sent again.

use super::parts::Facts;
use crate::client::{ClientFault, Closed, Length, RequestBody};
use crate::headers::Headers;

/// The most that is kept. A gRPC call's first message is nearly always shorter.
const MOST: usize = 16 * 1024;

/// What has been read of a body.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// The head as HTTP/1 writes it, which is gone once it is sent together with a body.
    head: Vec<u8>,
    bytes: Vec<u8>,
    /// Of it, what the current attempt has sent.
    sent: usize,
    /// More was read than is kept, so that nothing can be sent again.
    gone: bool,
    /// The body itself holds all of it, and nothing is kept here.
    held: bool,
}

impl Kept {
    /// Whether the whole of what was read is here.
    pub(super) fn is_whole(&self) -> bool {
        !self.gone
    }

    /// Keeps the head that is to be sent, or puts it back.
    pub(super) fn keep_head(&mut self, head: &mut Vec<u8>) {
        if self.head.is_empty() {
            self.head.clone_from(head);
        } else {
            head.clone_from(&self.head);
        }
    }

    /// Whether nothing has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && !self.gone && !self.held
    }
}

/// A body of which the beginning is kept, until there is a response.
pub(super) struct Replay<'a, B> {
    body: &'a mut B,
    kept: &'a mut Kept,
    facts: &'a Facts,
}

impl<'a, B: RequestBody> Replay<'a, B> {
    /// The body from its beginning.
    pub(super) fn new(body: &'a mut B, kept: &'a mut Kept, facts: &'a Facts) -> Self {
        kept.sent = 0;
        kept.held = body.rewind();
        Self { body, kept, facts }
    }
}

impl<B: RequestBody> RequestBody for Replay<'_, B> {
    fn length(&self) -> Length {
        self.body.length()
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        let Self { body, kept, facts } = self;
        if kept.sent < kept.bytes.len() {
            return Ok(&kept.bytes[kept.sent..]);
        }
        if kept.gone || kept.held {
            return body.fill().await;
        }
        let bytes = body.fill().await?;
        let answered = facts.upstream.get().is_some();
        if answered || kept.bytes.len() + bytes.len() > MOST {
            kept.gone = kept.gone || !bytes.is_empty() || answered;
            kept.bytes = Vec::new();
            kept.sent = 0;
            return body.fill().await;
        }
        let count = bytes.len();
        kept.bytes.extend_from_slice(bytes);
        body.consume(count);
        Ok(&kept.bytes[kept.sent..])
    }

    fn consume(&mut self, count: usize) {
        if self.kept.sent < self.kept.bytes.len() {
            self.kept.sent += count;
        } else {
            self.body.consume(count);
        }
    }

    fn is_done(&self) -> bool {
        self.kept.sent == self.kept.bytes.len() && self.body.is_done()
    }

    fn has_buffered(&mut self) -> bool {
        self.kept.sent < self.kept.bytes.len() || self.body.has_buffered()
    }

    async fn closed(&mut self) -> Closed {
        self.body.closed().await
    }

    fn trailers(&self) -> &Headers {
        self.body.trailers()
    }

    fn become_tunnel(&mut self) {
        self.body.become_tunnel();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Gives its bytes in pieces.
    struct Pieces {
        bytes: Vec<u8>,
        at: usize,
        size: usize,
        none: Headers,
    }

    impl RequestBody for Pieces {
        fn length(&self) -> Length {
            Length::Unknown
        }
        async fn fill(&mut self) -> Result<&[u8], ClientFault> {
            let end = (self.at + self.size).min(self.bytes.len());
            Ok(&self.bytes[self.at..end])
        }
        fn consume(&mut self, count: usize) {
            self.at += count;
        }
        fn is_done(&self) -> bool {
            self.at == self.bytes.len()
        }
        fn has_buffered(&mut self) -> bool {
            true
        }
        async fn closed(&mut self) -> Closed {
            std::future::pending().await
        }
        fn trailers(&self) -> &Headers {
            &self.none
        }
        fn become_tunnel(&mut self) {}
    }

    fn pieces(length: usize) -> Pieces {
        Pieces {
            bytes: (0..length)
                .map(|at| u8::try_from(at % 251).unwrap_or(0))
                .collect(),
            at: 0,
            size: 1000,
            none: Headers::default(),
        }
    }

    async fn read(body: &mut impl RequestBody, most: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < most {
            let Ok(bytes) = body.fill().await else { break };
            if bytes.is_empty() {
                break;
            }
            // Never all at once, as an endpoint takes it.
            let count = bytes.len().min(700);
            all.extend_from_slice(&bytes[..count]);
            body.consume(count);
        }
        all
    }

    #[tokio::test]
    async fn what_was_read_is_read_again_up_to_the_limit_or_an_answer() {
        for (length, first, whole) in [
            (5000, 2500, true),
            (5000, 9999, true),
            (40_000, 30_000, false),
        ] {
            let (mut body, mut kept, facts) = (pieces(length), Kept::default(), Facts::default());
            assert!(kept.is_empty());
            let expected = body.bytes.clone();
            let begun = read(&mut Replay::new(&mut body, &mut kept, &facts), first).await;
            assert_eq!(begun, expected[..begun.len()]);
            assert_eq!(kept.is_whole(), whole, "{length}");
            if whole {
                let all = read(&mut Replay::new(&mut body, &mut kept, &facts), length).await;
                assert_eq!(all, expected);
            }
        }
        let (mut body, mut kept, facts) = (pieces(5000), Kept::default(), Facts::default());
        let mut replay = Replay::new(&mut body, &mut kept, &facts);
        let mut all = read(&mut replay, 1500).await;
        facts.upstream.set(Some(Duration::ZERO));
        all.extend(read(&mut replay, 5000).await);
        assert_eq!(all, pieces(5000).bytes);
        assert!(!kept.is_whole());
    }
}
