//! HTTP/1 clients: one request after the other on a connection.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use crate::buffer::{Buffer, fill};
use crate::client::{ClientFault, Closed, Connection, Length, RequestBody, ResponseSink};
use crate::exchange::{self, Start};
use crate::headers::{Headers, Name, RequestHead, ResponseHead, write_field};
use crate::http1::parse::{self, EndFinder, Framing};
use crate::http1::stream::{Reader, Writer};
use crate::http2;
use crate::io::{Owned, Stream};
use crate::linger;
use crate::record::{Reason, Version};
use crate::respond::{self, Form, Given};
use crate::scratch::Scratch;
use crate::timer::Timer;
use crate::worker::Worker;

/// What HTTP/2 with prior knowledge begins with (RFC 9113, section 3.4), as far as HTTP/1 reads.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// How long a client may take to hear of the end.
const CLOSE: Duration = Duration::from_secs(2);

/// How long a connection without a request stays open once the process is going down: time for
/// the request that may be on its way.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// The same of a connection that had no request yet. It was made for one, and its client knows no
/// more than that it was taken: that it ends before is a failure to it, where the end of a kept
/// connection is not.
const DRAIN_FIRST: Duration = Duration::from_secs(5);

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: Stream, connection: Connection) {
    let mut session = Session {
        worker: &worker,
        stream: &stream,
        connection: &connection,
        buffer: Buffer::default(),
        timer: Timer::default(),
        requests: 0,
    };
    loop {
        if !session.wait().await {
            return session.close().await;
        }
        let mut scratch = worker.take_scratch();
        let next = session.request(&mut scratch).await;
        worker.give_scratch(scratch);
        match next {
            Next::Request => {}
            Next::Close => return session.close().await,
            Next::Cut => return,
            Next::Linger(most) => return session.linger(most).await,
            Next::Http2 => break,
        }
    }
    let before = session.buffer.bytes().to_vec();
    drop(session);
    http2::serve(Rc::clone(&worker), Owned::new(stream, before), connection).await;
}

/// What follows a request.
enum Next {
    Request,
    /// Nothing: the response was all.
    Close,
    /// Nothing: the response was cut, and the client must see it.
    Cut,
    /// The close, once the client has had time to read the answer, and to send so much more.
    Linger(usize),
    /// It was no request, but the beginning of HTTP/2.
    Http2,
}

struct Session<'a> {
    worker: &'a Worker,
    stream: &'a Stream,
    connection: &'a Connection,
    buffer: Buffer,
    timer: Timer,
    requests: u64,
}

