//! One Ingress with what it refers to: class, Services, Secrets.

use std::net::IpAddr;
use std::sync::Arc;

use model::backend::Discovery;
use model::{Backend, ClientPolicy, EndpointSet, Stream};
use objects::kinds::Service;
use objects::{Problem, Store};

use super::annotations::Standing;
use super::annotations::affinity::PATH as SESSION_PATH;
use super::answers::{self, Answers};
use super::backend_tls::{self, BackendSpeech};
use super::class::{self, Profile, Verdict};
use super::clients;
use super::fastcgi;
use super::guard::{self, Guard};
use super::key;
use super::manner::{self, Manner, Profiles};
use super::parse::{BackendRef, Parsed, PortRef};
use super::sealed;
use crate::certificates::{BadSecret, Certificates, Loaded};
use crate::issuance::expected_from;
use crate::name::NameRef;
use crate::options::Options;
use crate::report::{Problems, annotation_field};
use crate::service::Services;

/// One Ingress that is served, with what it refers to.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) parsed: Arc<Parsed>,
    /// For each of `parsed.hosts`, for each of its paths.
    backends: Box<[Box<[Arc<Backend>]>]>,
    pub(crate) default_backend: Option<Arc<Backend>>,
    /// For each of `parsed.hosts`, where its TLS goes if it does not end here; or empty.
    sealed: Box<[Option<Arc<Stream>>]>,
    /// How its requests are treated besides filters.
    pub(crate) manner: Arc<Manner>,
    /// What is spoken to backends.
    pub(crate) speech: BackendSpeech,
    /// What it says of its answers.
    pub(crate) answers: Answers,
    /// What clients have to show.
    pub(crate) clients: Option<Arc<ClientPolicy>>,
    /// Who may come in, and how often.
    pub(crate) guard: Guard,
    /// Sorted by host, then by entry.
    tls: Box<[TlsClaim]>,
    pub(crate) problems: Arc<[Problem]>,
}

/// A host of a `tls` entry.
#[derive(Debug)]
pub(crate) struct TlsClaim {
    pub(crate) host: Box<str>,
    /// The entry's index.
    pub(crate) entry: usize,
    /// The host's index in it; none if the certificate names the host and not the entry.
    pub(crate) listed: Option<usize>,
    /// None for a broken Secret, or where the default certificate is meant.
    pub(crate) certificate: Option<Arc<Loaded>>,
}

impl Resolved {
    /// The backends of the paths of `parsed.hosts[index]`.
    pub(crate) fn backends(&self, index: usize) -> &[Arc<Backend>] {
        &self.backends[index]
    }

    /// Whether every path answers 503, because something is wrong that ingress-nginx closes them for.
    pub(crate) fn is_denied(&self) -> bool {
        self.parsed.settings.standing == Standing::Denied
            || self.guard.is_denied()
            || self.answers.denied()
            || self.speech.is_denied()
    }

    /// Where TLS of `parsed.hosts[index]` goes, if it does not end here.
    pub(crate) fn sealed(&self, index: usize) -> Option<&Arc<Stream>> {
        self.sealed.get(index)?.as_ref()
    }

    /// The claims of one host, in the order of the entries.
    pub(crate) fn tls_claims(&self, host: &str) -> &[TlsClaim] {
        let start = self.tls.partition_point(|claim| &*claim.host < host);
        let claims = &self.tls[start..];
        &claims[..claims.partition_point(|claim| &*claim.host == host)]
    }

    /// Whether `host` has TLS by this Ingress: a `tls` entry names it. To ingress-nginx any entry
    /// means all hosts of the rules.
    pub(crate) fn gives_tls(&self, host: &str) -> bool {
        let parsed = &self.parsed;
        let by_any = parsed.profile == Profile::IngressNginx
            && parsed.source.spec.tls.iter().flatten().next().is_some()
            && parsed.host_index(host).is_some();
        by_any || !self.tls_claims(host).is_empty()
    }

    /// Whether requests for `host` are this Ingress's business: it has a rule for the host, or
    /// the host is one of its certificates' and nothing but its default backend can be meant.
    pub(crate) fn claims_requests(&self, host: &str) -> bool {
        self.parsed.host_index(host).is_some()
            || (self.default_backend.is_some() && !self.parsed.rules_cover(host))
    }

