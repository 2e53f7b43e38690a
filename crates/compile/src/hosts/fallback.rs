//! What answers requests that no rule claims.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use model::filter::{Filter, Send, send::Rest};
use model::text::Text;
use model::{Action, Backend, PathMatch, Rule, VirtualHost};
use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Store};

use super::canaries::split;
use super::routes::{Base, built_in, in_nginxs_manner, not_found, rest_rule};
use crate::ingress::class::Profile;
use crate::ingress::list::Replaced;
use crate::ingress::parse::PortRef;
use crate::ingress::resolve::Resolved;
use crate::ingress::{Precedence, key};
use crate::name::NameRef;
use crate::options::Options;
use crate::report::{ObjectReport, Problems};
use crate::seen::Changes;
use crate::service::Services;

/// What answers requests that no rule claims.
#[derive(Debug)]
pub(crate) struct Fallbacks {
    /// On hosts that nobody claims: an Ingress's default backend, one without rules first.
    pub(crate) any: Arc<Rule>,
    /// On hosts that somebody claims, where their Ingresses do not say: the default backend of
    /// an Ingress without rules, but not of one that is about other hosts.
    pub(crate) host: Arc<Rule>,
    /// `any` as a host.
    pub(crate) virtual_host: Arc<VirtualHost>,
    not_found: Arc<Rule>,
    /// What the last resort is: the Service that the command line names, or 404.
    pub(crate) last: Arc<Rule>,
    /// The same on hosts that nobody claims, where ingress-nginx says more.
    nobodys: Arc<Rule>,
    /// Whether it does.
    nginx: bool,
    /// The Ingress that `any` comes from.
    winner: Option<Arc<Resolved>>,
    /// Every Ingress with a default backend for them, the one that wins first.
    candidates: BTreeSet<Candidate>,
    /// Those that get some of the requests for it, the one that does first.
    canaries: BTreeSet<Candidate>,
    service: Option<DefaultService>,
}

/// An Ingress with a default backend: one without rules wins, then the older one.
#[derive(Debug)]
struct Candidate(Arc<Resolved>);

impl Candidate {
    fn rank(&self) -> (bool, Precedence<'_>) {
        (self.0.parsed.has_rules(), self.0.parsed.precedence())
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// The Service that the command line names.
#[derive(Debug)]
struct DefaultService {
    backend: Arc<Backend>,
    /// What is wrong with it.
    report: Option<Arc<ObjectReport>>,
}

/// What an update changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FallbacksChanged {
    /// The rule for hosts that nobody claims.
    pub(crate) any: bool,
    /// The rule for hosts that somebody claims.
    pub(crate) hosts: bool,
    /// Which Ingress they come from.
    pub(crate) winner: bool,
    /// What is wrong with the Service that the command line names.
    pub(crate) report: bool,
}

/// What changed of the Service that the command line names.
struct ServiceChanged {
    backend: bool,
    report: bool,
}

impl Fallbacks {
    pub(crate) fn new(options: &Options) -> Self {
        let rule = Arc::new(not_found(options));
        Self {
            any: Arc::clone(&rule),
            host: Arc::clone(&rule),
            virtual_host: as_host(Arc::clone(&rule)),
            not_found: Arc::clone(&rule),
            last: Arc::clone(&rule),
            nobodys: rule,
            nginx: false,
            winner: None,
            candidates: BTreeSet::new(),
            canaries: BTreeSet::new(),
            service: None,
        }
    }

    /// What is wrong with the Service that the command line names.
    pub(crate) fn report(&self) -> Option<&Arc<ObjectReport>> {
        self.service
            .as_ref()
            .and_then(|service| service.report.as_ref())
    }

    /// What answers where not even the command line says what does.
    pub(crate) fn not_found(&self) -> &Arc<Rule> {
        &self.not_found
    }

    /// Takes over what there is now.
    pub(crate) fn update(
        &mut self,
        replaced: &[Replaced],
        changes: &Changes,
        services: &mut Services,
        store: &Store,
        nginx: bool,
        base: Base<'_>,
    ) -> FallbacksChanged {
        let options = base.options;
        let service = self.update_service(changes, services, store, options);
        let unchanged = FallbacksChanged {
            any: false,
            hosts: false,
            winner: false,
            report: service.report,
        };
        let with_default =
            |ingress: &&Arc<Resolved>| falls_back(ingress) && !ingress.parsed.is_canary();
        let manner = nginx != self.nginx || (nginx && changes.defaults);
        self.nginx = nginx;
        let mut concerned = service.backend || manner;
        for old in replaced
            .iter()
            .filter_map(|change| change.old.as_ref())
            .filter(with_default)
        {
            concerned |= self.candidates.remove(&Candidate(Arc::clone(old)));
        }
        for new in replaced
            .iter()
            .filter_map(|change| change.new.as_ref())
            .filter(with_default)
        {
            // One with the place of another that was not taken out: an older object of the name.
            concerned |= self
                .candidates
                .replace(Candidate(Arc::clone(new)))
                .is_none();
        }
        let canaries = self.update_canaries(replaced);
        if !concerned && !canaries {
            return unchanged;
        }
        let winner = self.candidates.first().map(|candidate| &candidate.0);
        let winner_changed = !super::same(winner, self.winner.as_ref());
        if !service.backend && !manner && !winner_changed && !canaries {
            return unchanged;
        }
        self.winner = winner.cloned();
        if service.backend {
            self.last = Arc::new(self.last_resort(options));
        }
        if service.backend || manner {
            self.nobodys = match nginx {
                true => Arc::new(in_nginxs_manner(self.last_resort(options), base)),
                false => Arc::clone(&self.last),
            };
        }
        self.any = match &self.winner {
            Some(ingress) => Arc::new(self.with_canary(rest_rule(ingress, base))),
            None => Arc::clone(&self.nobodys),
        };
        let host = match &self.winner {
            Some(ingress) if !ingress.parsed.has_rules() => &self.any,
            _ => &self.last,
        };
        let hosts = !Arc::ptr_eq(host, &self.host);
        self.host = Arc::clone(host);
        self.virtual_host = as_host(Arc::clone(&self.any));
        FallbacksChanged {
            any: true,
            hosts,
            winner: winner_changed,
            ..unchanged
        }
    }

