//! One exchange on an HTTP/2 connection: the request on its way out, the response on its way in.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use super::connection::Connection;
use crate::client::Length;
use crate::h2_message;
use crate::headers::{Headers, ResponseHead};
use crate::http1::parse::MAX_HEADERS;
use crate::record::Reason;
use crate::respond::phrase;
use crate::upstream::{Announced, BodySink, BodySource, Lease, Refused};

/// The most interim responses that are held for a client that takes them slowly.
const MAX_AHEAD: usize = 16;

/// The most that waits to be sent with more.
const MAX_WAITING: usize = 8 * 1024;

/// The right to one stream of a connection.
#[derive(Debug)]
pub(crate) struct Http2Stream {
    connection: Rc<Connection>,
    lease: Lease,
    /// The connection has carried a stream before.
    pub(crate) reused: bool,
}

/// Why a stream failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: Reason,
    /// The endpoint has said that it did nothing with the request (RFC 9113, section 8.7).
    pub(crate) unprocessed: bool,
}

impl Fault {
    fn of(error: &h2::Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        // Only the streams above the last that a GOAWAY names fail by it; the others go on.
        let unprocessed = error.is_remote() && (refused || error.is_go_away());
        let reason = if unprocessed || error.is_io() {
            Reason::UpstreamClosed
        } else if error.is_remote() {
            Reason::UpstreamReset
        } else {
            Reason::UpstreamProtocol
        };
        Self {
            reason,
            unprocessed,
        }
    }
}

impl Http2Stream {
    pub(super) fn new(connection: &Rc<Connection>, lease: Lease) -> Self {
        connection.stream_begins();
        Self {
            reused: connection.used.replace(true),
            connection: Rc::clone(connection),
            lease,
        }
    }

    /// Sends the head of a request, as far as the endpoint's limits let it.
    pub(crate) fn open(&self, request: Request<()>, last: bool) -> Result<Opened, Fault> {
        let mut sender = self.connection.sender();
        let sent = sender.send_request(request, last);
        let (response, stream) = sent.map_err(|error| Fault {
            // Nothing of it has been sent.
            unprocessed: true,
            ..Fault::of(&error)
        })?;
        Ok(Opened {
            sending: Sending {
                stream,
                waiting: Vec::new(),
            },
            response: Http2Response {
                state: State::Head(response),
                ahead: VecDeque::new(),
                current: Bytes::new(),
                trailers: Headers::default(),
                fault: None,
            },
        })
    }

    /// Whether the connection is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.lease.0.endpoint.transport.tls.is_some()
    }

    /// What this worker knows of the endpoint.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Has the connection looked at: this exchange has waited for too long.
    pub(crate) fn doubt(&self) {
        self.connection.doubt(Duration::from_nanos(1));
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.connection.stream_ends();
        if let Some(connections) = self.lease.http2() {
            connections.room();
        }
    }
}

/// Both directions of a stream.
pub(crate) struct Opened {
    pub(crate) sending: Sending,
    pub(crate) response: Http2Response,
}

/// The direction to the endpoint.
pub(crate) struct Sending {
    stream: SendStream<Bytes>,
    /// Small pieces that wait to be sent together: many servers take floods of small frames for
    /// an attack, and end the connection that all share.
    waiting: Vec<u8>,
}

impl BodySink for Sending {
    async fn data(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if self.waiting.len() + bytes.len() <= MAX_WAITING {
            self.waiting.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush().await?;
        Ok(h2_message::send(&mut self.stream, bytes, false).await?)
    }

    async fn flush(&mut self) -> Result<(), Refused> {
        let sent = h2_message::send(&mut self.stream, &self.waiting, false).await;
        self.waiting.clear();
        Ok(sent?)
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), Refused> {
        if trailers.len() == 0 && !self.waiting.is_empty() {
            return Ok(h2_message::send(&mut self.stream, &self.waiting, true).await?);
        }
        self.flush().await?;
        Ok(h2_message::end(&mut self.stream, trailers)?)
    }
}

impl From<h2_message::Gone> for Refused {
    fn from(h2_message::Gone: h2_message::Gone) -> Self {
        Self
    }
}

/// The direction from the endpoint.
pub(crate) struct Http2Response {
    state: State,
    /// Interim responses that came while the client took another.
    ahead: VecDeque<Response<()>>,
    current: Bytes,
    trailers: Headers,
    /// How it failed, if it did.
    pub(crate) fault: Option<Fault>,
}

enum State {
    Head(ResponseFuture),
    Body(RecvStream),
    Done,
}

/// The next head of a response.
enum Head {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

impl Http2Response {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, h2::Error>> {
        if let Some(interim) = self.ahead.pop_front() {
            return Poll::Ready(Ok(Head::Interim(interim)));
        }
        let State::Head(response) = &mut self.state else {
            return Poll::Pending;
        };
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(interim.map(Head::Interim));
        }
        let response = ready!(Pin::new(response).poll(cx));
        Poll::Ready(response.map(Head::Final))
    }