    /// Every host that it names, in rules or for TLS, each once.
    pub(crate) fn hosts(&self) -> Vec<&str> {
        let rules = self.parsed.hosts.iter().map(|host| &*host.host);
        let mut hosts: Vec<_> = rules
            .chain(self.tls.iter().map(|claim| &*claim.host))
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// Every Service port that it refers to, as often as it does.
    pub(crate) fn service_ports(&self) -> impl Iterator<Item = (NameRef<'_>, &PortRef)> {
        service_ports(&self.parsed)
    }

    /// Every Service port that it passes TLS on to, as often as it does.
    pub(crate) fn sealed_ports(&self) -> impl Iterator<Item = (NameRef<'_>, &PortRef)> {
        let ports = (!self.sealed.is_empty()).then(|| sealed::service_ports(&self.parsed));
        ports.into_iter().flatten()
    }
}

/// Every Service port that an Ingress refers to, as often as it does.
pub(crate) fn service_ports(parsed: &Parsed) -> impl Iterator<Item = (NameRef<'_>, &PortRef)> {
    let namespace = parsed.namespace();
    let paths = parsed
        .hosts
        .iter()
        .flat_map(|host| &host.paths)
        .map(|path| &path.backend);
    paths
        .chain(&parsed.default_backend)
        .filter_map(move |backend| match backend {
            BackendRef::Service { name, port } => Some((NameRef { namespace, name }, port)),
            BackendRef::Unusable { .. } => None,
        })
}

/// Every Secret that an Ingress refers to.
pub(crate) fn secrets(parsed: &Parsed) -> impl Iterator<Item = NameRef<'_>> {
    let namespace = parsed.namespace();
    let names = parsed
        .tls
        .iter()
        .filter_map(|entry| entry.secret.as_deref());
    let names = names.map(move |name| NameRef { namespace, name });
    let names = names.chain(clients::secret(parsed));
    let names = names.chain(guard::secret(parsed));
    names.chain(backend_tls::secret(parsed))
}

/// Every ConfigMap that an Ingress refers to.
pub(crate) fn config_maps(parsed: &Parsed) -> impl Iterator<Item = NameRef<'_>> {
    let clients = clients::config_map(parsed).into_iter();
    let clients = clients.chain(guard::config_map(parsed));
    let clients = clients.chain(answers::config_map(parsed));
    clients.chain(fastcgi::config_map(parsed))
}

/// Where more is said of certificates that we obtain.
const RENEWAL: &str = "see `narthex certs list`";

/// What resolving looks things up in.
pub(crate) struct World<'a> {
    pub(crate) store: &'a Store,
    pub(crate) options: &'a Options,
    pub(crate) profiles: &'a Profiles,
    pub(crate) services: &'a mut Services,
    pub(crate) certificates: &'a mut Certificates,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// Finds what an Ingress refers to. Its Service ports are acquired: whoever drops the result
/// releases them.
pub(crate) fn resolve(parsed: &Arc<Parsed>, verdict: Verdict, world: &mut World<'_>) -> Resolved {
    let mut problems = Problems::of(key(&parsed.source));
    class::explain(verdict, &parsed.source, world.options, &mut problems);
    let defaults = world.profiles.of(parsed.profile);
    let speech = backend_tls::resolve(parsed, world, &mut problems).balanced(parsed, defaults);
    let mut backends: Vec<Box<[_]>> = Vec::with_capacity(parsed.hosts.len());
    for host in &parsed.hosts {
        let of_host = host.paths.iter().map(|path| {
            let field = || format!("{}.backend", path.place);
            resolve_backend(parsed, &path.backend, &speech, field, world, &mut problems)
        });
        backends.push(of_host.collect());
    }
    let default_backend = parsed.default_backend.as_ref().map(|backend| {
        let field = || "spec.defaultBackend".to_owned();
        resolve_backend(parsed, backend, &speech, field, world, &mut problems)
    });
    let all = backends.iter().flatten();
    let pairs = secure(parsed, &speech, all.chain(&default_backend), world);
    let speech = speech.securing(pairs);
    warn_of_session_path(parsed, world.options, &mut problems);
    let sealed = sealed::resolve(parsed, world, &mut problems);
    let answers = answers::resolve(parsed, world, &mut problems);
    let clients = clients::resolve(parsed, world, &mut problems);
    let defaults = world.profiles.of(parsed.profile);
    let manner = manner::resolve(parsed, defaults);
    let guard = guard::resolve(parsed, &defaults.guard, world, &mut problems);
    let tls = resolve_tls(parsed, world, &mut problems);
    Resolved {
        parsed: Arc::clone(parsed),
        backends: backends.into(),
        default_backend,
        sealed,
        manner: answers.over(manner),
        speech,
        answers,
        clients,
        guard,
        tls,
        problems: problems.into_shared(),
    }
}

fn resolve_backend(
    parsed: &Parsed,
    backend: &BackendRef,
    speech: &BackendSpeech,
    field: impl Fn() -> String,
    world: &mut World<'_>,
    problems: &mut Problems,
) -> Arc<Backend> {
    let namespace = parsed.namespace();
    match backend {
        BackendRef::Service { name, port } => {
            let name = NameRef { namespace, name };
            let (backend, refused) =
                world
                    .services
                    .acquire_with(name, port, &speech.to(name), world.store);
            if speech.cluster_ip()
                && let Some(service) = world.store.service(namespace, name.name)
                && !has_address(service)
            {
                let prefix = &world.options.annotations_prefix;
                let message =
                    format!("Service {name} has no clusterIP; its endpoints are used instead");
                problems.warning(
                    annotation_field(&format!("{prefix}/service-upstream")),
                    message,
                    "spec.clusterIP, as the API server sets it",
                );
            }
            if let Some(refused) = refused {
                let field = format!("{}.service.{}", field(), refused.field(port));
                let message = format!("{}; it answers 503", refused.message(name, port));
                problems.error(field, message, refused.hint());
            }
            backend
        }
        BackendRef::Unusable { label, reason } => {
            let set = EndpointSet::none(*reason);
            let name = format!("{namespace}/{label}");
            Arc::new(Backend::new(name, Discovery::Listed, set))
        }
    }
}

