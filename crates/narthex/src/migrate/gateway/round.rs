//! There and back: what was made is compiled, and asked beside what it was made of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use compile::{Compiler, GatewayPorts, Options};
use model::{Service, Snapshot, TlsSite};
use objects::Store;
use objects::kinds::Kind;
use serde_json::json;

use super::site::Made;
use crate::compare::{Answer, Change, Collector, Part, Ports, Questions, Side};

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Round {
    pub(super) asked: usize,
    /// By host as it is configured.
    pub(super) by_host: BTreeMap<String, Vec<Change>>,
}

/// The ports of what is made.
const MADE: Ports = Ports {
    http: 80,
    https: 443,
};

pub(super) fn compare(store: &Store, made: &Made, options: &Options) -> Round {
    let mut ingresses = store.clone();
    stand_in(&mut ingresses);
    let mut gateways = ingresses.clone();
    for key in gateways.keys(Kind::Ingress, None) {
        gateways.delete(&key);
    }
    speak_http2(&mut gateways, made);
    for object in made.files.iter().flat_map(|file| &file.objects) {
        let kind = object["kind"].as_str().and_then(Kind::from_name);
        // What is not read was not made for us: it would be a bug of ours, and shows as one.
        if let Some(kind) = kind
            && let Ok(object) = kind.deserialize(object)
        {
            gateways.apply(object);
        }
    }
    let options = Options {
        gateway_ports: GatewayPorts::Own([].into()),
        lowest_port: 0,
        ..options.clone()
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    let compile = |store: &Store| Compiler::new(options.clone()).compile(store, now).snapshot;
    let (before, after) = (compile(&ingresses), compile(&gateways));
    let own = Ports {
        http: options.http_port,
        https: options.https_port,
    };
    let before = Side {
        snapshot: &before,
        ports: own,
        store: &ingresses,
    };
    let after = Side {
        snapshot: &after,
        ports: MADE,
        store: &gateways,
    };
    ask(before, after, &options)
}

fn ask(before: Side<'_>, after: Side<'_>, options: &Options) -> Round {
    let mut questions = Questions::of([before, after]);
    // Without a certificate of its own a host has the controller's over HTTPS, which is no Ingress's.
    let fallback = &*options.fallback_certificate.source;
    questions.retain(|tls, host| !tls || has_certificate(before.snapshot, host, fallback));
    let mut collectors: BTreeMap<String, Collector> = BTreeMap::new();
    let mut asked = 0;
    questions.each(|host, question| {
        // Nobody's port.
        if question.port.is_some() {
            return;
        }
        asked += 1;
        let answers = [before, after].map(|side| as_compared(side.answer(question)));
        let collector = collectors.entry(host.to_owned()).or_default();
        collector.take(host, question, [&answers[0], &answers[1]], counts);
    });
    let by_host = collectors.into_iter();
    Round {
        asked,
        by_host: by_host
            .map(|(host, found)| (host, found.finish().changes))
            .collect(),
    }
}

/// Without the slash at the end of a redirect to HTTPS, which is named as what has no equivalent.
fn as_compared(mut answer: Answer) -> Answer {
    for (part, said) in &mut answer.parts {
        if *part == Part::Answer && said.starts_with("30") && said.contains(" to https://") {
            said.truncate(said.trim_end_matches('/').len());
        }
    }
    answer
}

/// Has Services say what the report says that they have to.
fn speak_http2(store: &mut Store, made: &Made) {
    for (namespace, name, number) in &made.http2 {
        let Some(service) = store.service(namespace, name) else {
            continue;
        };
        let mut service = (**service).clone();
        let ports = service.spec.ports.iter_mut().flatten();
        for port in ports.filter(|port| port.port == *number) {
            port.app_protocol = Some("kubernetes.io/h2c".into());
        }
        store.apply(Arc::new(service).into());
    }
}

/// What has to be the same. All else is named as without equivalent, where it has none.
fn counts(part: Part) -> bool {
    !matches!(part, Part::Guards | Part::BodyLimit | Part::Else)
}

fn has_certificate(snapshot: &Snapshot, host: &str, fallback: &str) -> bool {
    let name = match host.strip_prefix("*.") {
        Some(parent) => format!("one.{parent}"),
        None => host.to_owned(),
    };
    snapshot.listeners.iter().any(|listener| {
        let Service::Tls(sites) = &listener.service else {
            return false;
        };
        if sites.sealed.find(&name).is_some() {
            return true;
        }
        match sites.ingress.as_deref() {
            Some(TlsSite::Https(site)) => {
                let shown = &site.certificates.find(Some(&name)).certificates;
                shown.iter().any(|one| *one.source != *fallback)
            }
            _ => false,
        }
    })
}

/// Puts a certificate in the place of each that Ingresses name and nobody has shown us: what is
/// answered does not depend on it.
fn stand_in(store: &mut Store) {
    let mut missing: Vec<(String, String, Vec<String>)> = Vec::new();
    for ingress in store.ingresses() {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        for entry in ingress.spec.tls.iter().flatten() {
            let Some(name) = entry.secret_name.as_deref() else {
                continue;
            };
            if !name.is_empty() && store.secret(namespace, name).is_none() {
                let hosts = entry.hosts.iter().flatten();
                let hosts = hosts.map(|host| host.to_ascii_lowercase()).collect();
                missing.push((namespace.to_owned(), name.to_owned(), hosts));
            }
        }
    }
    for (namespace, name, hosts) in missing {
        let Ok(made) = rcgen::generate_simple_self_signed(hosts) else {
            continue;
        };
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let encode = |text: String| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(text)
        };
        let secret = json!({
            "metadata": {"name": name, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "data": {"tls.crt": encode(certificate), "tls.key": encode(key)},
        });
        if let Ok(secret) = Kind::Secret.deserialize(&secret) {
            store.apply(secret);
        }
    }
}
