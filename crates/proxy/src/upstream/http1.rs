//! HTTP/1.1 to endpoints: one exchange after the other on a connection.

use crate::client::Length;
use crate::headers::{Headers, ResponseHead};
use crate::http1::parse::{self, EndFinder, Framing};
use crate::http1::stream::{ReadError, Reader, Writer};
use crate::record::Reason;
use crate::upstream::message::{Announced, BodySink, BodySource, Refused};

/// The largest head of a response.
const MAX_RESPONSE_HEAD: usize = 60 * 1024;

impl BodySink for Writer<'_> {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        Writer::data(self, bytes).await.map_err(|_| Refused)
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        Writer::flush(self).await.map_err(|_| Refused)
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), Refused> {
        Writer::end(self, trailers).await.map_err(|_| Refused)
    }
}

impl BodySource for Reader<'_> {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        head_request: bool,
    ) -> Result<Announced, Reason> {
        let len = find_head(self).await?;
        let parsed = parse::response(&self.buffer.bytes()[..len], head, head_request)
            .map_err(|_| Reason::UpstreamProtocol)?;
        self.buffer.consume(len);
        if head.status >= 200 {
            self.begin(parsed.framing);
        }
        let length = match parsed.framing {
            Framing::Length(length) => Length::Known(length),
            Framing::Chunked | Framing::UntilClose => Length::Unknown,
        };
        Ok(Announced {
            length,
            persistent: parsed.persistent,
        })
    }

    async fn flooded(&mut self) -> Reason {
        // The socket is not read meanwhile.
        std::future::pending().await
    }

    async fn fill(&mut self) -> Result<&[u8], Reason> {
        Reader::fill(self).await.map_err(fault)
    }

    fn consume(&mut self, count: usize) {
        Reader::consume(self, count);
    }

    fn is_done(&self) -> bool {
        Reader::is_done(self)
    }

    fn has_buffered(&mut self) -> bool {
        Reader::has_buffered(self)
    }

    fn take_trailers(&mut self) -> Headers {
        std::mem::take(&mut self.trailers)
    }
}

/// Reads until a whole head is in the buffer, and tells its length.
async fn find_head(reader: &mut Reader<'_>) -> Result<usize, Reason> {
    let mut finder = EndFinder::default();
    loop {
        match finder.find(reader.buffer.bytes()) {
            Ok(Some(len)) => return Ok(len),
            Ok(None) if reader.buffer.bytes().len() > MAX_RESPONSE_HEAD => {
                return Err(Reason::UpstreamProtocol);
            }
            Ok(None) => {}
            Err(_) => return Err(Reason::UpstreamProtocol),
        }
        match reader.read().await {
            Ok(0) | Err(_) if reader.buffer.is_empty() => return Err(Reason::UpstreamClosed),
            Ok(0) | Err(_) => return Err(Reason::UpstreamTruncated),
            Ok(_) => {}
        }
    }
}

fn fault(error: ReadError) -> Reason {
    match error {
        ReadError::Malformed => Reason::UpstreamProtocol,
        ReadError::Closed | ReadError::Io => Reason::UpstreamTruncated,
    }
}
