//! The Ingress specification, read naively: for each request every rule of every Ingress is
//! looked at. Shares nothing with the compiler but the objects.

use objects::Store;
use objects::kinds::{Ingress, IngressBackend, PathType};

use super::Answer;

/// Paths as Ingresses write them, and as requests have them; none if no request can.
pub(super) const PATHS: &[(&str, Option<&str>)] = &[
    ("/", Some("/")),
    ("/a", Some("/a")),
    ("/a/", Some("/a/")),
    ("/a/b", Some("/a/b")),
    ("/a//b", Some("/a/b")),
    ("/%61b", Some("/ab")),
    ("/\u{e4}", Some("/%C3%A4")),
    ("/a?b", None),
];

/// Names in the Secrets that tests use.
pub(super) const SECRETS: &[(&str, &[&str])] = &[
    ("tls-x", &["x.test"]),
    ("tls-wild", &["*.test"]),
    ("tls-both", &["x.test", "y.test"]),
];

pub(super) struct Naive<'a> {
    store: &'a Store,
    /// Those that are served, the first one winning.
    ingresses: Vec<&'a Ingress>,
}

impl<'a> Naive<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        let mut ingresses: Vec<_> = store
            .ingresses()
            .map(|ingress| &**ingress)
            .filter(|i| is_served(store, i))
            .collect();
        ingresses.sort_by_key(|ingress| {
            let meta = &ingress.metadata;
            let created = meta
                .creation_timestamp
                .clone()
                .unwrap_or_else(|| "9999".into());
            (created, meta.namespace.clone(), meta.name.clone())
        });
        Self { store, ingresses }
    }

    pub(super) fn answer(&self, host: &str, path: &str) -> Answer {
        let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
        let names = [Some(host.to_owned()), wildcard, Some(String::new())];
        let claimed = names.into_iter().flatten().find(|name| {
            self.ingresses
                .iter()
                .any(|ingress| claims(self.store, ingress, name))
        });
        let Some(name) = claimed else {
            return self.unclaimed();
        };
        let mut best: Option<(usize, Answer)> = None;
        for ingress in &self.ingresses {
            for (i, rule) in ingress.spec.rules.iter().flatten().enumerate() {
                if rule.host.as_deref().unwrap_or_default() != name {
                    continue;
                }
                for (j, written) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                    let rank = rank(written.path.as_deref(), written.path_type, path);
                    if rank > best.as_ref().map_or(0, |(rank, _)| *rank) {
                        let field = format!("spec.rules[{i}].http.paths[{j}]");
                        let answer = self.by(ingress, &field, &written.backend, &name);
                        best = Some((rank, answer));
                    }
                }
            }
        }
        if let Some((_, answer)) = best {
            return answer;
        }
        let own = self.ingresses.iter().find(|ingress| {
            ingress.spec.default_backend.is_some() && claims(self.store, ingress, &name)
        });
        match own {
            Some(ingress) => self.by_default(ingress, &name),
            None if name.is_empty() => self.unclaimed(),
            None => self
                .without_rules()
                .map_or_else(not_found, |i| self.by_default(i, "")),
        }
    }

    fn unclaimed(&self) -> Answer {
        let any = self
            .ingresses
            .iter()
            .find(|ingress| ingress.spec.default_backend.is_some());
        let ingress = self.without_rules().or_else(|| any.copied());
        ingress.map_or_else(not_found, |ingress| self.by_default(ingress, ""))
    }

    fn without_rules(&self) -> Option<&'a Ingress> {
        self.ingresses.iter().copied().find(|ingress| {
            ingress.spec.default_backend.is_some()
                && ingress.spec.rules.iter().flatten().count() == 0
        })
    }

    fn by_default(&self, ingress: &Ingress, host: &str) -> Answer {
        let backend = ingress
            .spec
            .default_backend
            .as_ref()
            .expect("a default backend");
        self.by(ingress, "spec.defaultBackend", backend, host)
    }

    fn by(&self, ingress: &Ingress, field: &str, backend: &IngressBackend, host: &str) -> Answer {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        let service = backend
            .service
            .as_ref()
            .expect("tests have no other backends");
        let annotation = |name: &str| {
            let name = format!("nginx.ingress.kubernetes.io/{name}");
            ingress
                .metadata
                .annotations
                .get(&name)
                .map(|value| value == "true")
        };
        let when_tls = annotation("ssl-redirect").unwrap_or(true);
        let always = annotation("force-ssl-redirect").unwrap_or(false);
        let port = match (&service.port.name, service.port.number) {
            (Some(name), _) => name.to_string(),
            (None, number) => number.unwrap_or_default().to_string(),
        };
        Answer {
            rule: format!("{namespace}/{} {field}", ingress.metadata.name),
            redirect: always || (when_tls && self.has_tls(host)),
            target: format!(
                "{namespace}/{}:{port} {}",
                service.name,
                self.addresses(namespace, &service.name, &port)
            ),
        }
    }

    fn has_tls(&self, host: &str) -> bool {
        if host.is_empty() {
            return false;
        }
        let parent = host
            .split_once('.')
            .map(|(_, rest)| format!("*.{rest}"))
            .unwrap_or_default();
        self.ingresses.iter().any(|ingress| {
            tls_hosts(self.store, ingress)
                .iter()
                .any(|tls| *tls == host || *tls == parent)
        })
    }

    fn addresses(&self, namespace: &str, service: &str, port: &str) -> String {
        let Some(object) = self.store.service(namespace, service) else {
            return "no_service".to_owned();
        };
        let port =
            object.spec.ports.iter().flatten().find(|known| {
                known.name.as_deref() == Some(port) || known.port.to_string() == port
            });
        let Some(port) = port else {
            return "no_service_port".to_owned();
        };
        let mut ready = std::collections::BTreeSet::new();
        let mut draining = std::collections::BTreeSet::new();
        let mut unready = false;
        for slice in self.store.endpoint_slices(namespace, service) {
            for target in slice
                .ports
                .iter()
                .flatten()
                .filter(|target| target.name == port.name)
            {
                for endpoint in slice.endpoints.iter().flatten() {
                    let ip: std::net::IpAddr = endpoint.addresses[0].parse().expect("an address");
                    let address = std::net::SocketAddr::new(ip, target.port.expect("a port"));
                    let conditions = endpoint.conditions;
                    if conditions.ready != Some(false) {
                        ready.insert(address);
                    } else if conditions.serving == Some(true)
                        && conditions.terminating == Some(true)
                    {
                        draining.insert(address);
                    } else {
                        unready = true;
                    }
                }
            }
        }
        let chosen = if ready.is_empty() { draining } else { ready };
        let list: Vec<_> = chosen.iter().map(ToString::to_string).collect();
        match (list.is_empty(), unready) {
            (false, _) => list.join(","),
            (true, true) => "no_ready_endpoints".to_owned(),
            (true, false) => "no_endpoints".to_owned(),
        }
    }
}

