//! Metrics under ingress-nginx's names (`--metrics-names=ingress-nginx`), in Prometheus' text
//! format of 0.0.4: their counters have no `_total`, which OpenMetrics asks for.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::time::UNIX_EPOCH;

use model::{Action, Backend, Certificate, Service, Snapshot, Target, TlsSite, Unavailable};
use proxy::IngressCounts;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::live::Applied;
use super::process;

const PREFIX: &str = "nginx_ingress_controller_";
/// The controller whose metrics these are.
const CONTROLLER: &str = "k8s.io/ingress-nginx";

/// Metrics under ingress-nginx's names.
#[derive(Debug)]
pub(super) struct IngressNginx {
    counts: IngressCounts,
    /// What every series says of this process.
    labels: String,
}

/// What others know of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) applied: Option<&'a Applied>,
    /// Of a cluster's replicas: whether this one leads.
    pub(super) leads: Option<bool>,
    /// When the process started, in seconds since 1970.
    pub(super) start: f64,
}

impl IngressNginx {
    /// Of this pod, as its environment names it.
    pub(super) fn new(counts: IngressCounts) -> Self {
        let environment = |name: &str| std::env::var(name).unwrap_or_default();
        let namespace = environment("POD_NAMESPACE");
        let pod = Some(environment("POD_NAME")).filter(|name| !name.is_empty());
        let pod = pod.unwrap_or_else(|| environment("HOSTNAME"));
        let labels = Labels::new("")
            .and("controller_class", CONTROLLER)
            .and("controller_namespace", &namespace)
            .and("controller_pod", &pod);
        Self {
            counts,
            labels: labels.0,
        }
    }

    /// All of them.
    pub(super) fn write(&self, known: Known<'_>) -> String {
        let mut out = Exposition::default();
        self.process(known.start, &mut out);
        self.configuration(known, &mut out);
        if let Some(applied) = known.applied {
            self.orphans(&applied.snapshot, &mut out);
            Self::certificates(&applied.snapshot, &mut out);
        }
        self.counts.write(&self.labels, &mut out.0);
        out.0
    }

    fn with(&self, name: &str, value: &str) -> Labels {
        Labels::new(&self.labels).and(name, value)
    }

    /// Of the process, which is nginx's and its controller's in one.
    fn process(&self, start: f64, out: &mut Exposition) {
        let counts = self.counts.connections();
        let own = || Labels::new(&self.labels);
        out.head("nginx_process_connections", "gauge");
        let active = self.with("state", "active");
        out.series("nginx_process_connections", &active, counts.active);
        out.head("nginx_process_connections_total", "counter");
        for state in ["accepted", "handled"] {
            let labels = self.with("state", state);
            out.series("nginx_process_connections_total", &labels, counts.accepted);
        }
        out.one(
            "nginx_process_requests_total",
            "counter",
            &own(),
            counts.requests,
        );
        out.one("nginx_process_num_procs", "gauge", &own(), 1);
        out.one(
            "nginx_process_oldest_start_time_seconds",
            "gauge",
            &own(),
            start,
        );
        let measured = [
            ("cpu_seconds_total", "counter", process::cpu_seconds()),
            ("resident_memory_bytes", "gauge", process::resident_bytes()),
            ("virtual_memory_bytes", "gauge", process::virtual_bytes()),
            ("read_bytes_total", "counter", process::io_bytes("rchar")),
            ("write_bytes_total", "counter", process::io_bytes("wchar")),
        ];
        for (name, kind, value) in measured {
            if let Some(value) = value {
                out.one(&format!("nginx_process_{name}"), kind, &own(), value);
            }
        }
    }

