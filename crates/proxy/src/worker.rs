//! What the connections of one worker share, without locks.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};

use model::{Rule, Snapshot};

use crate::access_log::{AccessLog, Detail, Trail};
use crate::admission::Admission;
use crate::buffer::BufferPool;
use crate::date::Date;
use crate::exchange::{Gathered, Mirrors, NamedHosts};
use crate::headers::RequestHead;
use crate::in_step;
use crate::metrics::{ByIngress, WorkerMetrics};
use crate::record::Record;
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::spread::Share;
use crate::telemetry;
use crate::tls::Acceptor;
use crate::upstream::tls::Trust;
use crate::upstream::{Pool, Upstream};

/// The most free scratch memory that a worker keeps.
const MAX_SCRATCH: usize = 256;

/// What the connections of one worker share.
pub(crate) struct Worker {
    /// What the command line says.
    given: Arc<Settings>,
    /// The same, where the configuration does not say something else.
    settings: RefCell<Rc<Settings>>,
    pub(crate) buffers: BufferPool,
    pub(crate) upstreams: Pool,
    pub(crate) metrics: Arc<WorkerMetrics>,
    /// What is counted by Ingress, if anything.
    by_ingress: Option<Box<ByIngress>>,
    pub(crate) date: Date,
    pub(crate) acceptor: Acceptor,
    pub(crate) admission: Arc<Admission>,
    pub(crate) share: Share,
    pub(crate) log: AccessLog,
    /// Where spans of traces go.
    pub(crate) traces: telemetry::Queue,
    /// Copies of requests that are under way.
    pub(crate) mirrors: Rc<Mirrors>,
    /// Bodies of requests that wait for their end.
    pub(crate) gathered: Gathered,
    /// Hosts that requests have named.
    pub(crate) named_hosts: NamedHosts,
    this: OnceCell<Weak<Self>>,
    view: RefCell<Rc<View>>,
    /// What is served with the next release.
    next: in_step::Next<Arc<Snapshot>>,
    #[expect(
        clippy::vec_box,
        reason = "it is taken and given back with every request, and is large to move"
    )]
    scratch: RefCell<Vec<Box<Scratch>>>,
    draining: Cell<bool>,
    /// The tasks of connections, to be woken when draining begins.
    wakers: RefCell<HashMap<u64, Waker>>,
    next_waker: Cell<u64>,
}

/// A snapshot as one worker sees it.
///
/// Exchanges keep neither the snapshot, whose memory would pile up behind slow ones, nor an `Arc`
/// of their rule, whose counter all cores would share: they keep an `Rc` of this worker's.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) snapshot: Arc<Snapshot>,
    held: RefCell<HashMap<*const Rule, Rc<HeldRule>>>,
}

/// A rule, for as long as an exchange of this worker needs it.
#[derive(Debug)]
pub(crate) struct HeldRule(Arc<Rule>);

impl HeldRule {
    pub(crate) fn rule(&self) -> &Rule {
        &self.0
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>) -> Rc<Self> {
        Rc::new(Self {
            snapshot,
            held: RefCell::default(),
        })
    }

    /// Keeps a rule of this snapshot beyond it.
    pub(crate) fn hold(&self, rule: &Arc<Rule>) -> Rc<HeldRule> {
        let mut held = self.held.borrow_mut();
        Rc::clone(
            held.entry(Arc::as_ptr(rule))
                .or_insert_with(|| Rc::new(HeldRule(Arc::clone(rule)))),
        )
    }
}

impl Worker {
    pub(crate) fn new(
        settings: Arc<Settings>,
        metrics: Arc<WorkerMetrics>,
        (log, traces): (AccessLog, telemetry::Queue),
        acceptor: Acceptor,
        trust: Arc<Trust>,
        admission: Arc<Admission>,
        share: Share,
    ) -> Self {
        let upstreams = Pool::new(&settings, trust);
        Self {
            settings: RefCell::new(Rc::new(Settings::clone(&settings))),
            given: settings,
            next: in_step::Next::new(share.released.clone()),
            buffers: BufferPool::default(),
            upstreams,
            metrics,
            by_ingress: None,
            date: Date::default(),
            acceptor,
            admission,
            share,
            log,
            traces,
            mirrors: Rc::default(),
            gathered: Gathered::default(),
            named_hosts: NamedHosts::default(),
            this: OnceCell::new(),
            view: RefCell::new(View::new(Arc::default())),
            scratch: RefCell::default(),
            draining: Cell::new(false),
            wakers: RefCell::default(),
            next_waker: Cell::new(0),
        }
    }