impl Session<'_> {
    /// Waits for the first byte of a request. False if there will be none.
    async fn wait(&mut self) -> bool {
        let Self {
            worker,
            stream,
            buffer,
            timer,
            requests,
            ..
        } = self;
        let mut draining = false;
        while buffer.is_empty() {
            let keep_alive = worker.settings().timeouts.keep_alive;
            let limit = match draining {
                true if *requests == 0 => keep_alive.min(DRAIN_FIRST),
                true => DRAIN_IDLE,
                false => keep_alive,
            };
            let read = timer.limit(
                limit,
                poll_fn(|cx| match buffer.poll_fill(cx, stream, &worker.buffers) {
                    Poll::Pending if worker.is_draining() != draining => Poll::Ready(None),
                    poll => poll.map(Some),
                }),
            );
            match read.await {
                Ok(None) => draining = true,
                Ok(Some(Ok(count))) if count > 0 => {}
                _ => return false,
            }
        }
        true
    }

    /// Reads one request and sees to its answer.
    async fn request(&mut self, scratch: &mut Scratch) -> Next {
        let start = Start {
            clock: Instant::now(),
            time: SystemTime::now(),
        };
        let framing = match self.read_head(&mut scratch.request).await {
            Ok(Head::Request(framing)) => framing,
            Ok(Head::Http2) => return Next::Http2,
            Err(None) => return Next::Cut,
            Err(Some(reason)) => {
                self.refuse(scratch, start, reason).await;
                return Next::Linger(linger::NO_REQUEST);
            }
        };
        self.requests += 1;
        let head = &scratch.request;
        let mut sink = Sink {
            writer: Writer::new(self.stream, &mut scratch.client_out),
            version: head.version,
            head_request: head.method() == b"HEAD",
            persistent: self.is_persistent(head),
            begun: false,
            kept: false,
            stream: self.stream,
        };
        let mut body = Body {
            reader: Reader::new(
                self.stream,
                &mut self.buffer,
                &self.worker.buffers,
                framing.unwrap_or(Framing::NONE),
            ),
            length: match framing {
                None => Length::Absent,
                Some(Framing::Length(length)) => Length::Known(length),
                Some(_) => Length::Unknown,
            },
        };
        let mut parts = exchange::Parts {
            worker: self.worker,
            connection: self.connection,
            start,
            timer: &mut self.timer,
            request: &mut scratch.request,
            response: &mut scratch.response,
            upstream_out: &mut scratch.upstream_out,
            tunnel: None,
        };
        let whole = exchange::run(&mut parts, &mut body, &mut sink).await;
        match (whole, sink.kept, body.is_done()) {
            (true, true, true) => Next::Request,
            (true, _, true) => Next::Close,
            (true, _, false) => Next::Linger(linger::BODY),
            (false, ..) => Next::Cut,
        }
    }

    fn is_persistent(&self, head: &RequestHead) -> bool {
        let most = self.worker.settings().limits.requests_per_connection;
        let wanted = match head.version {
            Version::Http10 => head.headers.connection_has(b"keep-alive"),
            _ => !head.headers.connection_has(b"close"),
        };
        wanted && (most == 0 || self.requests < most)
    }

    /// Reads a head, or the reason to refuse it; no reason if the client went away without one.
    async fn read_head(&mut self, head: &mut RequestHead) -> Result<Head, Option<Reason>> {
        let Self {
            worker,
            stream,
            buffer,
            timer,
            ..
        } = self;
        worker.keep_in_step();
        let settings = worker.settings();
        let limits = &settings.limits;
        let mut finder = EndFinder::default();
        timer.total = None;
        let find = async {
            loop {
                match finder.find(buffer.bytes()) {
                    Ok(Some(len)) if len > limits.header_bytes => {
                        return Err(Some(Reason::HeaderTooLarge));
                    }
                    Ok(Some(len)) => return Ok(len),
                    Ok(None) => {}
                    Err(_) => return Err(Some(Reason::BadRequest)),
                }
                let bytes = buffer.bytes();
                if bytes.len() > limits.uri_bytes + 32 && !bytes.contains(&b'\n') {
                    return Err(Some(Reason::UriTooLong));
                }
                if bytes.len() > limits.header_bytes {
                    return Err(Some(Reason::HeaderTooLarge));
                }
                match fill(buffer, stream, &worker.buffers).await {
                    Ok(0) | Err(_) if only_line_ends(buffer.bytes()) => return Err(None),
                    Ok(0) | Err(_) => return Err(Some(Reason::ClientClosed)),
                    Ok(_) => {}
                }
            }
        };
        let len = match timer.limit(worker.settings().timeouts.header, find).await {
            Ok(found) => found?,
            Err(_) => return Err(Some(Reason::HeaderTimeout)),
        };
        let bytes = &buffer.bytes()[..len];
        if bytes == HTTP2_PREFACE {
            return Ok(Head::Http2);
        }
        let framing = parse::request(bytes, head, limits).map_err(Some)?;
        buffer.consume(len);
        buffer.release(&worker.buffers);
        Ok(Head::Request(framing))
    }

    /// Answers what is no request.
    async fn refuse(&mut self, scratch: &mut Scratch, start: Start, reason: Reason) {
        scratch.request.start(Version::Http11, b"", b"");
        let mut sink = Sink {
            writer: Writer::new(self.stream, &mut scratch.client_out),
            version: Version::Http11,
            head_request: false,
            persistent: false,
            begun: false,
            kept: false,
            stream: self.stream,
        };
        let settings = self.worker.settings();
        let too_large = (settings.as_nginx && reason == Reason::HeaderTooLarge)
            .then(Given::nginx_head_too_large);
        let form = too_large.as_ref().map_or(Form::Text, Form::Given);
        let mut status = form.status(reason);
        if reason == Reason::ClientClosed {
            status = 0;
        } else {
            let answer = respond::send(
                self.worker,
                &mut scratch.response,
                &mut sink,
                reason,
                form,
                false,
                |_| {},
            );
            let _ = self.timer.limit(settings.timeouts.write, answer).await;
        }
        exchange::record_refusal(
            self.worker,
            self.connection,
            &scratch.request,
            start,
            status,
            reason,
        );
    }

    /// Says that nothing more comes, which with TLS is more than closing.
    async fn close(&self) {
        // The close follows, whether the client heard of it or not.
        let _ = tokio::time::timeout(CLOSE, self.stream.shutdown()).await;
    }

    /// Lets the client read our answer before the close: what it still sends would otherwise
    /// reset the connection under it. Many clients read nothing before all of a body is sent.
    async fn linger(&mut self, most: usize) {
        self.close().await;
        let Self {
            worker,
            stream,
            buffer,
            ..
        } = self;
        linger::linger(most, async || {
            buffer.consume(buffer.bytes().len());
            let count = fill(buffer, stream, &worker.buffers).await;
            count.unwrap_or_default()
        })
        .await;
    }
}