    fn configuration(&self, known: Known<'_>, out: &mut Exposition) {
        let own = || Labels::new(&self.labels);
        let build = own()
            .and("build", "")
            .and("release", concat!("narthex-", env!("CARGO_PKG_VERSION")))
            .and("repository", "");
        out.one("build_info", "gauge", &build, 1);
        if let Some(applied) = known.applied {
            let generation = applied.snapshot.generation;
            let at = applied.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            out.one("config_hash", "gauge", &own(), generation);
            out.one("config_last_reload_successful", "gauge", &own(), 1);
            out.one(
                "config_last_reload_successful_timestamp_seconds",
                "gauge",
                &own(),
                at.as_secs(),
            );
            // A configuration that is worse than the one before is never taken over.
            out.one("success", "counter", &own(), generation);
            out.one("errors", "counter", &own(), 0);
        }
        if let Some(leads) = known.leads {
            let labels = self.with("name", "ingress-nginx-leader");
            out.one("leader_election_status", "gauge", &labels, u8::from(leads));
        }
    }

    /// Ingresses that refer to what is not there.
    fn orphans(&self, snapshot: &Snapshot, out: &mut Exposition) {
        let orphans = orphans(snapshot);
        if orphans.is_empty() {
            return;
        }
        out.head("orphan_ingress", "gauge");
        for (route, kind) in orphans {
            let (namespace, ingress) = split(&route);
            let labels = self
                .with("ingress", ingress)
                .and("namespace", namespace)
                .and("type", kind);
            out.series("orphan_ingress", &labels, 1);
        }
    }

    /// The certificates of Secrets, by the hosts that they are shown for.
    fn certificates(snapshot: &Snapshot, out: &mut Exposition) {
        let shown: Vec<Shown> = served(snapshot).iter().filter_map(Shown::of).collect();
        if shown.is_empty() {
            return;
        }
        let labels = |shown: &Shown| {
            Labels::new("")
                .and("class", CONTROLLER)
                .and("host", &shown.host)
                .and("identifier", &format!("-{}", shown.serial))
                .and("namespace", &shown.namespace)
                .and("secret_name", &shown.name)
        };
        out.head("ssl_expire_time_seconds", "gauge");
        for shown in &shown {
            out.series("ssl_expire_time_seconds", &labels(shown), shown.end);
        }
        out.head("ssl_certificate_info", "gauge");
        for shown in &shown {
            let labels = labels(shown)
                .and("issuer_common_name", &shown.issuer)
                .and("issuer_organization", &shown.organization)
                .and("public_key_algorithm", shown.algorithm)
                .and("serial_number", &shown.serial);
            out.series("ssl_certificate_info", &labels, 1);
        }
    }
}

/// `namespace/name` and which kind of orphan it is.
fn orphans(snapshot: &Snapshot) -> BTreeSet<(String, &'static str)> {
    let mut orphans = BTreeSet::new();
    for listener in &snapshot.listeners {
        let Some(site) = listener.service.ingress() else {
            continue;
        };
        for host in site.hosts.values() {
            for rule in host.rules().iter().chain(&host.default) {
                for backend in backends(&rule.action) {
                    let kind = match backend.endpoints().unavailable {
                        Some(Unavailable::NoService) => "no-service",
                        Some(Unavailable::NoEndpoints | Unavailable::NoReadyEndpoints) => {
                            "no-endpoint"
                        }
                        _ => continue,
                    };
                    if !rule.route.is_empty() {
                        orphans.insert((rule.route.to_string(), kind));
                    }
                }
            }
        }
    }
    orphans
}

fn backends(action: &Action) -> Vec<&Backend> {
    match action {
        Action::Forward(backend) => vec![backend],
        Action::Split(split) => {
            let targets = split.shares().iter().map(|share| &share.target);
            let backends = targets.filter_map(|target| match target {
                Target::Backend(backend) => Some(&**backend),
                Target::Invalid => None,
            });
            backends.collect()
        }
        Action::Invalid | Action::Denied | Action::NotFound => Vec::new(),
    }
}

/// The hosts of Ingresses with a certificate, the preferred one of each.
fn served(snapshot: &Snapshot) -> Vec<(String, &Certificate)> {
    let mut hosts = Vec::new();
    for listener in &snapshot.listeners {
        let Service::Tls(sites) = &listener.service else {
            continue;
        };
        if let Some(TlsSite::Https(site)) = sites.ingress.as_deref() {
            for (host, set) in site.certificates.hosts.iter() {
                hosts.extend(set.certificates.first().map(|it| (host, &**it)));
            }
        }
    }
    hosts.sort_by(|(a, _), (b, _)| a.cmp(b));
    hosts.dedup_by(|(a, _), (b, _)| a == b);
    hosts
}

