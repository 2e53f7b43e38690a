//! What an exchange works with, and what is known of it so far.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use model::policy::Affinity;
use model::{Rule, Share, Split};

use crate::access_log::{Ended, Trail};
use crate::client::Connection;
use crate::filters::snippet::{self, Late};
use crate::filters::{self, Asked};
use crate::headers::{Headers, RequestHead, ResponseHead};
use crate::record::Reason;
use crate::telemetry::Trace;
use crate::timer::{Elapsed, Timer};
use crate::worker::{HeldRule, Worker};

/// RFC 6797, section 6.1.
const HSTS: &[u8] = b"Strict-Transport-Security";

/// When a request's first byte was read, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) clock: Instant,
    pub(crate) time: SystemTime,
}

/// What an exchange works with.
pub(crate) struct Parts<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) connection: &'a Connection,
    pub(crate) start: Start,
    pub(crate) timer: &'a mut Timer,
    pub(crate) request: &'a mut RequestHead,
    pub(crate) response: &'a mut ResponseHead,
    /// What is written to the backend: the head, made once for all attempts.
    pub(crate) upstream_out: &'a mut Vec<u8>,
    /// The protocol that the client wants the connection to change to.
    pub(crate) tunnel: Option<Vec<u8>>,
}

/// What is known of the exchange so far. Both directions write it.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) status: Cell<u16>,
    pub(crate) attempts: Cell<u8>,
    pub(crate) endpoint: Cell<Option<SocketAddr>>,
    pub(crate) upstream: Cell<Option<Duration>>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(super) client: Cell<Option<IpAddr>>,
    pub(super) host_slot: Cell<u16>,
    /// The client came with TLS, as far as it knows, and may be told to go on doing so.
    pub(super) secure: Cell<bool>,
    /// The rule, if it says what few rules say.
    extras: Cell<Option<Rc<HeldRule>>>,
    /// What is noted for a trace that is told.
    pub(super) trace: Cell<Option<Box<Trace>>>,
    /// The field that keeps the client with its endpoint.
    pub(super) remember: RefCell<Option<Box<Remember>>>,
    /// What the access log is told besides, where its format asks for it.
    pub(super) trail: RefCell<Option<Box<Trail>>>,
    /// What is done to the response.
    pub(super) edits: RefCell<Option<Box<Edits>>>,
    /// Which of several backends was chosen.
    pub(super) share: Cell<Option<u16>>,
    /// The request's body has been read to its end.
    pub(crate) body_done: Cell<bool>,
    /// An interim response (1xx) has gone to the client.
    pub(super) interim: Cell<bool>,
    /// When the request had been written to the backend to its end.
    pub(super) sent_at: Cell<Option<Instant>>,
    /// The endpoint has said that it did nothing with the request.
    pub(super) unprocessed: Cell<bool>,
    /// The client takes trailers.
    pub(super) trailers_wanted: Cell<bool>,
    /// Of a call whose directions are idle together or not at all.
    call: Cell<Option<Call>>,
}

/// What filters do to the response.
#[derive(Debug)]
pub(super) struct Edits {
    pub(super) rule: Rc<HeldRule>,
    /// What it looks at besides the response.
    pub(super) asked: Asked,
    /// Of who was asked whether the request may pass.
    pub(super) cookies: Option<Cookies>,
    /// What snippets say of it.
    pub(super) late: Vec<Late>,
    reach: Reach,
}

/// How much is done to a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// What all filters say.
    All,
    /// The request was refused before most filters have a say.
    Refusal,
    /// The page of an error, which is somebody else's.
    Page,
}

/// Cookies for the client.
#[derive(Debug)]
pub(super) struct Cookies {
    /// Values of Set-Cookie.
    pub(super) values: Vec<Vec<u8>>,
    /// Whatever the status is.
    pub(super) always: bool,
}

impl Cookies {
    /// The statuses with which nginx's `add_header` does anything, unless it always does.
    fn go_with(&self, status: u16) -> bool {
        self.always || matches!(status, 200 | 201 | 204 | 206 | 301..=304 | 307 | 308)
    }
}

/// A field by which a client is to be known again.
#[derive(Debug)]
pub(super) struct Remember {
    pub(super) field: Box<str>,
    pub(super) value: Vec<u8>,
}

/// A call (gRPC) in which either side may be silent for long while the other is not.
#[derive(Debug, Clone, Copy)]
struct Call {
    /// When something last moved, in either direction.
    moved: Instant,
    idle: Duration,
}

