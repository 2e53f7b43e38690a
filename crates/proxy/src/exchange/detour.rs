//! The way of requests whose rules have filters that do more than send clients to HTTPS.

use std::rc::Rc;

use model::{Filter, Rule};

use super::mirror::{self, Copies};
use super::pace::Paced;
use super::parts::{Edits, Facts, Parts};
use super::prepare::{self, Hop, Pending, write_head};
use super::{auth, forward, guard};
use crate::client::{ClientFault, Closed, Length, RequestBody, ResponseSink};
use crate::filters::{self, Answer, Context};
use crate::headers::Headers;
use crate::record::Reason;
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

/// Runs the filters, and forwards what they let pass.
pub(super) async fn run<B: RequestBody, S: ResponseSink>(
    parts: &mut Parts<'_>,
    body: &mut B,
    sink: &mut S,
    facts: &Facts,
    held: &Rc<HeldRule>,
    mut pending: Pending,
) -> Result<(), Ended> {
    let rule = held.rule();
    // First, for such a question tells nothing of who asks.
    if let Some(answer) = filters::preflight(&rule.filters, parts.request) {
        return Err(Ended::Answer(answer));
    }
    let mut spool = Spool::new(parts.worker, body);
    let sink = &mut Paced::new(sink, &rule.filters, parts.start.clock);
    if filters::touch_response(&rule.filters) {
        remember(parts, facts, held);
    }
    // What stands before the guard, a redirect, is for those as well who do not come in.
    let (before, after) = guard::split(&rule.filters);
    filter(parts, &mut spool, before, rule, &mut pending).await?;
    let _busy = guard::enter(parts, facts, held, &pending).await?;
    if !after.is_empty() {
        filter(parts, &mut spool, after, rule, &mut pending).await?;
    }
    prepare::choose(parts.worker, parts.request, facts, rule);
    let share = facts.share_of(rule).map_or(&[][..], |share| &share.filters);
    if !share.is_empty() {
        if filters::touch_response(share) {
            remember(parts, facts, held);
        }
        filter(parts, &mut spool, share, rule, &mut pending).await?;
    }
    let backend = prepare::backend(rule, facts)?;

    let target = [&pending.path, parts.request.query()].concat();
    let hop = Hop::of(parts.tunnel.as_deref(), pending.trailers);
    let length = spool.length();
    write_head(
        parts.upstream_out,
        parts.request,
        &pending.path,
        length,
        hop,
    );
    parts.request.set_upstream_target(&target);
    let mut to = Vec::new();
    for filters in [&rule.filters, share] {
        mirror::targets(filters, &mut to);
    }
    if !to.is_empty() && parts.tunnel.is_none() {
        spool.copy(Copies {
            to,
            connection: parts.connection.clone(),
            request: parts.request.clone(),
            target,
        });
    }
    forward::forward(parts, &mut spool, sink, facts, rule, backend).await?;
    Ok(())
}

/// Has the response be edited.
fn remember(parts: &Parts<'_>, facts: &Facts, held: &Rc<HeldRule>) {
    let origin = parts.request.headers.joined(b"origin");
    let former = facts.edits.take();
    facts.edits.replace(Some(Box::new(Edits {
        rule: Rc::clone(held),
        origin: origin.map(|origin| origin.into_owned()),
        cookies: former.and_then(|former| former.cookies),
    })));
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
    let context = Context {
        client: pending.client,
        tls: parts.connection.tls.is_some(),
        public_port: parts.connection.public_port,
        host: &pending.host,
        matched: &rule.path,
    };
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
        }
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
        if copying.body.len() > self.worker.settings.limits.mirror_body {
            self.worker.metrics.mirror_refused();
            self.copies = None;
        }
    }
}

impl<B: RequestBody> RequestBody for Spool<'_, B> {
    fn length(&self) -> Length {
        self.body.length()
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        if self.taken < self.read.len() {
            return Ok(&self.read[self.taken..]);
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
}
