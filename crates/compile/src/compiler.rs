//! One compilation after another.

use std::sync::Arc;

use model::backend::Discovery;
use model::{
    Backend, CertificateSet, CertificateTable, HostTable, Listener, Protocol, Snapshot, VirtualHost,
};
use objects::Store;
use objects::kinds::{Kind, ObjectKey};

use crate::certificates::Certificates;
use crate::hosts::fallback::{Fallbacks, catches_all};
use crate::hosts::{Hosts, Updated};
use crate::ingress::class::{Classes, Verdict};
use crate::ingress::key;
use crate::ingress::list::{Changed, Ingresses, Replaced};
use crate::ingress::resolve::World;
use crate::name::NameRef;
use crate::options::Options;
use crate::references::References;
use crate::report::{Counts, ObjectReport, Report};
use crate::seen::Seen;
use crate::service::Services;

/// Compiles again and again, and reuses what did not change.
#[derive(Debug)]
pub struct Compiler {
    options: Options,
    seen: Seen,
    classes: Classes,
    ingresses: Ingresses,
    services: Services,
    certificates: Certificates,
    hosts: Hosts,
    fallbacks: Fallbacks,
    references: References,
    tables: Tables,
    /// What is wrong with the default certificate.
    default_report: Option<Arc<ObjectReport>>,
    last: Compiled,
}

/// What a compilation comes to.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What the proxy is told; the same `Arc` as last time if nothing changed in it. Endpoints
    /// are published in their backends already, whether it changed or not.
    pub snapshot: Arc<Snapshot>,
    /// What people are told; the same `Arc` as last time if it says the same.
    pub report: Arc<Report>,
    /// The backends in use whose endpoints are to be found by DNS, by name.
    pub external: Vec<Arc<Backend>>,
    /// The backends in use whose endpoints are to be asked how they are, by name.
    pub checked: Vec<Arc<Backend>>,
    /// The host that each slot of the metrics is for: 0 is `_`, unknown hosts; `_other` is shared
    /// by those beyond [`Options::metrics_hosts`]. At most two more than that.
    pub metrics_hosts: Arc<[Box<str>]>,
    /// The Secrets that the served Ingresses and the options name, there or not, in order; the
    /// same `Arc` as last time if they are the same.
    pub references: Arc<[ObjectKey]>,
    /// Whether `snapshot` is another one than last time.
    pub changed: bool,
    /// How many backends got other endpoints.
    pub endpoint_updates: usize,
}

/// The parts that the snapshot is put together from.
#[derive(Debug)]
struct Tables {
    routes: Arc<HostTable<VirtualHost>>,
    paths: usize,
    certificates: Arc<CertificateTable>,
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(options: Options) -> Self {
        let certificates = Certificates::new(&options);
        let tables = Tables {
            routes: Arc::default(),
            paths: 0,
            certificates: Arc::new(CertificateTable {
                hosts: HostTable::default(),
                default: certificates.current_default(),
            }),
        };
        let mut hosts = Hosts::new(&options);
        let references = References::new(&options);
        Self {
            seen: Seen::default(),
            classes: Classes::default(),
            ingresses: Ingresses::default(),
            services: Services::new(&options),
            fallbacks: Fallbacks::new(&options),
            last: Compiled {
                snapshot: Arc::default(),
                report: Arc::default(),
                external: Vec::new(),
                checked: Vec::new(),
                metrics_hosts: hosts.slot_labels(),
                references: references.keys(),
                changed: false,
                endpoint_updates: 0,
            },
            certificates,
            hosts,
            references,
            tables,
            default_report: None,
            options,
        }
    }

    /// Compiles what the store has now. `now` is the time in seconds since 1970, by which
    /// certificates are judged.
    pub fn compile(&mut self, store: &Store, now: i64) -> Compiled {
        let changes = self.seen.update(store);
        if changes.classes {
            self.classes = Classes::read(store, &self.options);
        }
        self.services.touch(&changes.endpoints);
        self.certificates.forget(&changes.secrets);
        let tls_is_stale = self.certificates.turned(now);
        let mut world = World {
            store,
            options: &self.options,
            services: &mut self.services,
            certificates: &mut self.certificates,
            now,
        };
        let Changed { replaced, any } =
            self.ingresses
                .update(store, &self.classes, &changes, tls_is_stale, &mut world);
        self.release(&replaced);
        self.references.update(&replaced);
        let fallbacks = self.fallbacks.update(
            &self.ingresses,
            &replaced,
            &changes,
            &mut self.services,
            store,
            &self.options,
        );
        let updated = self
            .hosts
            .update(&replaced, &self.fallbacks, fallbacks.rules, &self.options);
        let (default, default_report) = self.certificates.default_set(&self.options, store, now);
        self.last.changed = self.assemble(&updated, fallbacks.rules, default);
        let tls_went = replaced
            .iter()
            .any(|change| change.old.as_ref().is_some_and(|old| old.has_tls()));
        // What nobody uses any more is seen to be so.
        drop(replaced);
        if tls_went {
            self.certificates.sweep();
        }
        self.last.endpoint_updates = self.services.settle(store);
        self.last.metrics_hosts = self.hosts.slot_labels();
        self.last.references = self.references.keys();
        self.last.external = self.external();
        self.last.checked = self.services.checked();
        let mut stale = self.mark_stale(&updated, fallbacks.winner);
        stale |= self.services.take_reports_changed() || any || changes.classes;
        stale |= self.default_report != default_report || fallbacks.report;
        if stale || self.last.changed {
            self.default_report = default_report;
            self.say();
        }
        self.last.clone()
    }

