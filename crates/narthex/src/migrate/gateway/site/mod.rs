//! Gateways, their listeners, and the routes of every host.

mod listeners;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use compile::Options;
use model::{
    Action, Backend, PathMatch, Rule, Service, Site, Snapshot, Stream, Target, TlsSite, VirtualHost,
};
use objects::Store;
use serde_json::{Value, json};

use self::listeners::Listener;
use self::routes::Rules;
use super::rules::{self, Around};
use super::{File, Without};

/// What the Gateway and its class are called.
const NAME: &str = "narthex";

/// The API takes no more rules in one route.
const MOST_RULES: usize = 16;

/// Of every host.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Each host with the name of its file.
    pub(super) hosts: Vec<(String, String)>,
    pub(super) without: BTreeMap<String, BTreeSet<Without>>,
    pub(super) general: Vec<String>,
    pub(super) files: Vec<File>,
    /// Ports of Services that have to say that they speak HTTP/2.
    pub(super) http2: BTreeSet<(String, String, u16)>,
}

struct Maker<'a> {
    store: &'a Store,
    options: &'a Options,
    /// Where the Gateway is.
    namespace: String,
    /// Whether hosts have listeners of their own without TLS: where one stands for others, too, a
    /// request is the business of the closest alone.
    isolated: bool,
    listeners: Vec<Listener>,
    made: Made,
    /// Services over TLS that have their policy already.
    policies: BTreeSet<String>,
    /// Namespaces that routes, Secrets are in.
    routes: BTreeSet<String>,
    secrets: BTreeSet<String>,
    names: BTreeSet<String>,
}

pub(super) fn make(store: &Store, snapshot: &Snapshot, options: &Options) -> Made {
    let sites = snapshot.listeners.iter();
    let plain = sites.clone().find_map(|listener| match &listener.service {
        Service::Http(sites) => sites.ingress.as_ref(),
        _ => None,
    });
    let sealed: BTreeMap<String, Arc<Stream>> = sites
        .filter_map(|listener| match &listener.service {
            Service::Tls(sites) => Some(sites),
            _ => None,
        })
        .flat_map(|sites| sites.sealed.iter())
        .map(|(name, stream)| (name, Arc::clone(stream)))
        .collect();
    let secure = snapshot
        .listeners
        .iter()
        .find_map(|listener| match &listener.service {
            Service::Tls(sites) => match sites.ingress.as_deref()? {
                TlsSite::Https(site) => Some(&site.site),
                TlsSite::Tcp(_) | TlsSite::Passthrough(_) => None,
            },
            _ => None,
        });
    let mut hosts: BTreeMap<String, Arc<VirtualHost>> = BTreeMap::new();
    if let Some(site) = plain {
        hosts.extend(
            site.hosts
                .iter()
                .map(|(name, host)| (name, Arc::clone(host))),
        );
        if is_somebodys(&site.default) {
            hosts
                .entry(String::new())
                .or_insert_with(|| Arc::clone(&site.default));
        }
    }
    let mut maker = Maker {
        namespace: home(store, options),
        isolated: hosts
            .keys()
            .any(|name| name.is_empty() || name.starts_with("*.")),
        store,
        options,
        listeners: Vec::new(),
        made: Made::default(),
        policies: BTreeSet::new(),
        routes: BTreeSet::new(),
        secrets: BTreeSet::new(),
        names: BTreeSet::new(),
    };
    for (name, host) in &hosts {
        let secure = secure.and_then(|site| match name.is_empty() {
            true => Some(site.hosts.any().unwrap_or(&site.default)),
            false => site.hosts.get(name),
        });
        maker.host(name, host, secure, sealed.get(name));
    }
    for (name, stream) in sealed.iter().filter(|(name, _)| !hosts.contains_key(*name)) {
        let mut objects = Vec::new();
        maker.passthrough(name, stream, &mut objects);
        maker.file(name, objects);
    }
    maker.general(plain);
    maker.finish()
}

/// Whether any Ingress has a say in it.
fn is_somebodys(host: &VirtualHost) -> bool {
    let all = host.rules().iter().chain(&host.default);
    all.into_iter().any(|rule| !rule.route.is_empty())
}

/// The namespace of all Ingresses, if it is one; else the controller's.
fn home(store: &Store, options: &Options) -> String {
    let all: BTreeSet<&str> = store
        .ingresses()
        .filter_map(|ingress| ingress.metadata.namespace.as_deref())
        .collect();
    match (all.len(), all.first(), &options.config_map) {
        (1, Some(only), _) => (*only).to_owned(),
        (_, _, Some((namespace, _))) => namespace.clone(),
        _ => "default".to_owned(),
    }
}

