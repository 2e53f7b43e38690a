//! One compilation after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Backend, CertificateSet, CertificateTable, Challenges, Entrance, HostTable, HttpSites,
    HttpsSite, Listener, Service, Site, Snapshot, TlsSite, TlsSites, Tuning, VirtualHost,
};
use objects::kinds::{Kind, ObjectKey};
use objects::{Sorted, Store};

use crate::certificates::Certificates;
use crate::config_map::{Configuration, Global};
use crate::gateway::{DedicatedPlan, GatewayPlan, Gateways, Share};
use crate::hosts::fallback::Fallbacks;
use crate::hosts::{Base, Hosts, Updated};
use crate::ingress::class::Classes;
use crate::ingress::key;

use crate::ingress::list::{Changed, Ingresses, Replaced};
use crate::ingress::manner::Profiles;
use crate::ingress::resolve::{Resolved, World, secrets};
use crate::ingress::sealed;
use crate::issuance::{Answers, CertificateWish, Issuance, IssuerKey, IssuerPlan};
use crate::name::{Name, NameRef};
use crate::on_demand::{Demands, OnDemand};
use crate::options::{GatewayScope, Options};
use crate::references::References;
use crate::report::{Counts, ObjectReport, Report};
use crate::seen::Seen;
use crate::service::Services;
use crate::status::{ByObject, ObjectStatus};
use crate::stream_services::StreamServices;
use crate::tickets::Tickets;

/// Compiles again and again, and reuses what did not change.
#[derive(Debug)]
pub struct Compiler {
    options: Options,
    configuration: Configuration,
    /// What holds where Ingresses say nothing.
    profiles: Profiles,
    seen: Seen,
    classes: Classes,
    ingresses: Ingresses,
    services: Services,
    certificates: Certificates,
    tickets: Tickets,
    hosts: Hosts,
    fallbacks: Fallbacks,
    references: References,
    gateways: Gateways,
    issuance: Issuance,
    challenges: Answers,
    demands: Demands,
    stream_services: StreamServices,
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
    /// The backends in use whose endpoints are to be found by DNS, by name; the same list as last
    /// time if nothing changed in it.
    pub external: Arc<[Arc<Backend>]>,
    /// The backends in use whose endpoints are to be asked how they are, by name; likewise.
    pub checked: Arc<[Arc<Backend>]>,
    /// The host that each slot of the metrics is for: 0 is `_`, unknown hosts; `_other` is shared
    /// by those beyond [`Options::metrics_hosts`]. At most two more than that.
    pub metrics_hosts: Arc<[Box<str>]>,
    /// The Secrets that the served Ingresses and the options name, there or not, in order; the
    /// same `Arc` as last time if they are the same.
    pub references: Arc<[ObjectKey]>,
    /// What is said of each Gateway API object that is ours; the same `Arc` as last time if it says
    /// the same.
    pub statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    /// What is to be provided for each Gateway in a cluster; the same `Arc` as last time if it is
    /// the same.
    pub gateways: Arc<[GatewayPlan]>,
    /// The data planes that Gateways are to have for themselves; likewise.
    pub dedicated: Arc<[DedicatedPlan]>,
    /// Which Gateways and ListenerSets this process speaks for; likewise.
    pub share: Arc<Share>,
    /// The certificates that are to be obtained, by Secret; likewise.
    pub wishes: Arc<[CertificateWish]>,
    /// From whom; likewise.
    pub issuers: Arc<BTreeMap<IssuerKey, IssuerPlan>>,
    /// Whether `snapshot` is another one than last time.
    pub changed: bool,
    /// How many backends got other endpoints.
    pub endpoint_updates: usize,
}