enum Head {
    Request(Option<Framing>),
    Http2,
}

fn only_line_ends(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

struct Body<'a> {
    reader: Reader<'a>,
    length: Length,
}

impl RequestBody for Body<'_> {
    fn length(&self) -> Length {
        self.length
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        Ok(self.reader.fill().await?)
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(count);
    }

    fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    fn has_buffered(&mut self) -> bool {
        self.reader.has_buffered()
    }

    async fn closed(&mut self) -> Closed {
        self.reader.closed().await
    }

    fn trailers(&self) -> &Headers {
        &self.reader.trailers
    }

    fn become_tunnel(&mut self) {
        self.reader.become_tunnel();
    }
}

struct Sink<'a> {
    writer: Writer<'a>,
    stream: &'a Stream,
    version: Version,
    head_request: bool,
    /// Whether the client wants the connection kept.
    persistent: bool,
    begun: bool,
    /// Whether the connection is kept after this exchange.
    kept: bool,
}

impl Sink<'_> {
    fn write_head(&mut self, head: &ResponseHead) {
        let out = &mut *self.writer.out;
        out.extend_from_slice(b"HTTP/1.1 ");
        let digit =
            |divisor: u16| b'0' + u8::try_from(head.status / divisor % 10).unwrap_or_default();
        out.extend([digit(100), digit(10), digit(1), b' ']);
        out.extend_from_slice(head.reason());
        out.extend_from_slice(b"\r\n");
        head.headers.write_to(out);
    }
}

impl ResponseSink for Sink<'_> {
    async fn interim(&mut self, head: &ResponseHead) -> Result<(), ClientFault> {
        // An HTTP/1.0 client would take it for the response.
        if self.version == Version::Http10 {
            return Ok(());
        }
        self.write_head(head);
        self.writer.out.extend_from_slice(b"\r\n");
        Ok(self.writer.flush().await?)
    }

    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        keep: bool,
    ) -> Result<(), ClientFault> {
        self.begun = true;
        self.kept = self.persistent && keep;
        self.write_head(head);
        // A response that can have no body says nothing of one, but for HEAD and 304, which tell
        // what there would be: their Content-Length is still among the fields.
        let bodiless =
            head.status < 200 || head.status == 204 || head.status == 304 || self.head_request;
        let out = &mut *self.writer.out;
        match length {
            // What a page of ours would have been.
            Length::Known(length)
                if self.head_request && head.headers.get(Name::ContentLength).is_none() =>
            {
                respond::write_content_length(out, length);
            }
            _ if bodiless => {}
            Length::Absent => write_field(out, b"Content-Length", b"0"),
            Length::Known(length) => respond::write_content_length(out, length),
            Length::Unknown if self.version == Version::Http10 => self.kept = false,
            Length::Unknown => {
                self.writer.chunked = true;
                write_field(out, b"Transfer-Encoding", b"chunked");
            }
        }
        if !self.kept {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    async fn data(&mut self, bytes: &[u8], _last: bool) -> Result<(), ClientFault> {
        if self.head_request {
            return Ok(());
        }
        Ok(self.writer.data(bytes).await?)
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        Ok(self.writer.flush().await?)
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        Ok(self.writer.end(trailers).await?)
    }

    async fn open_tunnel(&mut self, head: &ResponseHead) -> Result<(), ClientFault> {
        self.begun = true;
        self.kept = false;
        self.write_head(head);
        let upgrade = head.headers.get(Name::Upgrade).is_some();
        debug_assert!(upgrade, "a tunnel without its protocol");
        self.writer
            .out
            .extend_from_slice(b"Connection: Upgrade\r\n\r\n");
        Ok(self.writer.flush().await?)
    }

    fn poll_closed(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The reading side sees it.
        Poll::Pending
    }

    fn is_begun(&self) -> bool {
        self.begun
    }

    fn abort(&mut self) {
        self.kept = false;
        self.writer.out.clear();
        self.stream.reset_on_close();
    }
}
