//! What answers requests that no rule claims.

use std::sync::Arc;

use model::{Action, Backend, Rule, VirtualHost};
use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Store};

use super::routes::{built_in, default_rule, not_found};
use crate::ingress::key;
use crate::ingress::list::{Ingresses, Replaced};
use crate::ingress::parse::PortRef;
use crate::ingress::resolve::Resolved;
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
    /// The Ingress that `any` comes from.
    winner: Option<Arc<Resolved>>,
    service: Option<DefaultService>,
}

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
    /// The rules.
    pub(crate) rules: bool,
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
            virtual_host: as_host(rule),
            winner: None,
            service: None,
        }
    }

    /// What is wrong with the Service that the command line names.
    pub(crate) fn report(&self) -> Option<&Arc<ObjectReport>> {
        self.service
            .as_ref()
            .and_then(|service| service.report.as_ref())
    }

    /// The backends that no Ingress names.
    pub(crate) fn backend(&self) -> Option<&Arc<Backend>> {
        self.service.as_ref().map(|service| &service.backend)
    }

    /// Takes over what there is now.
    pub(crate) fn update(
        &mut self,
        ingresses: &Ingresses,
        replaced: &[Replaced],
        changes: &Changes,
        services: &mut Services,
        store: &Store,
        options: &Options,
    ) -> FallbacksChanged {
        let service = self.update_service(changes, services, store, options);
        let unchanged = FallbacksChanged {
            rules: false,
            winner: false,
            report: service.report,
        };
        let concerns = |ingress: &Arc<Resolved>| ingress.default_backend.is_some();
        let any = replaced
            .iter()
            .flat_map(|change| change.old.iter().chain(&change.new));
        if !service.backend && !any.into_iter().any(concerns) {
            return unchanged;
        }
        let winner = ingresses
            .entries()
            .iter()
            .filter_map(|entry| entry.resolved.as_ref())
            .filter(|ingress| ingress.default_backend.is_some())
            .min_by_key(|ingress| (ingress.parsed.has_rules(), ingress.parsed.precedence()));
        let winner_changed = !super::same(winner, self.winner.as_ref());
        if !service.backend && !winner_changed {
            return unchanged;
        }
        self.winner = winner.cloned();
        let last = Arc::new(match &self.service {
            Some(service) => built_in(Action::Forward(Arc::clone(&service.backend)), options),
            None => not_found(options),
        });
        self.any = match &self.winner {
            Some(ingress) => Arc::new(default_rule(ingress, false, options)),
            None => Arc::clone(&last),
        };
        self.host = match &self.winner {
            Some(ingress) if ingress.parsed.has_rules() => last,
            _ => Arc::clone(&self.any),
        };
        self.virtual_host = as_host(Arc::clone(&self.any));
        FallbacksChanged {
            rules: true,
            winner: winner_changed,
            ..unchanged
        }
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

/// Whether an Ingress wants every request that nobody claims, and nothing else.
pub(crate) fn catches_all(ingress: &Resolved) -> bool {
    ingress.default_backend.is_some() && !ingress.parsed.has_rules()
}

fn as_host(default: Arc<Rule>) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: "".into(),
        rules: [].into(),
        paths: model::PathRouter::default(),
        default,
        metrics_slot: 0,
    })
}