/// The parts that the snapshot is put together from.
#[derive(Debug)]
struct Tables {
    routes: Arc<HostTable<VirtualHost>>,
    certificates: Arc<CertificateTable>,
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(options: Options) -> Self {
        let certificates = Certificates::new(&options);
        let tables = Tables {
            routes: Arc::default(),
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
                external: Arc::default(),
                checked: Arc::default(),
                metrics_hosts: hosts.slot_labels(),
                references: references.keys(),
                statuses: Arc::default(),
                gateways: Arc::default(),
                dedicated: Arc::default(),
                share: Arc::default(),
                wishes: Arc::default(),
                issuers: Arc::default(),
                changed: false,
                endpoint_updates: 0,
            },
            certificates,
            tickets: Tickets::default(),
            hosts,
            references,
            gateways: Gateways::default(),
            issuance: Issuance::default(),
            challenges: Answers::default(),
            demands: Demands::default(),
            stream_services: StreamServices::default(),
            tables,
            default_report: None,
            configuration: Configuration::default(),
            profiles: Profiles::new(&options, &Global::default()),
            options,
        }
    }

    /// Takes note of what could not be opened of the last configuration, each with why. Of Gateways,
    /// the next compilation says so.
    pub fn set_unbound(&mut self, unbound: &[(Entrance, String)]) {
        self.gateways.set_unbound(unbound);
    }

    /// Takes note of why certificates are not obtained or not renewed, by the Secret's namespace and
    /// name. The next compilation says so of who uses them.
    pub fn set_certificate_news(&mut self, news: BTreeMap<(Box<str>, Box<str>), String>) {
        self.certificates.set_news(news);
    }

    /// Takes over which names clients may have certificates for besides those that objects ask for.
    /// The next compilation wishes for them from the ACME server of the command line, and serves
    /// those that there are where no Ingress has one.
    pub fn set_on_demand(&mut self, all: Arc<[OnDemand]>) {
        self.demands.set(all);
    }

    /// Compiles what the store has now. `now` is the time in seconds since 1970, by which
    /// certificates are judged.
    pub fn compile(&mut self, store: &Store, now: i64) -> Compiled {
        let mut changes = self.seen.update(store);
        changes.secrets.extend(self.certificates.take_news());
        let mut stale = Stale::default();
        if changes.classes {
            stale.extend(self.classes.reports());
            self.classes = Classes::read(store, &self.options);
            stale.extend(self.classes.reports());
        }
        let configured = self.configuration.update(&self.options, store);
        stale.0.extend(configured.stale);
        if configured.changed {
            self.profiles = Profiles::new(&self.options, self.configuration.global());
            changes.defaults = true;
        }
        self.services.touch(&changes.endpoints);
        self.certificates.forget(&changes.secrets);
        let tls_is_stale = self.certificates.turned(now);
        let mut world = World {
            store,
            options: &self.options,
            profiles: &self.profiles,
            services: &mut self.services,
            certificates: &mut self.certificates,
            now,
        };
        let Changed { replaced, any } =
            self.ingresses
                .update(&self.classes, &changes, tls_is_stale, &mut world);
        stale.ingresses(any.iter().map(Name::as_ref));
        self.release(&replaced);
        self.references.update(&replaced);
        stale.extend(self.fallbacks.report());
        let base = Base {
            options: &self.options,
            profiles: &self.profiles,
        };
        let nginx = self.ingresses.numbers().nginx > 0;
        let fallbacks =
            self.fallbacks
                .update(&replaced, &changes, &mut self.services, store, nginx, base);
        stale.extend(self.fallbacks.report());
        let streams = self.stream_services.update(
            &self.options,
            store,
            &changes,
            &mut self.services,
            self.configuration.global().streams,
        );
        stale.0.extend(streams.stale);
        let mut updated = self
            .hosts
            .update(&replaced, &self.fallbacks, fallbacks, base);
        let mut world = World {
            store,
            options: &self.options,
            profiles: &self.profiles,
            services: &mut self.services,
            certificates: &mut self.certificates,
            now,
        };
        let hosts = &mut self.hosts;
        let gateways = self.gateways.update(
            &changes,
            tls_is_stale,
            &mut world,
            self.fallbacks.not_found(),
            |host| hosts.slot(host),
        );
        stale.0.extend(gateways.stale);
        let ours = (&*self.gateways.statuses(), &*self.gateways.share());
        let asking = &mut self.issuance;
        asking.demand(self.demands.all());
        stale
            .0
            .extend(asking.update(store, &changes, &replaced, ours, &self.options));
        updated.certificates |=
            self.demands
                .update(&mut self.certificates, store, &changes.secrets, now);
        let challenges = self.challenges.update(store, &self.options);
        let (default, default_report) = self.certificates.default_set(&self.options, store, now);
        if self.default_report != default_report {
            stale.extend(self.default_report.iter().chain(&default_report));
            self.default_report = default_report;
        }
        stale.0.extend(self.tickets.update(&self.options, store));
        let others = fallbacks.any || fallbacks.hosts || gateways.listeners || streams.listeners;
        self.last.changed = self.assemble(&updated, others, default, challenges);
        self.last.wishes = self.issuance.wishes();
        self.last.issuers = self.issuance.issuers();
        self.last.statuses = self.gateways.statuses();
        self.last.gateways = self.gateways.plans();
        self.last.dedicated = self.gateways.dedicated();
        self.last.share = self.gateways.share();
        self.certificates.sweep(&gateways.secrets);
        self.forget(replaced);
        self.last.endpoint_updates = self.services.settle(store);
        self.last.metrics_hosts = self.hosts.slot_labels();
        self.last.references = self.references.with([
            self.gateways.references(),
            self.issuance.references(),
            &self.configuration.references().collect(),
        ]);
        let lists = self.services.lists();
        self.last.external = lists.external;
        self.last.checked = lists.checked;
        stale.0.extend(self.services.take_reports_changed());
        let name_of = |ingress: &Arc<Resolved>| key(&ingress.parsed.source);
        stale.0.extend(updated.concerned.iter().map(name_of));
        if fallbacks.winner {
            stale.0.extend(self.fallbacks.catch_alls().map(name_of));
        }
        self.say(stale);
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
                self.services.release_with(name, port, &old.speech.to(name));
                if let Some(secure) = old.speech.secure_to(name) {
                    self.services.release_with(name, port, &secure);
                }
            }
            old.guard.release(&mut self.services);
            old.answers.release(&mut self.services);
            for (name, port) in old.sealed_ports() {
                self.services.release_with(name, port, &sealed::spoken());
            }
        }
    }

    /// Drops what is not served any more, and what only that has used.
    fn forget(&mut self, replaced: Vec<Replaced>) {
        let olds = replaced.iter().filter_map(|change| change.old.as_ref());
        let secrets = olds
            .flat_map(|old| secrets(&old.parsed))
            .map(NameRef::to_owned)
            .collect();
        drop(replaced);
        self.certificates.sweep(&secrets);
    }

    /// Puts the snapshot together again if a part of it changed. Whether one did.
    fn assemble(
        &mut self,
        updated: &Updated,
        fallbacks_changed: bool,
        default: Arc<CertificateSet>,
        challenges: Arc<Challenges>,
    ) -> bool {
        let first = self.last.snapshot.generation == 0;
        let certificates =
            updated.certificates || !Arc::ptr_eq(&self.tables.certificates.default, &default);
        let ticket_keys = self.tickets.keys();
        let tickets = self.last.snapshot.ticket_keys != ticket_keys;
        let tuning = self.tuning();
        let tuned = self.last.snapshot.tuning != tuning;
        let shown = !Arc::ptr_eq(&self.last.snapshot.challenges, &challenges);
        if !first
            && !updated.routes
            && !certificates
            && !fallbacks_changed
            && !tickets
            && !updated.sealed
            && !shown
            && !tuned
        {
            return false;
        }
        if updated.routes {
            self.tables.routes = Arc::new(self.hosts.routes().clone());
        }
        if certificates {
            let mut hosts = self.hosts.certificates().clone();
            self.demands.serve(&mut hosts);
            self.tables.certificates = Arc::new(CertificateTable { hosts, default });
        }
        let mut listeners: Vec<_> = match self.options.gateway_scope {
            GatewayScope::One { .. } => Vec::new(),
            GatewayScope::All | GatewayScope::Shared { .. } => self.ingress_listeners().into(),
        };
        if !matches!(self.options.gateway_scope, GatewayScope::One { .. }) {
            listeners.extend(self.stream_services.listeners().cloned());
        }
        for listener in self.gateways.listeners() {
            let mut known = listeners.iter_mut();
            match known.find(|known| known.entrance == listener.entrance) {
                Some(known) => *known = Arc::new(shared(known, listener)),
                None => listeners.push(Arc::clone(listener)),
            }
        }
        listeners.sort_by_key(|listener| listener.entrance);
        self.last.snapshot = Arc::new(Snapshot {
            generation: self.last.snapshot.generation + 1,
            listeners: listeners.into(),
            challenges,
            ticket_keys,
            tuning,
        });
        true
    }

    /// What holds of the whole process; as nginx has it once an Ingress of its classes is served.
    fn tuning(&self) -> Arc<Tuning> {
        let said = self.configuration.tuning();
        let former = &self.last.snapshot.tuning;
        match self.ingresses.numbers().nginx {
            0 => said,
            _ => {
                let now = Tuning {
                    as_nginx: true,
                    ..Tuning::clone(&said)
                };
                match **former == now {
                    true => Arc::clone(former),
                    false => Arc::new(now),
                }
            }
        }
    }

    fn ingress_listeners(&self) -> [Arc<Listener>; 2] {
        let site = Arc::new(Site {
            name: "".into(),
            hosts: Arc::clone(&self.tables.routes),
            default: match self.ingresses.numbers().nginx {
                0 => Arc::clone(&self.fallbacks.virtual_host),
                _ => self.fallbacks.with_health(&self.options),
            },
            nobody: Arc::clone(&self.fallbacks.any),
            asks_clients: self.hosts.asks_clients(),
        });
        let secure = TlsSite::Https(HttpsSite {
            site: Arc::clone(&site),
            certificates: Arc::clone(&self.tables.certificates),
            clients: None,
        });
        let listener = |port, service| {
            Arc::new(Listener {
                entrance: Entrance::tcp(port),
                public_port: port,
                service,
            })
        };
        let http = HttpSites {
            ingress: Some(site),
            ..HttpSites::default()
        };
        let https = TlsSites {
            ingress: Some(Arc::new(secure)),
            sealed: self.hosts.sealed().clone(),
            ..TlsSites::default()
        };
        [
            listener(self.options.http_port, Service::Http(Arc::new(http))),
            listener(self.options.https_port, Service::Tls(Arc::new(https))),
        ]
    }

    /// Brings the report up to date.
    fn say(&mut self, stale: Stale) {
        let mut report = Report {
            counts: self.counts(),
            ..Report::clone(&self.last.report)
        };
        let mut changed = report.counts != self.last.report.counts;
        for key in stale.0 {
            changed |= report.say(&key, self.describe(&key));
        }
        if changed {
            self.last.report = Arc::new(report);
        }
    }

    fn counts(&self) -> Counts {
        let ingresses = self.ingresses.numbers();
        let (gateways, routes, hosts) = self.gateways.counts();
        Counts {
            gateways,
            routes,
            ingresses: ingresses.served,
            foreign: ingresses.foreign,
            classless: ingresses.classless,
            hosts: self.hosts.routes().len() + hosts,
            paths: self.hosts.paths(),
            services: self.services.in_use(),
            certificates: self.hosts.certificates().len(),
        }
    }

    /// What is to be said of an object, if anything is.
    fn describe(&self, key: &ObjectKey) -> Option<ObjectReport> {
        if key.kind == Kind::Ingress {
            let name = NameRef {
                namespace: &key.namespace,
                name: &key.name,
            };
            let entry = self.ingresses.entry(name)?;
            let Some(ingress) = &entry.resolved else {
                return entry.report_unserved(&self.options);
            };
            let own = [&ingress.parsed.problems, &ingress.problems].map(Arc::clone);
            let parts = own
                .into_iter()
                .chain(self.hosts.problems(ingress))
                .chain(self.fallbacks.problems(ingress))
                .chain(self.issuance.report(key));
            return Some(ObjectReport::new(key.clone(), true, parts));
        }
        let gateway = self.gateways.report(key).map(Arc::new);
        let asking = self.issuance.describe(key).map(Arc::new);
        let said = self
            .classes
            .reports()
            .chain(&gateway)
            .chain(&asking)
            .chain(self.services.report(key))
            .chain(self.fallbacks.report())
            .chain(self.tickets.report())
            .chain(self.stream_services.reports())
            .chain(self.configuration.report())
            .chain(&self.default_report);
        said.filter(|report| report.object == *key)
            .map(|report| ObjectReport::clone(report))
            .reduce(|all, report| all.merged(&report))
    }
}