impl Facts {
    /// Has the response keep the client with its endpoint, and does to it what filters want.
    pub(super) fn finish_head(&self, worker: &Worker, headers: &mut Headers) {
        if let Some(remember) = self.remember.take() {
            headers.push(remember.field.as_bytes(), &remember.value);
        }
        if self.secure.get() {
            // In the place of what the backend says, as in ingress-nginx.
            let held = self.extras.take();
            let extras = held.as_ref().and_then(|held| held.rule().extras.as_ref());
            let own = extras.and_then(|extras| extras.hsts.as_deref());
            if own.is_some_and(|own| !own.is_empty()) {
                headers.remove_named(HSTS);
            }
            self.extras.set(held);
        }
        self.edit(worker, headers);
    }

    /// Does to the response what filters and the settings want.
    pub(super) fn edit(&self, worker: &Worker, headers: &mut Headers) {
        self.filter(headers);
        let extras = self.extras.take();
        let extras = extras
            .as_ref()
            .and_then(|held| held.rule().extras.as_deref());
        if extras.is_some_and(|extras| extras.hides_server) {
            headers.remove_named(b"server");
        }
        if extras.is_some_and(|extras| extras.names_server) && headers.joined(b"server").is_none() {
            headers.push(b"Server", b"nginx");
        }
        if !self.secure.take() {
            return;
        }
        let own = extras.and_then(|extras| extras.hsts.as_ref());
        let settings = worker.settings();
        if let Some(hsts) = own.or(settings.hsts.as_ref())
            && !hsts.is_empty()
            && !headers
                .iter()
                .any(|(_, name, _)| name.eq_ignore_ascii_case(HSTS))
        {
            headers.push(HSTS, hsts.as_bytes());
        }
    }

    /// Has the response be edited by a rule's filters.
    pub(super) fn edit_with(
        &self,
        held: &Rc<HeldRule>,
        connection: &Connection,
        request: &RequestHead,
        host: &str,
    ) {
        let origin = request.headers.joined(b"origin");
        let former = self.edits.take();
        self.edits.replace(Some(Box::new(Edits {
            rule: Rc::clone(held),
            asked: Asked {
                origin: origin.map(|origin| origin.into_owned()),
                scheme: match connection.tls {
                    Some(_) => b"https",
                    None => b"http",
                },
                host: host.as_bytes().into(),
            },
            cookies: former.and_then(|former| former.cookies),
            late: Vec::new(),
            reach: Reach::All,
        })));
    }

    /// Has the answer to a request that is refused be edited as all answers are.
    pub(super) fn edit_refusal(&self, held: &Rc<HeldRule>) {
        self.edits.replace(Some(Box::new(Edits {
            rule: Rc::clone(held),
            asked: Asked::default(),
            cookies: None,
            late: Vec::new(),
            reach: Reach::Refusal,
        })));
    }

    /// Has the page of an error say how to be let in, where the error is that nobody knows who asks.
    pub(super) fn challenge(&self, held: &Rc<HeldRule>, challenges: Vec<Vec<u8>>) {
        if challenges.is_empty() {
            return;
        }
        let late = challenges.into_iter();
        let late = late.map(|value| Late::add("WWW-Authenticate", value));
        self.edits.replace(Some(Box::new(Edits {
            rule: Rc::clone(held),
            asked: Asked::default(),
            cookies: None,
            late: late.collect(),
            reach: Reach::Page,
        })));
    }

    /// Has what snippets say be done to the response, besides what filters do.
    pub(super) fn edit_late(&self, late: Vec<Late>) {
        if let Some(edits) = self.edits.borrow_mut().as_mut() {
            edits.late = late;
        }
    }

    /// Forgets what has come to nothing, before somebody else is asked.
    pub(super) fn begin_anew(&self) {
        self.upstream.set(None);
        self.sent_at.set(None);
        self.remember.take();
        self.edits.take();
        if let Some(trail) = self.trail.borrow_mut().as_mut() {
            trail.turn();
        }
    }

    /// An endpoint is asked.
    pub(super) fn begin_attempt(&self, address: SocketAddr, now: Instant) {
        self.endpoint.set(Some(address));
        self.attempts.set(self.attempts.get().saturating_add(1));
        if let Some(trail) = self.trail.borrow_mut().as_mut() {
            trail.begin(address, now);
        }
    }

    /// The attempt has ended, to which there was a connection at `connected`.
    pub(super) fn end_attempt(&self, connected: Option<Instant>, reason: Option<Reason>) {
        if let Some(trail) = self.trail.borrow_mut().as_mut() {
            let answering = self.status.get();
            let status = match reason {
                Some(Reason::UpstreamStatus(status) | Reason::ErrorPage(status)) => status,
                _ if answering != 0 => answering,
                None | Some(Reason::ClientClosed) => 0,
                Some(Reason::ConnectTimeout | Reason::ResponseTimeout | Reason::RequestTimeout) => {
                    504
                }
                Some(_) => 502,
            };
            trail.end(Ended {
                connected,
                head: self.upstream.get(),
                status,
                length: self.bytes_out.get(),
            });
        }
    }