/// A certificate as its labels have it.
struct Shown {
    host: String,
    namespace: String,
    name: String,
    end: i64,
    serial: String,
    issuer: String,
    organization: String,
    algorithm: &'static str,
}

impl Shown {
    /// Of a host's certificate, if it comes from a Secret.
    fn of((host, certificate): &(String, &Certificate)) -> Option<Self> {
        let secret = certificate.source.strip_prefix("Secret ")?;
        let (namespace, name) = split(secret);
        let (_, parsed) = X509Certificate::from_der(certificate.key.cert.first()?).ok()?;
        let first =
            |mut values: Box<dyn Iterator<Item = String> + '_>| values.next().unwrap_or_default();
        let issuer = parsed.issuer();
        let text = |attribute: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            attribute.as_str().unwrap_or_default().to_owned()
        };
        let algorithm = parsed.public_key().algorithm.algorithm.to_id_string();
        Some(Self {
            host: host.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            end: certificate.not_after,
            serial: parsed.tbs_certificate.serial.to_string(),
            issuer: first(Box::new(issuer.iter_common_name().map(text))),
            organization: first(Box::new(issuer.iter_organization().map(text))),
            algorithm: match algorithm.as_str() {
                "1.2.840.113549.1.1.1" => "RSA",
                "1.2.840.10045.2.1" => "ECDSA",
                "1.3.101.112" => "Ed25519",
                _ => "0",
            },
        })
    }
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

/// Labels, written out.
#[derive(Debug, Clone)]
struct Labels(String);

impl Labels {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn and(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}=\"{value}\"");
        self
    }
}

/// Text for Prometheus.
#[derive(Debug, Default)]
struct Exposition(String);

impl Exposition {
    fn head(&mut self, name: &str, kind: &str) {
        let _ = writeln!(self.0, "# TYPE {PREFIX}{name} {kind}");
    }

    fn series(&mut self, name: &str, labels: &Labels, value: impl Display) {
        let _ = writeln!(self.0, "{PREFIX}{name}{{{}}} {value}", labels.0);
    }

    /// A metric of one series.
    fn one(&mut self, name: &str, kind: &str, labels: &Labels, value: impl Display) {
        self.head(name, kind);
        self.series(name, labels, value);
    }
}

/// Text of OpenMetrics as Prometheus' older format has it: counters are named as their series
/// are, and there is no other type than it knows.
pub(super) fn from_open_metrics(text: &str, out: &mut String) {
    for line in text.lines() {
        let Some(comment) = line.strip_prefix("# ") else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let mut words = comment.split(' ');
        if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next()) {
            let _ = match kind {
                "counter" => writeln!(out, "# TYPE {name}_total counter"),
                "info" => writeln!(out, "# TYPE {name}_info gauge"),
                "unknown" => writeln!(out, "# TYPE {name} untyped"),
                kind => writeln!(out, "# TYPE {name} {kind}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_become_what_prometheus_had_before() {
        let text = "# HELP a A.\n# TYPE a counter\n# UNIT a s\na_total{b=\"c\"} 1\n\
                    # TYPE d info\nd_info{e=\"f\"} 1\n# EOF\n";
        let mut out = String::new();
        from_open_metrics(text, &mut out);
        let expected = "# TYPE a_total counter\na_total{b=\"c\"} 1\n\
                        # TYPE d_info gauge\nd_info{e=\"f\"} 1\n";
        assert_eq!(out, expected);
    }

    #[test]
    fn labels_are_escaped() {
        let labels = Labels::new("a=\"b\"").and("c", "d\"e\\f\n");
        assert_eq!(labels.0, "a=\"b\",c=\"d\\\"e\\\\f\\n\"");
    }
}
