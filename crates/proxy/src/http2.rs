//! HTTP/2 clients (RFC 9113), by the `h2` crate: each stream is an exchange of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, Bytes};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::task::spawn_local;

use crate::client::{ClientFault, Closed, Connection, Length, RequestBody, ResponseSink};
use crate::exchange::{self, Parts, Start};
use crate::flood::{Account, Watched};
use crate::grpc;
use crate::h2_message::{self, Gone, Unfit};
use crate::headers::{Headers, Name, Names, RequestHead, ResponseHead};
use crate::io::Owned;
use crate::linger;
use crate::record::{Reason, Version};
use crate::respond::{self, Form};
use crate::timer::Timer;
use crate::worker::Worker;

/// What a client may send on one stream before it is read.
const STREAM_WINDOW: u32 = 256 * 1024;

/// What a client may send on all streams before it is read.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What one stream may hold that the client has not taken.
const SEND_BUFFER: usize = 128 * 1024;

/// How many requests of one connection the client may abandon, if that is also more than half of
/// them, before the connection ends (CVE-2023-44487, Rapid Reset). The `h2` crate counts those
/// that it has not handed over yet; these are the others.
const MAX_ABANDONED: u64 = 100;

/// How many streams of one connection may end by an error that the client provoked
/// (CVE-2025-8671, MadeYouReset), beyond which the connection ends.
const MAX_PROVOKED_RESETS: usize = 100;

/// How many streams that we have reset are remembered, for frames that were on their way.
const REMEMBERED_RESETS: usize = 20;

/// How long a connection whose streams have all ended may take to end itself.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, io: Owned, connection: Connection) {
    let settings = worker.settings();
    let (limits, timeouts) = (&settings.limits, &settings.timeouts);
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_local_error_reset_streams(Some(MAX_PROVOKED_RESETS))
        .max_concurrent_reset_streams(REMEMBERED_RESETS)
        .enable_connect_protocol();
    let mut timer = Timer::default();
    let account = Account::new(limits.h2_control_frames);
    let handshake = builder.handshake::<_, Bytes>(Watched::new(io, &account));
    let Ok(Ok(mut http2)) = timer.limit(timeouts.handshake, handshake).await else {
        return;
    };
    let connection = Rc::new(connection);
    let streams = Rc::new(Streams::default());
    let mut requests = 0u64;
    let (mut closing, mut ending) = (false, false);
    loop {
        let limit = match (closing, streams.active.get()) {
            (true, 0) => CLOSE_LIMIT,
            _ => timeouts.keep_alive,
        };
        let most = limits.requests_per_connection;
        let accept = poll_fn(|cx| {
            let abandoned = streams.abandoned.get();
            if !ending && abandoned > MAX_ABANDONED && abandoned * 2 > requests {
                return Poll::Ready(Event::Abuse);
            }
            if !closing && (worker.is_draining() || (most > 0 && requests >= most)) {
                return Poll::Ready(Event::Close);
            }
            let accepted = http2.poll_accept(cx);
            if !ending && account.is_flooded() {
                return Poll::Ready(Event::Abuse);
            }
            accepted.map(|accepted| match accepted {
                Some(Ok(stream)) => Event::Stream(Box::new(stream)),
                _ => Event::End,
            })
        });
        match timer.limit(limit, accept).await {
            Ok(Event::Stream(accepted)) => {
                let (request, respond) = *accepted;
                requests += 1;
                account.request();
                let permit = Active::new(&streams);
                let (worker, connection) = (Rc::clone(&worker), Rc::clone(&connection));
                // Boxed, because a task is moved several times on its way into the runtime.
                spawn_local(Box::pin(async move {
                    if !stream(&worker, &connection, request, respond).await {
                        permit.abandoned();
                    }
                }));
            }
            Ok(Event::End) => return,
            Ok(Event::Abuse) => {
                (closing, ending) = (true, true);
                worker.metrics.http2_abuse();
                http2.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            }
            Ok(Event::Close) => {
                closing = true;
                http2.graceful_shutdown();
            }
            // Streams that are active have limits of their own.
            Err(_) if streams.active.get() > 0 => {}
            Err(_) if closing => return,
            Err(_) => {
                closing = true;
                http2.graceful_shutdown();
            }
        }
    }
}

enum Event {
    Stream(Box<(Request<RecvStream>, SendResponse<Bytes>)>),
    /// No more streams are wanted.
    Close,
    /// The client asks only to abandon, or sends frames for their own sake.
    Abuse,
    /// The connection is over.
    End,
}

/// The streams of one connection.
#[derive(Default)]
struct Streams {
    active: Cell<usize>,
    /// Those that the client gave up before there was anything of a response.
    abandoned: Cell<u64>,
}

/// Counts a stream for as long as it lasts.
struct Active(Rc<Streams>);