fn not_found() -> Answer {
    Answer {
        rule: String::new(),
        redirect: false,
        target: "404".to_owned(),
    }
}

fn is_served(store: &Store, ingress: &Ingress) -> bool {
    let ours = |class: &objects::kinds::IngressClass| {
        class.spec.controller.as_deref() == Some("narthex.dev/ingress")
    };
    match &ingress.spec.ingress_class_name {
        Some(name) => store.ingress_class(name).is_none_or(|class| ours(class)),
        None => store
            .ingress_classes()
            .find(|class| !class.metadata.annotations.is_empty())
            .is_some_and(|class| ours(class)),
    }
}

fn covers(pattern: &str, host: &str) -> bool {
    pattern.is_empty()
        || pattern == host
        || (!host.starts_with('*')
            && host
                .split_once('.')
                .is_some_and(|(_, rest)| pattern == format!("*.{rest}")))
}

fn claims(store: &Store, ingress: &Ingress, name: &str) -> bool {
    let mut hosts = ingress
        .spec
        .rules
        .iter()
        .flatten()
        .map(|rule| rule.host.as_deref().unwrap_or_default());
    if hosts.clone().any(|host| host == name) {
        return true;
    }
    let tls = tls_hosts(store, ingress).iter().any(|host| host == name);
    tls && ingress.spec.default_backend.is_some() && !hosts.any(|host| covers(host, name))
}

/// Entries without hosts stand for the names in their certificate.
fn tls_hosts(store: &Store, ingress: &Ingress) -> Vec<String> {
    let mut hosts = Vec::new();
    let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
    for tls in ingress.spec.tls.iter().flatten() {
        let listed = tls.hosts.clone().unwrap_or_default();
        let secret = tls.secret_name.as_deref().unwrap_or_default();
        if listed.is_empty()
            && store
                .secret(namespace, secret)
                .is_some_and(|s| s.data.len() == 2)
        {
            let names = SECRETS.iter().find(|(name, _)| *name == secret);
            hosts.extend(
                names
                    .into_iter()
                    .flat_map(|(_, names)| *names)
                    .map(ToString::to_string),
            );
        }
        hosts.extend(listed.iter().map(ToString::to_string));
    }
    hosts
}

/// 0 if it does not match; then by the number of elements; Exact above all.
fn rank(written: Option<&str>, kind: Option<PathType>, path: &str) -> usize {
    let written = written.unwrap_or("/");
    let Some(known) = PATHS
        .iter()
        .find(|(text, _)| *text == written)
        .and_then(|(_, path)| *path)
    else {
        return 0;
    };
    if kind == Some(PathType::Exact) {
        return if known == path { usize::MAX } else { 0 };
    }
    let elements = |text: &str| -> Vec<String> {
        text.split('/')
            .filter(|element| !element.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let (prefix, path) = (elements(known), elements(path));
    if path.starts_with(&prefix) {
        1 + prefix.len()
    } else {
        0
    }
}