    fn fail(&mut self, error: &h2::Error) -> Reason {
        let fault = Fault::of(error);
        self.state = State::Done;
        self.fault = Some(fault);
        fault.reason
    }

    async fn read_trailers(&mut self) -> Result<(), Reason> {
        let State::Body(stream) = &mut self.state else {
            return Ok(());
        };
        match stream.trailers().await {
            Ok(trailers) => {
                h2_message::take_trailers(trailers.as_ref(), &mut self.trailers);
                self.state = State::Done;
                Ok(())
            }
            Err(error) => Err(cut(self.fail(&error))),
        }
    }
}

/// The reason, where a part of the response has come already.
fn cut(reason: Reason) -> Reason {
    match reason {
        Reason::UpstreamClosed => Reason::UpstreamTruncated,
        reason => reason,
    }
}

impl BodySource for Http2Response {
    async fn head(
        &mut self,
        head: &mut ResponseHead,
        head_request: bool,
    ) -> Result<Announced, Reason> {
        let next = poll_fn(|cx| self.poll_head(cx)).await;
        match next {
            Ok(Head::Interim(interim)) => {
                read_head(&interim, head)?;
                Ok(Announced::NOTHING)
            }
            Ok(Head::Final(response)) => {
                read_head(&response, head)?;
                let length = length(&response, head_request);
                self.state = State::Body(response.into_body());
                Ok(Announced {
                    length,
                    persistent: true,
                })
            }
            Err(error) => Err(self.fail(&error)),
        }
    }

    async fn flooded(&mut self) -> Reason {
        poll_fn(|cx| {
            let State::Head(response) = &mut self.state else {
                return Poll::Pending;
            };
            while self.ahead.len() < MAX_AHEAD {
                match ready!(response.poll_informational(cx)) {
                    Some(Ok(interim)) => self.ahead.push_back(interim),
                    // Found again by whoever asks for the head.
                    None | Some(Err(_)) => return Poll::Pending,
                }
            }
            Poll::Ready(Reason::UpstreamProtocol)
        })
        .await
    }

    async fn fill(&mut self) -> Result<&[u8], Reason> {
        while self.current.is_empty()
            && let State::Body(stream) = &mut self.state
        {
            match stream.data().await {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(error)) => return Err(cut(self.fail(&error))),
                None => self.read_trailers().await?,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
        if let State::Body(stream) = &mut self.state {
            // It fails only for more than was received.
            let _ = stream.flow_control().release_capacity(count);
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.state, State::Done) && self.current.is_empty()
    }

    fn has_buffered(&mut self) -> bool {
        !self.current.is_empty()
    }

    fn take_trailers(&mut self) -> Headers {
        std::mem::take(&mut self.trailers)
    }
}

/// Puts the head into the proxy's own form.
fn read_head<T>(from: &Response<T>, to: &mut ResponseHead) -> Result<(), Reason> {
    let status = from.status().as_u16();
    let fields: &HeaderMap = from.headers();
    // HTTP/2 has no upgrades (RFC 9113, section 8.6).
    if status == 101 || !(100..=599).contains(&status) || fields.len() > MAX_HEADERS {
        return Err(Reason::UpstreamProtocol);
    }
    to.start(status, phrase(status).as_bytes());
    for (name, value) in fields {
        to.headers.push(name.as_str().as_bytes(), value.as_bytes());
    }
    Ok(())
}

/// The length of the body. h2 holds the endpoint to what it has announced.
fn length(response: &Response<RecvStream>, head_request: bool) -> Length {
    let status = response.status().as_u16();
    if head_request || status == 204 || status == 304 || response.body().is_end_stream() {
        return Length::Absent;
    }
    let announced = response.headers().get(http::header::CONTENT_LENGTH);
    announced
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .map_or(Length::Unknown, Length::Known)
}