    /// The same, which counts by Ingress.
    pub(crate) fn counting(self, by_ingress: Option<ByIngress>) -> Self {
        Self {
            by_ingress: by_ingress.map(Box::new),
            ..self
        }
    }

    /// The same, for tasks that outlive whoever begins them.
    pub(crate) fn shared(self) -> Rc<Self> {
        let worker = Rc::new(self);
        // It is new, and has no other.
        let _ = worker.this.set(Rc::downgrade(&worker));
        worker
    }

    /// A hold of this worker; none if it is not shared.
    pub(crate) fn this(&self) -> Option<Rc<Self>> {
        self.this.get()?.upgrade()
    }

    /// Takes a configuration that is to be served with the next release.
    pub(crate) fn give(&self, snapshot: Arc<Snapshot>) {
        self.next.give(snapshot);
    }

    /// Serves what was released. Called where a connection or a request begins, and nowhere within
    /// what has to see one configuration.
    #[inline]
    pub(crate) fn keep_in_step(&self) {
        if self.next.is_due()
            && let Some(snapshot) = self.next.take()
        {
            self.serve(snapshot);
        }
    }

    /// Serves another configuration from now on.
    fn serve(&self, snapshot: Arc<Snapshot>) {
        if snapshot.tuning != self.view().snapshot.tuning {
            let tuned = self.given.tuned(&snapshot.tuning);
            if snapshot.tuning.tls != self.view().snapshot.tuning.tls {
                self.acceptor.retune(&tuned.tls);
            }
            *self.settings.borrow_mut() = Rc::new(tuned);
            self.log.tune(snapshot.tuning.access_logs.as_ref());
        }
        *self.view.borrow_mut() = View::new(snapshot);
        self.acceptor.served();
    }

    /// What holds for the whole process now.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    /// The configuration as it is now.
    pub(crate) fn view(&self) -> Rc<View> {
        Rc::clone(&self.view.borrow())
    }

    /// Whether the process is going down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Keeps a connection to an endpoint for the next exchange.
    pub(crate) fn keep(&self, upstream: Upstream) {
        if !self.is_draining() {
            self.upstreams.keep(upstream, &self.buffers);
        }
    }

    /// Logs and counts an exchange that has ended.
    pub(crate) fn record(&self, record: &Record<'_>) {
        self.metrics.exchange(record);
        if !record.unlogged {
            self.log.record(record);
        }
    }

    /// What is to be noted of a request that begins, if anybody will ask for it.
    pub(crate) fn trail(&self, request: &RequestHead) -> Option<Box<Trail>> {
        match (self.log.trail(request), &self.by_ingress) {
            (None, Some(_)) => Some(Box::new(Trail::plain(request))),
            (trail, _) => trail,
        }
    }

    /// The same where more is known than other formats tell.
    pub(crate) fn record_in_detail(&self, record: &Record<'_>, detail: &Detail<'_>) {
        self.metrics.exchange(record);
        if let Some(by_ingress) = &self.by_ingress {
            by_ingress.count(record, detail);
        }
        if !record.unlogged {
            self.log.record_in_detail(record, detail);
        }
    }

    /// Logs and counts what was passed on and has ended.
    pub(crate) fn record_stream(&self, record: &Record<'_>) {
        self.metrics.stream(record);
        self.log.record(record);
    }

    pub(crate) fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_scratch(&self, scratch: Box<Scratch>) {
        const LARGEST: usize = 64 * 1024;
        let mut free = self.scratch.borrow_mut();
        let small = scratch.upstream_out.capacity() + scratch.client_out.capacity() <= LARGEST;
        if small && free.len() < MAX_SCRATCH {
            free.push(scratch);
        }
    }

    /// Has the current task woken when draining begins, until the guard is dropped.
    pub(crate) async fn wake_to_drain(self: &Rc<Self>) -> WakeGuard {
        let id = self.next_waker.get();
        self.next_waker.set(id + 1);
        poll_fn(|cx| {
            self.wakers.borrow_mut().insert(id, cx.waker().clone());
            Poll::Ready(())
        })
        .await;
        WakeGuard {
            worker: Rc::clone(self),
            id,
        }
    }

    /// Lets every connection end after the request that it is at.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.upstreams.clear();
        for waker in self.wakers.borrow().values() {
            waker.wake_by_ref();
        }
    }
}

/// Takes a task off the list of those to be woken.
pub(crate) struct WakeGuard {
    worker: Rc<Worker>,
    id: u64,
}

impl Drop for WakeGuard {
    fn drop(&mut self) {
        self.worker.wakers.borrow_mut().remove(&self.id);
    }
}