impl Maker<'_> {
    fn host(
        &mut self,
        name: &str,
        host: &VirtualHost,
        secure: Option<&Arc<VirtualHost>>,
        sealed: Option<&Arc<Stream>>,
    ) {
        let mut objects = Vec::new();
        let secret = self.secret(name);
        let http = self.http_listener(name);
        let https = match (&secret, sealed) {
            (_, Some(stream)) => {
                self.passthrough(name, stream, &mut objects);
                None
            }
            (Some(secret), None) => Some(self.https_listener(name, secret)),
            (None, None) => None,
        };
        let secure = https.as_ref().and(secure);
        let plain_rules = self.rules(name, host, false);
        let secure_rules = secure.map(|host| self.rules(name, host, true));
        let redirect = all_to_https(host);
        match (secure_rules, https) {
            (Some(secure), Some(https)) if secure.same(&plain_rules) => {
                self.routes(name, "", plain_rules, &[http, https], &mut objects);
            }
            (Some(secure), Some(https)) => {
                self.routes(name, "", secure, &[https], &mut objects);
                match redirect {
                    Some(redirect) => {
                        let namespace = host_namespace(host).unwrap_or(&self.namespace).to_owned();
                        let rule = rules::all_to_https(redirect);
                        let by = BTreeMap::from([(namespace, vec![rule])]);
                        let all = Rules {
                            by,
                            ..Rules::default()
                        };
                        self.routes(name, "-to-https", all, &[http], &mut objects);
                    }
                    None => self.routes(name, "-http", plain_rules, &[http], &mut objects),
                }
            }
            _ => self.routes(name, "", plain_rules, &[http], &mut objects),
        }
        self.file(name, objects);
    }

    /// The rules of a host by the namespace of their Ingress.
    fn rules(&mut self, name: &str, host: &VirtualHost, tls: bool) -> Rules {
        let prefixes = host
            .rules()
            .iter()
            .any(|rule| rules::asks_for_prefixes(rule));
        let mut all = Rules {
            is_grpc: true,
            ..Rules::default()
        };
        // What no path claims is a prefix of all, unless a rule is that already.
        let has_root = host
            .rules()
            .iter()
            .any(|rule| matches!(&rule.path, PathMatch::Prefix(path) if path.is_empty()));
        let default = host.default.iter().filter(|_| !has_root);
        for rule in host.rules().iter().chain(default) {
            let namespace = rule.route.split_once('/').map(|(namespace, _)| namespace);
            let Some(namespace) = namespace.map(str::to_owned).or_else(|| {
                // Nobody's 404 needs no rule.
                let built_in = matches!(rule.action, Action::NotFound) && rule.filters.is_empty();
                (!built_in).then(|| self.namespace.clone())
            }) else {
                continue;
            };
            let made = rules::make(
                rule,
                Around {
                    store: self.store,
                    timeouts: &self.options.timeouts,
                    tries: self.options.retry.attempts,
                    namespace: &namespace,
                    tls,
                    prefixes,
                },
            );
            if matches!(rule.action, Action::Forward(_) | Action::Split(_)) {
                all.is_grpc &= made.is_grpc;
            }
            for backend in &made.over_tls {
                self.policy(name, backend, rule, &mut all.policies);
            }
            for backend in &made.http2 {
                self.http2(name, backend, rule);
            }
            self.lose(name, rule, made.lost);
            all.by.entry(namespace).or_default().extend(made.rules);
        }
        all.by.retain(|_, rules| !rules.is_empty());
        all
    }

    fn lose(&mut self, host: &str, rule: &Rule, lost: Vec<(String, String)>) {
        let object = match rule.route.is_empty() {
            true => "the controller".to_owned(),
            false => format!("Ingress {}", rule.route),
        };
        let without = self.made.without.entry(host.to_owned()).or_default();
        without.extend(lost.into_iter().map(|(what, why)| Without {
            object: object.clone(),
            what,
            why,
        }));
    }

    /// Says that a Service has to say what its endpoints speak: routes do not.
    fn http2(&mut self, host: &str, backend: &Backend, rule: &Rule) {
        let around = Around {
            store: self.store,
            timeouts: &self.options.timeouts,
            tries: self.options.retry.attempts,
            namespace: "",
            tls: false,
            prefixes: false,
        };
        let Some(reference) = super::refs::backend_ref(backend, None, around) else {
            return;
        };
        let text = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
        let (namespace, service) = (text("namespace"), text("name"));
        let port = reference["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        let Some(port) = port else {
            return;
        };
        let known = self.store.service(&namespace, &service);
        let mut ports = known
            .iter()
            .flat_map(|known| known.spec.ports.iter().flatten());
        let says = ["kubernetes.io/h2c", "h2c", "grpc"];
        if ports.any(|known| {
            known.port == port
                && known
                    .app_protocol
                    .as_deref()
                    .is_some_and(|it| says.contains(&it))
        }) {
            return;
        }
        let why = format!(
            "routes do not say what is spoken: give port {port} of Service {namespace}/{service} \
             appProtocol: kubernetes.io/h2c"
        );
        self.lose(host, rule, vec![("backend-protocol".to_owned(), why)]);
        self.made.http2.insert((namespace, service, port));
    }

    /// A BackendTLSPolicy for a Service, once.
    fn policy(&mut self, host: &str, backend: &Backend, rule: &Rule, to: &mut Vec<Value>) {
        let Some(tls) = &backend.transport.tls else {
            return;
        };
        let Some((namespace, service)) = backend.name.split_once('/') else {
            return;
        };
        let (service, _) = service.split_once(':').unwrap_or((service, ""));
        if !tls.verify {
            let why = "a BackendTLSPolicy always verifies: put who has issued the backends' \
                certificates into its caCertificateRefs";
            self.lose(
                host,
                rule,
                vec![("backend-protocol".to_owned(), why.to_owned())],
            );
        } else if tls.authorities.is_some() {
            let why = "a BackendTLSPolicy reads a ConfigMap with ca.crt: put that of the Secret into \
                one, and name it in caCertificateRefs";
            self.lose(
                host,
                rule,
                vec![("proxy-ssl-secret".to_owned(), why.to_owned())],
            );
        }
        if tls.client.is_some() {
            let why = "what backends are shown is the Gateway's: spec.tls.backend";
            self.lose(
                host,
                rule,
                vec![("proxy-ssl-secret".to_owned(), why.to_owned())],
            );
        }
        if !self.policies.insert(format!("{namespace}/{service}")) {
            return;
        }
        let is_name =
            tls.server_name.contains('.') && tls.server_name.parse::<std::net::IpAddr>().is_err();
        let hostname = match is_name {
            true => tls.server_name.to_string(),
            false => format!("{service}.{namespace}.svc.cluster.local"),
        };
        to.push(object(
            "gateway.networking.k8s.io/v1",
            "BackendTLSPolicy",
            namespace,
            service,
            &json!({
                "targetRefs": [{"group": "", "kind": "Service", "name": service}],
                "validation": {"hostname": hostname, "wellKnownCACertificates": "System"},
            }),
        ));
    }

    /// Routes of a host, one for each namespace, and more where they are too long.
    fn routes(
        &mut self,
        host: &str,
        suffix: &str,
        rules: Rules,
        listeners: &[String],
        objects: &mut Vec<Value>,
    ) {
        let grpc = rules.grpc();
        objects.extend(rules.policies);
        for (namespace, rules) in rules.by {
            self.routes.insert(namespace.clone());
            let chunks: Vec<&[Value]> = rules.chunks(MOST_RULES).collect();
            for (index, chunk) in chunks.iter().enumerate() {
                let base = format!("{}{suffix}", file_name(host));
                // Of routes of the same age the first by name counts.
                let name = match chunks.len() {
                    1 => base,
                    _ => format!("{base}-{index:03}"),
                };
                let name = self.unique(&namespace, name);
                let parents: Vec<Value> = listeners
                    .iter()
                    .map(|listener| json!({"sectionName": listener}))
                    .collect();
                let (kind, rules) = match &grpc {
                    Some(all) => (
                        "GRPCRoute",
                        all.get(&namespace).cloned().unwrap_or_default(),
                    ),
                    None => ("HTTPRoute", chunk.to_vec()),
                };
                let mut spec = json!({"parentRefs": parents});
                if !host.is_empty() {
                    spec["hostnames"] = json!([host]);
                }
                spec["rules"] = rules.into();
                objects.push(object(
                    "gateway.networking.k8s.io/v1",
                    kind,
                    &namespace,
                    &name,
                    &spec,
                ));
                if grpc.is_some() {
                    break;
                }
            }
        }
    }

    fn passthrough(&mut self, name: &str, stream: &Stream, objects: &mut Vec<Value>) {
        let listener = format!("tls-{}", file_name(name));
        self.listeners.push(Listener {
            spec: json!({
                "name": listener,
                "hostname": name,
                "port": 443,
                "protocol": "TLS",
                "tls": {"mode": "Passthrough"},
            }),
            name: listener.clone(),
        });
        let Some((namespace, _)) = stream.route.split_once('/') else {
            return;
        };
        self.routes.insert(namespace.to_owned());
        let around = Around {
            store: self.store,
            timeouts: &self.options.timeouts,
            tries: self.options.retry.attempts,
            namespace,
            tls: true,
            prefixes: false,
        };
        let shares = stream.split.iter().flat_map(|split| split.shares());
        let references: Vec<Value> = shares
            .filter_map(|share| match &share.target {
                Target::Backend(backend) => super::refs::backend_ref(backend, None, around),
                Target::Invalid => None,
            })
            .collect();
        let route = self.unique(namespace, file_name(name));
        objects.push(object(
            "gateway.networking.k8s.io/v1",
            "TLSRoute",
            namespace,
            &route,
            &json!({
                "parentRefs": [{"sectionName": listener}],
                "hostnames": [name],
                "rules": [{"backendRefs": references}],
            }),
        ));
    }

    /// A name that nothing else in the namespace has.
    fn unique(&mut self, namespace: &str, name: String) -> String {
        let mut unique = name.clone();
        for number in 2.. {
            if self.names.insert(format!("{namespace}/{unique}")) {
                break;
            }
            unique = format!("{name}-{number}");
        }
        unique
    }

    fn file(&mut self, host: &str, objects: Vec<Value>) {
        let name = self.unique("", format!("host-{}", file_name(host)));
        let file = format!("{name}.yaml");
        self.made.hosts.push((host.to_owned(), file.clone()));
        self.made.files.push(File {
            name: file,
            objects,
        });
    }

    /// What holds for all hosts and is nothing that routes say.
    fn general(&mut self, site: Option<&Arc<Site>>) {
        let rules = site.into_iter().flat_map(|site| site.hosts.values());
        let rules: Vec<_> = rules.flat_map(|host| host.rules()).collect();
        let any = |is_it: &dyn Fn(&Rule) -> bool| rules.iter().any(|rule| is_it(rule));
        let extras = |is_it: fn(&model::Extras) -> bool| {
            any(&|rule| rule.extras.as_deref().is_some_and(is_it))
        };
        let all = [
            (
                any(&|rule| rule.max_body != self.options.max_body),
                "Bodies of any size come in: routes have no limit like proxy-body-size (1m where \
                 nothing is said). --max-body-bytes holds for all.",
            ),
            (
                extras(|extras| extras.tells_more),
                "Backends are no longer told X-Scheme, X-Forwarded-Scheme and \
                 X-Original-Forwarded-For.",
            ),
            (
                extras(|extras| extras.hides_server),
                "Clients see the field Server of backends.",
            ),
            (
                extras(|extras| extras.names_server),
                "Answers no longer say Server: nginx.",
            ),
            (
                extras(|extras| extras.keeps_request_id),
                "The X-Request-ID of clients is kept from trusted peers alone.",
            ),
            (
                extras(|extras| extras.gather > 0),
                "Bodies go to backends as they come: ingress-nginx reads them whole first.",
            ),
            (
                any(&|rule| {
                    rule.retry
                        .as_ref()
                        .is_some_and(|retry| !retry.on.non_idempotent)
                }),
                "Requests are sent again as Services and flags say, where a route says nothing.",
            ),
        ];
        let all = all.iter().filter(|(is, _)| *is);
        self.made
            .general
            .extend(all.map(|(_, text)| (*text).to_owned()));
    }

    fn finish(mut self) -> Made {
        let gateway_of = self.attach();
        for file in &mut self.made.files {
            for object in &mut file.objects {
                let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
                let parents = object["spec"]
                    .get_mut("parentRefs")
                    .and_then(Value::as_array_mut);
                for parent in parents.into_iter().flatten() {
                    let listener = parent["sectionName"].as_str().unwrap_or_default();
                    let Some((kind, name)) = gateway_of.get(listener) else {
                        continue;
                    };
                    if *kind != "Gateway" {
                        parent["group"] = "gateway.networking.k8s.io".into();
                        parent["kind"] = (*kind).into();
                    }
                    parent["name"] = name.as_str().into();
                    if namespace.as_deref() != Some(&self.namespace) {
                        parent["namespace"] = self.namespace.as_str().into();
                    }
                }
            }
        }
        self.made
    }
}

/// How all clients of a host are sent to HTTPS, if they all are.
fn all_to_https(host: &VirtualHost) -> Option<model::HttpsRedirect> {
    let mut all = host.rules().iter().chain(&host.default);
    let first = rules::only_to_https(all.next()?)?;
    all.all(|rule| rules::only_to_https(rule) == Some(first))
        .then_some(first)
}

fn host_namespace(host: &VirtualHost) -> Option<&str> {
    let mut all = host.rules().iter().chain(&host.default);
    let (namespace, _) = all.find_map(|rule| rule.route.split_once('/'))?;
    Some(namespace)
}

fn object(version: &str, kind: &str, namespace: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

/// A host as a name of files and objects: at most 50 letters, digits, dashes.
fn file_name(host: &str) -> String {
    let host = match host {
        "" => "all-hosts".to_owned(),
        host => host.replace('*', "any"),
    };
    let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = host.chars().map(safe).take(50).collect();
    name.trim_matches('-').to_ascii_lowercase()
}