    fn last_resort(&self, options: &Options) -> Rule {
        match &self.service {
            Some(service) => built_in(Action::Forward(Arc::clone(&service.backend)), options),
            None => not_found(options),
        }
    }

    /// Whether the one changed that gets some of the requests that nobody claims.
    fn update_canaries(&mut self, replaced: &[Replaced]) -> bool {
        let is_canary =
            |ingress: &&Arc<Resolved>| falls_back(ingress) && ingress.parsed.is_canary();
        let first = |all: &BTreeSet<Candidate>| all.first().map(|it| Arc::clone(&it.0));
        let former = first(&self.canaries);
        let olds = replaced.iter().filter_map(|change| change.old.as_ref());
        for old in olds.filter(is_canary) {
            self.canaries.remove(&Candidate(Arc::clone(old)));
        }
        let news = replaced.iter().filter_map(|change| change.new.as_ref());
        for new in news.filter(is_canary) {
            self.canaries.replace(Candidate(Arc::clone(new)));
        }
        !super::same(first(&self.canaries).as_ref(), former.as_ref())
    }

    /// A rule of which a canary gets a part, if there is one.
    fn with_canary(&self, rule: Rule) -> Rule {
        let split = || {
            let Action::Forward(main) = &rule.action else {
                return None;
            };
            let canary = &self.canaries.first()?.0;
            split(canary, canary.default_backend.as_ref()?, main)
        };
        match split() {
            Some(split) => Rule {
                action: Action::Split(split),
                ..rule
            },
            None => rule,
        }
    }

    /// `any` as a host that tells load balancers at `/healthz` that it is well, as ingress-nginx's
    /// does.
    pub(crate) fn with_health(&self, options: &Options) -> Arc<VirtualHost> {
        let mut health = not_found(options);
        health.path = PathMatch::Prefix("/healthz".into());
        health.filters = [Filter::Send(Box::new(Send {
            status: 200,
            to: Text::literal(""),
            rest: Rest::Nothing,
            absolute: false,
            names_port: false,
        }))]
        .into();
        let rules = vec![Arc::new(health)];
        let default = Some(Arc::clone(&self.any));
        Arc::new(VirtualHost::new("".into(), rules, default, 0))
    }

    /// The Ingresses that want every request that nobody claims, and nothing else.
    pub(crate) fn catch_alls(&self) -> impl Iterator<Item = &Arc<Resolved>> {
        let candidates = self.candidates.iter().map(|candidate| &candidate.0);
        candidates.take_while(|ingress| catches_all(ingress))
    }

    fn update_service(
        &mut self,
        changes: &Changes,
        services: &mut Services,
        store: &Store,
        options: &Options,
    ) -> ServiceChanged {
        const NO: ServiceChanged = ServiceChanged {
            backend: false,
            report: false,
        };

        let Some((namespace, name)) = &options.default_backend_service else {
            return NO;
        };
        let name = NameRef { namespace, name };
        if self.service.is_some() && !changes.services.contains(&name) {
            return NO;
        }
        let (backend, refused) = services.acquire(name, &PortRef::First, store);
        let report = refused.map(|refused| {
            let mut problems = Problems::of(ObjectKey::new(Kind::Service, namespace, name.name));
            let message = format!(
                "{}; as the default backend it answers 503",
                refused.message(name, &PortRef::First)
            );
            problems.error(
                "",
                message,
                "the right name after --default-backend-service",
            );
            Arc::new(problems.into_report(false))
        });
        let now = DefaultService {
            backend: Arc::clone(&backend),
            report: report.clone(),
        };
        let Some(former) = self.service.replace(now) else {
            return ServiceChanged {
                backend: true,
                report: true,
            };
        };
        services.release(name, &PortRef::First);
        ServiceChanged {
            backend: !Arc::ptr_eq(&former.backend, &backend),
            report: former.report != report,
        }
    }

    /// What an Ingress without rules lost to the one that is taken.
    pub(crate) fn problems(&self, ingress: &Arc<Resolved>) -> Option<Arc<[Problem]>> {
        let winner = self
            .winner
            .as_ref()
            .filter(|winner| !Arc::ptr_eq(winner, ingress))?;
        if !catches_all(ingress) {
            return None;
        }
        let mut problems = Problems::of(key(&ingress.parsed.source));
        problems.warning(
            "spec.defaultBackend",
            format!(
                "requests that nobody claims go to the default backend of {}",
                key(&winner.parsed.source)
            ),
            "one Ingress without rules; the older one is taken",
        );
        Some(problems.into_shared())
    }
}

/// Whether an Ingress's default backend may answer what nobody claims. To ingress-nginx that of one
/// with rules is about their hosts alone.
fn falls_back(ingress: &Resolved) -> bool {
    let is_nginxs = ingress.parsed.profile == Profile::IngressNginx;
    ingress.default_backend.is_some() && !(is_nginxs && ingress.parsed.has_rules())
}

/// Whether an Ingress wants every request that nobody claims, and nothing else.
fn catches_all(ingress: &Resolved) -> bool {
    ingress.default_backend.is_some() && !ingress.parsed.has_rules() && !ingress.parsed.is_canary()
}

fn as_host(default: Arc<Rule>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost::new("".into(), Vec::new(), Some(default), 0))
}