impl Active {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.active.set(streams.active.get() + 1);
        Self(Rc::clone(streams))
    }

    fn abandoned(&self) {
        self.0.abandoned.set(self.0.abandoned.get() + 1);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// Serves one stream. False if the client gave it up before there was anything of a response.
async fn stream(
    worker: &Worker,
    connection: &Connection,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> bool {
    let start = Start {
        clock: Instant::now(),
        time: SystemTime::now(),
    };
    worker.keep_in_step();
    let mut scratch = worker.take_scratch();
    let mut timer = Timer::default();
    let (head, stream) = request.into_parts();
    let protocol = head.extensions.get::<h2::ext::Protocol>();
    let tunnel = protocol.map(|protocol| protocol.as_str().as_bytes().to_vec());
    let mut sink = Sink {
        respond,
        stream: None,
        begun: false,
        head_request: head.method == Method::HEAD,
    };
    let mut unread = None;
    let wanted = match read_head(worker, &head, &mut scratch.request, tunnel.is_some()) {
        Ok(()) => {
            let mut body = Body::new(stream, &head.headers, tunnel.is_some());
            let mut parts = Parts {
                worker,
                connection,
                start,
                timer: &mut timer,
                request: &mut scratch.request,
                response: &mut scratch.response,
                upstream_out: &mut scratch.upstream_out,
                tunnel,
            };
            let whole = exchange::run(&mut parts, &mut body, &mut sink).await;
            if whole && sink.begun && !body.is_done() {
                unread = Some(body);
            }
            whole || sink.begun
        }
        Err(reason) => {
            let content_type = head.headers.get(http::header::CONTENT_TYPE);
            let form = content_type
                .map(HeaderValue::as_bytes)
                .filter(|value| grpc::of_content_type(value).is_some())
                .map_or(Form::Text, Form::Grpc);
            let answer = respond::send(
                worker,
                &mut scratch.response,
                &mut sink,
                reason,
                form,
                true,
                |_| {},
            );
            // The client may have gone; there is nobody else to tell.
            let _ = timer.limit(worker.settings().timeouts.write, answer).await;
            let status = form.status(reason);
            exchange::record_refusal(worker, connection, &scratch.request, start, status, reason);
            true
        }
    };
    worker.give_scratch(scratch);
    if let Some(mut body) = unread {
        // The stream's reset would otherwise reach the client before it has read the answer.
        linger::linger(linger::BODY, async || body.skip().await).await;
    }
    wanted
}

/// Puts the request into the proxy's own form.
fn read_head(
    worker: &Worker,
    from: &http::request::Parts,
    to: &mut RequestHead,
    tunnel: bool,
) -> Result<(), Reason> {
    let settings = worker.settings();
    let limits = &settings.limits;
    let target = from
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    to.start(
        Version::Http2,
        from.method.as_str().as_bytes(),
        target.as_bytes(),
    );
    if target.len() > limits.uri_bytes {
        return Err(Reason::UriTooLong);
    }
    if from.headers.len() > limits.headers {
        return Err(Reason::HeaderTooLarge);
    }
    let mut hosts = from.headers.get_all(http::header::HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Reason::BadHost);
    }
    let authority = from
        .uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    match (authority, host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
            return Err(Reason::BadHost);
        }
        (Some(authority), _) | (None, Some(authority)) => to.set_authority(authority),
        (None, None) => return Err(Reason::BadHost),
    }
    let mut cookies: Vec<u8> = Vec::new();
    for (name, value) in &from.headers {
        let name = name.as_str().as_bytes();
        let token = match Name::undisguised(name) {
            Ok(token) => token,
            Err(Name::ContentLength | Name::TransferEncoding | Name::Host) => {
                return Err(Reason::BadRequest);
            }
            Err(_) => continue,
        };
        if name == b"host" {
        } else if name == b"cookie" {
            // RFC 9113, section 8.2.3: HTTP/1 has one field for all crumbs.
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(value.as_bytes());
        } else {
            to.headers.push_known(token, name, value.as_bytes());
        }
    }
    if !cookies.is_empty() {
        to.headers.push(b"cookie", &cookies);
    }
    if tunnel {
        // The handshake of RFC 6455 that the backend speaks; RFC 8441 has none.
        to.headers
            .remove(Names::of(&[Name::SecWebSocketKey, Name::ContentLength]));
        to.headers.push_known(
            Name::SecWebSocketKey,
            b"Sec-WebSocket-Key",
            &new_websocket_key(),
        );
    }
    Ok(())
}

/// 16 random bytes in base64 (RFC 6455, section 4.1). Their last group is padded, and its last
/// digit carries two bits.
fn new_websocket_key() -> [u8; 24] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = [b'='; 24];
    for digit in &mut key[..21] {
        *digit = DIGITS[fastrand::usize(..64)];
    }
    key[21] = DIGITS[fastrand::usize(..4) << 4];
    key
}