/// A port that both Ingress and a Gateway serve.
fn shared(ingress: &Listener, gateway: &Listener) -> Listener {
    let service = match (&ingress.service, &gateway.service) {
        (Service::Http(ingress), Service::Http(gateway)) => Service::Http(Arc::new(HttpSites {
            gateways: gateway.gateways.clone(),
            ingress: ingress.ingress.clone(),
        })),
        (Service::Tls(ingress), Service::Tls(gateway)) => Service::Tls(Arc::new(TlsSites {
            gateways: gateway.gateways.clone(),
            ingress: ingress.ingress.clone(),
            sealed: ingress.sealed.clone(),
        })),
        // Nothing else is put together.
        (Service::Http(sites), _) => Service::Http(Arc::clone(sites)),
        (Service::Tls(sites), _) => Service::Tls(Arc::clone(sites)),
        (Service::Tcp(stream), _) => Service::Tcp(Arc::clone(stream)),
        (Service::Udp(stream), _) => Service::Udp(Arc::clone(stream)),
    };
    Listener {
        entrance: gateway.entrance,
        public_port: gateway.public_port,
        service,
    }
}

/// The objects of which perhaps something else is to be said than before.
#[derive(Debug, Default)]
struct Stale(BTreeSet<ObjectKey>);

impl Stale {
    fn extend<'a>(&mut self, reports: impl IntoIterator<Item = &'a Arc<ObjectReport>>) {
        let objects = reports.into_iter().map(|report| report.object.clone());
        self.0.extend(objects);
    }

    fn ingresses<'a>(&mut self, names: impl Iterator<Item = NameRef<'a>>) {
        let keys = names.map(|name| ObjectKey::new(Kind::Ingress, name.namespace, name.name));
        self.0.extend(keys);
    }
}