/// A pattern is no path that a cookie can have.
fn warn_of_session_path(parsed: &Parsed, options: &Options, problems: &mut Problems) {
    let Some(session) = parsed.settings.affinity.as_deref() else {
        return;
    };
    let prefix = &options.annotations_prefix;
    let said = |name: &str| {
        let annotations = &parsed.source.metadata.annotations;
        annotations.get(&format!("{prefix}/{name}"))
    };
    if session.wanted && session.terms.path.is_none() && said("use-regex") == Some("true") {
        problems.warning(
            annotation_field(&format!("{prefix}/{SESSION_PATH}")),
            "is to be said where paths are regular expressions: cookies are for all paths",
            "the path that the application has",
        );
    }
}

/// What answers clients that came with TLS, for each of the backends in the order of
/// [`service_ports`], where that is something else.
fn secure<'a>(
    parsed: &Parsed,
    speech: &BackendSpeech,
    backends: impl Iterator<Item = &'a Arc<Backend>>,
    world: &mut World<'_>,
) -> Vec<(Arc<Backend>, Arc<Backend>)> {
    let paths = parsed.hosts.iter().flat_map(|host| &host.paths);
    let references = paths.map(|path| &path.backend);
    let references = references.chain(&parsed.default_backend);
    let namespace = parsed.namespace();
    let pairs = references.zip(backends).filter_map(|(reference, plain)| {
        let BackendRef::Service { name, port } = reference else {
            return None;
        };
        let name = NameRef { namespace, name };
        let spoken = speech.secure_to(name)?;
        let (secure, _) = world
            .services
            .acquire_with(name, port, &spoken, world.store);
        Some((Arc::clone(plain), secure))
    });
    pairs.collect()
}

fn has_address(service: &Service) -> bool {
    let address = service.spec.cluster_ip.as_deref();
    address.is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn resolve_tls(parsed: &Parsed, world: &mut World<'_>, problems: &mut Problems) -> Box<[TlsClaim]> {
    let mut claims = Vec::new();
    let annotations = &parsed.source.metadata.annotations;
    let issuer = expected_from(annotations, parsed.namespace());
    for entry in &parsed.tls {
        let certificate = entry.secret.as_deref().and_then(|secret| {
            let name = NameRef {
                namespace: parsed.namespace(),
                name: secret,
            };
            let field = format!("spec.tls[{}].secretName", entry.index);
            match world.certificates.load(name, world.store, world.now) {
                Ok(loaded) => {
                    if let Some((message, hint)) = loaded.problem(world.options, world.now) {
                        problems.warning(&*field, format!("Secret {name}: {message}"), hint);
                    }
                    if let Some(news) = world.certificates.news(name) {
                        let message = format!("Secret {name} is not renewed: {news}");
                        problems.warning(field, message, RENEWAL);
                    }
                    Some(loaded)
                }
                Err(BadSecret::Missing) if let Some(issuer) = &issuer => {
                    let message = world.certificates.expected(name, issuer);
                    let message = format!("{message}; until then the default certificate is used");
                    problems.warning(field, message, RENEWAL);
                    None
                }
                Err(refused) => {
                    let message =
                        format!("{}; the default certificate is used", refused.message(name));
                    problems.error(field, message, refused.hint());
                    None
                }
            }
        });
        if entry.hosts.is_empty() {
            let names = certificate.iter().flat_map(|loaded| &loaded.names);
            claims.extend(names.map(|host| TlsClaim {
                host: host.clone(),
                entry: entry.index,
                listed: None,
                certificate: certificate.clone(),
            }));
        }
        for (index, host) in &entry.hosts {
            if let Some(loaded) = certificate.as_ref().filter(|loaded| !loaded.covers(host)) {
                problems.warning(
                    format!("spec.tls[{}].hosts[{index}]", entry.index),
                    format!(
                        "the certificate in Secret {}/{} is not for {host}, but for {}",
                        parsed.namespace(),
                        entry.secret.as_deref().unwrap_or_default(),
                        loaded.names_for_people(),
                    ),
                    format!("a certificate with {host} among its subject alternative names"),
                );
            }
            // ingress-nginx shows the default one in the place of another host's.
            let is_shown = |loaded: &&Arc<Loaded>| {
                parsed.profile != Profile::IngressNginx || loaded.names(host)
            };
            claims.push(TlsClaim {
                host: host.clone(),
                entry: entry.index,
                listed: Some(*index),
                certificate: certificate.as_ref().filter(is_shown).cloned(),
            });
        }
    }
    claims.sort_by(|a, b| a.host.cmp(&b.host));
    claims.into()
}
