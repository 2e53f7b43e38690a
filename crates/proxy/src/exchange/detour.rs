//! The way of requests whose rules have filters that do more than send clients to HTTPS.

use std::rc::Rc;
use std::sync::Arc;

use model::{Backend, Filter, Rule};

use super::gather::Holding;
use super::mirror::{self, Copies};
use super::pace::Paced;
use super::parts::{Facts, Parts};
use super::prepare::{self, Pending};
use super::{auth, error_page, forward, gather, guard};
use crate::client::{ClientFault, Closed, Length, RequestBody, ResponseSink};
use crate::filters::{self, Answer, Context, compression, snippet};
use crate::forwarded::Client;
use crate::headers::Headers;
use crate::record::Reason;
use crate::variables::Scope;
use crate::worker::{HeldRule, Worker};

/// Why there is no response of a backend.
pub(super) enum Ended {
    /// A filter has answered.
    Answer(Answer),
    /// Something else.
    Reason(Reason),
}

impl From<Reason> for Ended {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

/// Runs the filters, and forwards what they let pass. Where that fails, somebody else may answer.
pub(super) async fn run<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    held: &Rc<HeldRule>,
    mut pending: Pending,
) -> Result<(), Ended> {
    let passed = match pending.refused {
        Some(reason) => {
            refuse(parts, facts, held, &pending);
            Err(reason.into())
        }
        None => pass(parts, body, sink, facts, held, &mut pending).await,
    };
    let Err(ended) = passed else {
        return Ok(());
    };
    let rule = held.rule();
    let pages = filters::error_pages(&rule.filters);
    let Some(pages) = pages.filter(|_| facts.status.get() == 0) else {
        return Err(ended);
    };
    let status = error_page::status_of(&ended);
    let Some(status) = status.filter(|status| pages.replaces(*status)) else {
        return Err(ended);
    };
    // Who makes all pages is nobody's Service.
    let is_general = |backend: &Arc<Backend>| {
        let general = pages.general.as_ref();
        general.is_some_and(|general| Arc::ptr_eq(general, backend))
    };
    let backend = prepare::backend(rule, facts).ok();
    let backend = backend.filter(|backend| !is_general(backend));
    let failed = error_page::Failed {
        rule,
        backend: backend.map_or("", |backend| &backend.name),
        status,
    };
    let compress = filters::compression(&rule.filters);
    match compress.and_then(|how| compression::negotiate(how, parts.request)) {
        Some(wanted) => {
            let mut sink = compression::Sink::new(sink, wanted, parts.request);
            Box::pin(error_page::answer(
                pages,
                failed,
                (held, &ended),
                parts,
                &mut sink,
                facts,
            ))
            .await
        }
        None => error_page::answer(pages, failed, (held, &ended), parts, sink, facts).await,
    }
}

