//! There and back: what was made is compiled, and asked beside what it was made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use compile::{Compiler, GatewayPorts, Options};
use model::{Service, Snapshot, TlsSite};
use objects::Store;
use objects::kinds::Kind;

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

pub(super) fn compare(
    store: &Store,
    before: &Snapshot,
    made: &Made,
    options: &Options,
    now: i64,
) -> Round {
    let mut gateways = store.clone();
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
    let after = Compiler::new(options.clone())
        .compile(&gateways, now)
        .snapshot;
    let own = Ports {
        http: options.http_port,
        https: options.https_port,
    };
    let before = Side {
        snapshot: before,
        ports: own,
        store,
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