    #[cfg(test)]
    pub(crate) fn remembered_services(&self) -> usize {
        self.services.remembered()
    }

    /// Gives up the Service ports of what is not served any more as it was. After their
    /// successors have been made, so that what both use has a user all the time.
    fn release(&mut self, replaced: &[Replaced]) {
        for old in replaced.iter().filter_map(|change| change.old.as_ref()) {
            for (name, port) in old.service_ports() {
                self.services.release(name, port);
            }
        }
    }

    /// Puts the snapshot together again if a part of it changed. Whether one did.
    fn assemble(
        &mut self,
        updated: &Updated,
        fallbacks_changed: bool,
        default: Arc<CertificateSet>,
    ) -> bool {
        let first = self.last.snapshot.generation == 0;
        let certificates =
            updated.certificates || !Arc::ptr_eq(&self.tables.certificates.default, &default);
        if !first && !updated.routes && !certificates && !fallbacks_changed {
            return false;
        }
        if updated.routes {
            let (routes, paths) = self.hosts.route_table();
            self.tables.routes = Arc::new(routes);
            self.tables.paths = paths;
        }
        if certificates {
            let hosts = self.hosts.certificate_table();
            self.tables.certificates = Arc::new(CertificateTable { hosts, default });
        }
        let mut listeners = [
            self.listener(self.options.http_port, Protocol::Http),
            self.listener(self.options.https_port, Protocol::Https),
        ];
        listeners.sort_by_key(|listener| listener.port);
        self.last.snapshot = Arc::new(Snapshot {
            generation: self.last.snapshot.generation + 1,
            listeners: listeners.into(),
        });
        true
    }

    fn listener(&self, port: u16, protocol: Protocol) -> Arc<Listener> {
        let certificates = match protocol {
            Protocol::Http => None,
            Protocol::Https => Some(Arc::clone(&self.tables.certificates)),
        };
        Arc::new(Listener {
            port,
            protocol,
            hosts: Arc::clone(&self.tables.routes),
            default: Arc::clone(&self.fallbacks.virtual_host),
            certificates,
        })
    }

    fn external(&self) -> Vec<Arc<Backend>> {
        if !self.services.any_external() {
            return Vec::new();
        }
        let resolved = self
            .ingresses
            .entries()
            .iter()
            .filter_map(|entry| entry.resolved.as_ref());
        let mut external: Vec<_> = resolved
            .flat_map(|ingress| ingress.all_backends())
            .chain(self.fallbacks.backend())
            .filter(|backend| matches!(backend.discovery, Discovery::Dns { .. }))
            .cloned()
            .collect();
        external.sort_by(|a, b| a.name.cmp(&b.name));
        external.dedup_by(|a, b| Arc::ptr_eq(a, b));
        external
    }

    /// Notes which reports are out of date. Whether any is.
    fn mark_stale(&mut self, updated: &Updated, winner_changed: bool) -> bool {
        for ingress in &updated.concerned {
            let name = NameRef::of(&ingress.parsed.source.metadata);
            if let Some(entry) = self.ingresses.entry_mut(name) {
                entry.report = None;
            }
        }
        if winner_changed {
            for entry in self.ingresses.entries_mut() {
                if entry
                    .resolved
                    .as_ref()
                    .is_some_and(|ingress| catches_all(ingress))
                {
                    entry.report = None;
                }
            }
        }
        winner_changed || !updated.concerned.is_empty()
    }

    /// Brings the report up to date.
    fn say(&mut self) {
        let mut counts = Counts {
            hosts: self.tables.routes.len(),
            paths: self.tables.paths,
            services: self.services.in_use(),
            certificates: self.tables.certificates.hosts.len(),
            ..Counts::default()
        };
        let classes = self.classes.reports();
        let others = classes
            .chain(self.services.reports())
            .chain(self.fallbacks.report());
        let others = in_order(others.chain(&self.default_report).cloned().collect());
        let (before, after) = others.split_at(
            // None of them is about an Ingress.
            others.partition_point(|report| report.object.kind < Kind::Ingress),
        );
        let mut objects = Vec::with_capacity(self.last.report.objects.len() + 1);
        objects.extend_from_slice(before);
        for entry in self.ingresses.entries_mut() {
            match entry.verdict() {
                Verdict::Ours | Verdict::Undefined => counts.ingresses += 1,
                Verdict::Foreign => counts.foreign += 1,
                Verdict::Classless | Verdict::Unknown => counts.classless += 1,
            }
            if let Some(ingress) = &entry.resolved
                && entry.report.is_none()
            {
                let own = [&ingress.parsed.problems, &ingress.problems].map(Arc::clone);
                let parts = own
                    .into_iter()
                    .chain(self.hosts.problems(ingress))
                    .chain(self.fallbacks.problems(ingress));
                let object = key(&ingress.parsed.source);
                entry.report = Some(Arc::new(ObjectReport::new(object, true, parts)));
            }
            objects.extend(entry.report.clone());
        }
        objects.extend_from_slice(after);
        let report = Report { objects, counts };
        if *self.last.report != report {
            self.last.report = Arc::new(report);
        }
    }
}

/// By key, each object once.
fn in_order(mut objects: Vec<Arc<ObjectReport>>) -> Vec<Arc<ObjectReport>> {
    // Stable, so that two reports of one object stay in the order in which they were made.
    objects.sort_by(|a, b| a.object.cmp(&b.object));
    let mut merged: Vec<Arc<ObjectReport>> = Vec::with_capacity(objects.len());
    for object in objects {
        match merged.last_mut() {
            Some(last) if last.object == object.object => *last = Arc::new(last.merged(&object)),
            _ => merged.push(object),
        }
    }
    merged
}