/// Runs the filters, and forwards what they let pass.
async fn pass<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    held: &Rc<HeldRule>,
    pending: &mut Pending,
) -> Result<(), Ended> {
    let rule = held.rule();
    // First, for such a question tells nothing of who asks.
    if let Some(answer) = filters::preflight(&rule.filters, parts.request) {
        return Err(Ended::Answer(answer));
    }
    let mut spool = Spool::new(parts.worker, body);
    let sink = &mut Paced::new(sink, &rule.filters, parts.start.clock);
    if filters::touch_response(&rule.filters) {
        facts.edit_with(held, parts.connection, parts.request, &pending.host);
    }
    let logged = rule.extras.as_ref().filter(|extras| extras.logs_rewrites);
    let former = logged.map(|_| pending.path.clone());
    let told = run_snippet(parts, facts, rule, pending)?;
    if let Some(answer) = pending.answer.take() {
        return Err(Ended::Answer(answer));
    }
    // What stands before the guard, a redirect, is for those as well who do not come in.
    let (before, after) = guard::split(&rule.filters);
    filter(parts, &mut spool, before, rule, pending).await?;
    let _busy = guard::enter(parts, facts, held, pending).await?;
    snippet::tell(told, parts.request);
    if !after.is_empty() {
        filter(parts, &mut spool, after, rule, pending).await?;
    }
    if let Some(former) = former.filter(|former| *former != pending.path) {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let (from, to) = (text(&former), text(&pending.path));
        tracing::info!(route = %rule.route, from, to, "a request goes on with another path");
    }
    prepare::choose(parts.worker, parts.request, parts.connection, facts, rule);
    let share = facts.share_of(rule).map_or(&[][..], |share| &share.filters);
    if !share.is_empty() {
        if filters::touch_response(share) {
            facts.edit_with(held, parts.connection, parts.request, &pending.host);
        }
        filter(parts, &mut spool, share, rule, pending).await?;
    }
    let backend = prepare::backend(rule, facts)?;

    gather::gather(parts, &mut spool, sink, facts, rule, backend).await?;
    let target = write(parts, rule, pending, spool.length());
    let mut to = Vec::new();
    let scope = Scope {
        request: parts.request,
        connection: parts.connection,
        client: pending.client,
        host: &pending.host,
        path: &pending.path,
        rule,
        backend: &backend.name,
        captures: &[],
        response: None,
    };
    for filters in [&rule.filters, share] {
        mirror::targets(filters, &scope, &mut to);
    }
    if !to.is_empty() && parts.tunnel.is_none() {
        spool.copy(Copies {
            to,
            connection: parts.connection.clone(),
            request: parts.request.clone(),
            target,
        });
    }
    let compress = filters::compression(&rule.filters);
    let coding = compress.and_then(|how| compression::negotiate(how, parts.request));
    let forwarded = match coding.filter(|_| parts.tunnel.is_none()) {
        Some(wanted) => {
            let mut sink = compression::Sink::new(sink, wanted, parts.request);
            // Boxed: a future of its own for those who have it.
            let forwarded = forward::forward(parts, &mut spool, &mut sink, facts, rule, backend);
            Box::pin(forwarded).await
        }
        None => forward::forward(parts, &mut spool, sink, facts, rule, backend).await,
    };
    let pages = filters::error_pages(&rule.filters);
    let other = match (&forwarded, pages) {
        (Err(reason), Some(pages)) => error_page::stand_in(pages, *reason),
        _ => None,
    };
    let Some(other) = other else {
        return forwarded.map_err(Ended::Reason);
    };
    let failed = error_page::Failed {
        rule,
        backend: &backend.name,
        status: 503,
    };
    error_page::tell(parts, &failed);
    write(parts, rule, pending, spool.length());
    forward::forward(parts, &mut spool, sink, facts, rule, other).await?;
    Ok(())
}

/// Writes the head for the backend. Tells its target.
fn write(parts: &mut Parts<'_>, rule: &Rule, pending: &Pending, length: Length) -> Vec<u8> {
    let target = [&pending.path, parts.request.query()].concat();
    gather::write(parts, rule, &pending.path, length, pending.trailers);
    parts.request.set_upstream_target(&target);
    target
}

/// Has the answer to a request that is refused say what all answers say.
fn refuse(parts: &Parts<'_>, facts: &Facts, held: &Rc<HeldRule>, pending: &Pending) {
    let rule = held.rule();
    if !filters::touch_response(&rule.filters) {
        return;
    }
    facts.edit_refusal(held);
    if let Some(snippet) = filters::snippet(&rule.filters) {
        let frame = frame(parts, rule, pending);
        facts.edit_late(snippet::of_refusal(
            snippet,
            parts.request,
            &pending.path,
            frame,
        ));
    }
}

/// Does what snippets say, which goes before all else that a rule says. Tells what the backend, and
/// nobody else, is to be told.
fn run_snippet(
    parts: &Parts<'_>,
    facts: &Facts,
    rule: &Rule,
    pending: &mut Pending,
) -> Result<Vec<snippet::Telling>, Ended> {
    let Some(snippet) = filters::snippet(&rule.filters) else {
        return Ok(Vec::new());
    };
    let mut path = std::mem::take(&mut pending.path);
    let frame = frame(parts, rule, pending);
    let done = snippet::run(snippet, parts.request, &mut path, frame);
    pending.path = path;
    facts.edit_late(done.late);
    match done.answer {
        Some(answer) => Err(Ended::Answer(answer)),
        None => Ok(done.told),
    }
}

/// What snippets look at besides the request.
fn frame<'a>(parts: &Parts<'a>, rule: &'a Rule, pending: &'a Pending) -> snippet::Frame<'a> {
    snippet::Frame {
        connection: parts.connection,
        client: pending.client,
        host: &pending.host,
        rule,
    }
}

/// What filters look at besides the request.
fn context<'a>(parts: &Parts<'a>, rule: &'a Rule, host: &'a str, client: Client) -> Context<'a> {
    Context {
        client,
        tls: parts.connection.tls.is_some(),
        public_port: parts.connection.public_port,
        host,
        matched: &rule.path,
        connection: parts.connection,
        rule,
    }
}