    /// Remembers what few rules say.
    pub(super) fn take_extras(&self, held: &Rc<HeldRule>) {
        if held.rule().extras.is_some() {
            self.extras.replace(Some(Rc::clone(held)));
        }
    }

    /// Has the client get cookies with the response.
    pub(super) fn give_cookies(&self, held: &Rc<HeldRule>, cookies: Cookies) {
        let mut edits = self.edits.borrow_mut();
        let edits = edits.get_or_insert_with(|| {
            Box::new(Edits {
                rule: Rc::clone(held),
                asked: Asked::default(),
                cookies: None,
                late: Vec::new(),
                reach: Reach::All,
            })
        });
        edits.cookies = Some(cookies);
    }

    fn filter(&self, headers: &mut Headers) {
        let Some(edits) = self.edits.take() else {
            return;
        };
        let rule = edits.rule.rule();
        if edits.reach != Reach::All {
            if edits.reach == Reach::Refusal {
                filters::finish_refusal(&rule.filters, headers);
            }
            return snippet::finish(&edits.late, headers, self.status.get());
        }
        filters::finish(&rule.filters, headers, &edits.asked);
        if let Some(share) = self.share_of(rule) {
            filters::finish(&share.filters, headers, &edits.asked);
        }
        let cookies = edits.cookies.as_ref();
        if let Some(cookies) = cookies.filter(|cookies| cookies.go_with(self.status.get())) {
            for value in &cookies.values {
                headers.push(b"Set-Cookie", value);
            }
        }
        snippet::finish(&edits.late, headers, self.status.get());
    }

    /// Which of a rule's backends was chosen, where it has several.
    pub(super) fn share_of<'r>(&self, rule: &'r Rule) -> Option<&'r Share> {
        let split: &Split = match &rule.action {
            model::Action::Split(split) => split,
            _ => return None,
        };
        split.shares().get(usize::from(self.share.get()?))
    }

    /// What keeps clients with an endpoint of the backend that was chosen, where the rule says so.
    pub(super) fn affinity_of<'r>(&self, rule: &'r Rule) -> Option<&'r Arc<Affinity>> {
        let affinity = rule.affinity.as_ref()?;
        let keeps = match (&rule.action, self.share.get()) {
            (model::Action::Split(split), Some(share)) => split.keeps_sessions(share.into()),
            _ => true,
        };
        keeps.then_some(affinity)
    }

    /// Whether any of a backend's response has gone to the client.
    pub(super) fn is_answering(&self) -> bool {
        self.interim.get() || self.status.get() != 0
    }

    /// Has either direction's movement keep the whole exchange alive, for so long.
    pub(super) fn idle_together(&self, idle: Duration) {
        let moved = Instant::now();
        self.call.set(Some(Call { moved, idle }));
    }

    /// Notes that something moved.
    pub(super) fn moved(&self) {
        if let Some(call) = self.call.get() {
            let moved = Instant::now();
            self.call.set(Some(Call { moved, ..call }));
        }
    }

    /// Runs one direction's `operation` for `limit` at the most; in a call, for as long as
    /// anything moves.
    pub(super) fn moving<T>(
        &self,
        timer: &mut Timer,
        limit: Duration,
        operation: impl Future<Output = T>,
    ) -> impl Future<Output = Result<T, Elapsed>> {
        let limit = self.call.get().map_or(limit, |call| call.idle);
        timer.limit_unless(limit, operation, || self.idle_left())
    }

    /// The same for what the endpoint sends, as long as the client wants it: `gone` is ready once
    /// it does not. One function for both: each that holds a future holds it twice.
    pub(super) async fn moving_while_wanted<T>(
        &self,
        timer: &mut Timer,
        limit: Duration,
        operation: impl Future<Output = Result<T, Reason>>,
        mut gone: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) -> Result<T, Reason> {
        let mut operation = pin!(operation);
        let wanted = poll_fn(|cx| match operation.as_mut().poll(cx) {
            Poll::Pending => gone(cx).map(|()| Err(Reason::ClientClosed)),
            ready => ready,
        });
        let result = self.moving(timer, limit, wanted).await;
        result.unwrap_or_else(|elapsed| Err(late(elapsed, Reason::ResponseTimeout)))
    }

    /// How long a call may go on without movement, if it is one and may.
    fn idle_left(&self) -> Option<Duration> {
        let call = self.call.get()?;
        let left = call.idle.checked_sub(call.moved.elapsed())?;
        (!left.is_zero()).then_some(left)
    }

    pub(crate) fn add(counter: &Cell<u64>, count: usize) {
        counter.set(counter.get() + count as u64);
    }
}

/// The reason for a time limit that has passed.
pub(crate) fn late(elapsed: Elapsed, operation: Reason) -> Reason {
    match elapsed {
        Elapsed::Operation => operation,
        Elapsed::Total => Reason::RequestTimeout,
    }
}