struct Body {
    stream: RecvStream,
    current: Bytes,
    done: bool,
    length: Length,
    trailers: Headers,
}

impl Body {
    fn new(stream: RecvStream, headers: &HeaderMap, tunnel: bool) -> Self {
        let announced = headers
            .get(http::header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let done = stream.is_end_stream();
        let length = match announced {
            _ if tunnel => Length::Absent,
            Some(length) => Length::Known(length),
            None if done => Length::Absent,
            None => Length::Unknown,
        };
        Self {
            stream,
            current: Bytes::new(),
            done,
            length,
            trailers: Headers::default(),
        }
    }

    /// Reads and forgets something; how much, which is nothing at the end.
    async fn skip(&mut self) -> usize {
        let count = self.fill().await.map_or(0, <[u8]>::len);
        self.consume(count);
        count
    }

    async fn read_trailers(&mut self) -> Result<(), ClientFault> {
        self.done = true;
        let trailers = self
            .stream
            .trailers()
            .await
            .map_err(|_| ClientFault::Closed)?;
        h2_message::take_trailers(trailers.as_ref(), &mut self.trailers);
        Ok(())
    }
}

impl RequestBody for Body {
    fn length(&self) -> Length {
        self.length
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        while self.current.is_empty() && !self.done {
            match self.stream.data().await {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(_)) => return Err(ClientFault::Closed),
                None => self.read_trailers().await?,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, count: usize) {
        self.current.advance(count);
        // It fails only for more than was received.
        let _ = self.stream.flow_control().release_capacity(count);
    }

    fn is_done(&self) -> bool {
        self.done && self.current.is_empty()
    }

    fn has_buffered(&mut self) -> bool {
        !self.current.is_empty()
    }

    async fn closed(&mut self) -> Closed {
        // The sending side sees it.
        std::future::pending().await
    }

    fn trailers(&self) -> &Headers {
        &self.trailers
    }

    fn become_tunnel(&mut self) {}
}

struct Sink {
    respond: SendResponse<Bytes>,
    /// Once the head is out, unless it was all.
    stream: Option<SendStream<Bytes>>,
    begun: bool,
    head_request: bool,
}

impl Sink {
    fn send_head(&mut self, response: Response<()>, last: bool) -> Result<(), ClientFault> {
        self.begun = true;
        let stream = self
            .respond
            .send_response(response, last)
            .map_err(|_| ClientFault::Closed)?;
        self.stream = (!last).then_some(stream);
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        h2_message::send(stream, bytes, last).await?;
        if last && !bytes.is_empty() {
            self.stream = None;
        }
        Ok(())
    }
}

impl ResponseSink for Sink {
    async fn interim(&mut self, head: &ResponseHead) -> Result<(), ClientFault> {
        let mut response = to_http(head, head.status)?;
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
        // A client that does not want them resets the stream, which the response will show.
        self.respond
            .send_informational(response)
            .map_err(|_| ClientFault::Closed)
    }

    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        _keep: bool,
    ) -> Result<(), ClientFault> {
        let mut response = to_http(head, head.status)?;
        let bodiless = head.status == 204 || head.status == 304 || self.head_request;
        if let (Length::Known(length), false) = (length, bodiless) {
            response
                .headers_mut()
                .insert(http::header::CONTENT_LENGTH, length.into());
        }
        self.send_head(
            response,
            bodiless || matches!(length, Length::Absent | Length::Known(0)),
        )
    }

    async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault> {
        self.send(bytes, last).await
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        Ok(())
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        let Some(mut stream) = self.stream.take() else {
            return Ok(());
        };
        Ok(h2_message::end(&mut stream, trailers)?)
    }

    async fn open_tunnel(&mut self, head: &ResponseHead) -> Result<(), ClientFault> {
        let mut response = to_http(head, 200)?;
        response.headers_mut().remove(http::header::UPGRADE);
        response
            .headers_mut()
            .remove(http::header::SEC_WEBSOCKET_ACCEPT);
        self.send_head(response, false)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.stream {
            Some(stream) => stream.poll_reset(cx),
            None if self.begun => return Poll::Pending,
            None => self.respond.poll_reset(cx),
        };
        reset.map(drop)
    }

    fn is_begun(&self) -> bool {
        self.begun
    }

    fn abort(&mut self) {
        match self.stream.take() {
            Some(mut stream) => stream.send_reset(h2::Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}

impl From<Gone> for ClientFault {
    fn from(Gone: Gone) -> Self {
        Self::Closed
    }
}

fn to_http(head: &ResponseHead, status: u16) -> Result<Response<()>, ClientFault> {
    let mut response = Response::new(());
    *response.status_mut() =
        http::StatusCode::from_u16(status).map_err(|_| ClientFault::Malformed)?;
    *response.headers_mut() =
        h2_message::to_map(&head.headers).map_err(|Unfit| ClientFault::Malformed)?;
    Ok(response)
}