/// Asks whether the request may pass, then does to it what is to be done.
async fn filter<B: RequestBody>(
    parts: &mut Parts<'_>,
    body: &mut Spool<'_, B>,
    filters: &[Filter],
    rule: &Rule,
    pending: &mut Pending,
) -> Result<(), Ended> {
    for filter in filters {
        if let Filter::Auth(auth) = filter {
            auth::ask(auth, parts, body).await?;
        }
    }
    let context = context(parts, rule, &pending.host, pending.client);
    match filters::run(filters, parts.request, &mut pending.path, context) {
        Some(answer) => Err(Ended::Answer(answer)),
        None => Ok(()),
    }
}

/// A request's body of which the beginning may have been read already, and which may be copied on
/// its way.
pub(super) struct Spool<'a, B> {
    worker: &'a Worker,
    body: &'a mut B,
    /// What was read, and has not been taken yet.
    read: Vec<u8>,
    taken: usize,
    copies: Option<Box<Copying>>,
    /// All of it was read, and stays for another attempt.
    held: bool,
    /// What is counted as long as it is here.
    holding: Option<Holding>,
}

/// Copies that wait for the end of the body.
struct Copying {
    copies: Copies,
    body: Vec<u8>,
}

impl<'a, B: RequestBody> Spool<'a, B> {
    fn new(worker: &'a Worker, body: &'a mut B) -> Self {
        Self {
            worker,
            body,
            read: Vec::new(),
            taken: 0,
            copies: None,
            held: false,
            holding: None,
        }
    }

    /// Reads once more ahead. Returns how much, which is nothing at the end.
    pub(super) async fn read_ahead(&mut self) -> Result<usize, Reason> {
        let bytes = self.body.fill().await.map_err(ClientFault::reason)?;
        let count = bytes.len();
        self.read.extend_from_slice(bytes);
        self.body.consume(count);
        Ok(count)
    }

    /// How much was read ahead.
    pub(super) fn held_bytes(&self) -> usize {
        self.read.len()
    }

    /// All of it was read ahead, and stays.
    pub(super) fn hold(&mut self, holding: Holding) {
        self.held = true;
        self.holding = Some(holding);
    }

    /// The beginning was read ahead, and goes once it was taken.
    pub(super) fn keep_for(&mut self, holding: Holding) {
        self.holding = Some(holding);
    }

    /// The whole body, if it is no longer than `most`.
    pub(super) async fn peek(&mut self, most: usize) -> Result<&[u8], Reason> {
        while !self.body.is_done() {
            let bytes = self.body.fill().await.map_err(ClientFault::reason)?;
            if bytes.is_empty() {
                break;
            }
            let count = bytes.len();
            if self.read.len() + count > most {
                return Err(Reason::BodyTooLarge);
            }
            self.read.extend_from_slice(bytes);
            self.body.consume(count);
        }
        Ok(&self.read)
    }

    /// Has copies be sent with the body, once it has gone by.
    fn copy(&mut self, copies: Copies) {
        let body = self.read[self.taken..].to_vec();
        let done = self.body.is_done();
        if done {
            return copies.send(self.worker, body);
        }
        self.copies = Some(Box::new(Copying { copies, body }));
    }

    /// Notes what has been read, for the copies.
    fn note(&mut self, from: usize) {
        let Some(copying) = &mut self.copies else {
            return;
        };
        copying.body.extend_from_slice(&self.read[from..]);
        if copying.body.len() > self.worker.settings().limits.mirror_body {
            self.worker.metrics.mirror_refused();
            self.copies = None;
        }
    }
}

impl<B: RequestBody> RequestBody for Spool<'_, B> {
    fn length(&self) -> Length {
        match self.held {
            true => Length::Known(self.read.len() as u64),
            false => self.body.length(),
        }
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        if self.held || self.taken < self.read.len() {
            return Ok(&self.read[self.taken..]);
        }
        if self.holding.take().is_some() {
            self.read = Vec::new();
        }
        self.read.clear();
        self.taken = 0;
        if self.copies.is_none() {
            return self.body.fill().await;
        }
        let bytes = self.body.fill().await?;
        let count = bytes.len();
        self.read.extend_from_slice(bytes);
        self.body.consume(count);
        match count {
            0 => {
                if let Some(copying) = self.copies.take() {
                    copying.copies.send(self.worker, copying.body);
                }
            }
            _ => self.note(0),
        }
        Ok(&self.read)
    }

    fn consume(&mut self, count: usize) {
        if self.taken < self.read.len() {
            self.taken += count;
        } else {
            self.body.consume(count);
        }
    }

    fn is_done(&self) -> bool {
        self.taken == self.read.len() && self.body.is_done()
    }

    fn has_buffered(&mut self) -> bool {
        self.taken < self.read.len() || self.body.has_buffered()
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

    fn rewind(&mut self) -> bool {
        if self.held {
            self.taken = 0;
        }
        self.held
    }
}
