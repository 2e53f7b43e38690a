//! What two configurations answer, compared: `narthex diff`, `--replay`, and whether what migrate
//! writes answers as what it was made of.
//!
//! In: two snapshots. Out: where their answers differ, each with a request that shows it. No socket
//! is opened: both are asked by the data plane's own code for routes.

pub(crate) mod answer;
mod cors;
mod expand;
mod names;
pub(crate) mod question;
pub(crate) mod questions;
pub(crate) mod replay;
mod samples;

use std::collections::BTreeMap;

use model::backend::Discovery;
use model::{Backend, Service};
use serde::Serialize;

pub(crate) use crate::explain::listener::Ports;
pub(crate) use answer::{Answer, Part, Side};
pub(crate) use question::Question;
pub(crate) use questions::Questions;

/// Where two configurations differ.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    /// How many requests were asked about.
    pub(crate) asked: usize,
    /// How many of them are answered differently.
    pub(crate) differing: usize,
    /// By host, and there by the rules that answered before and after.
    pub(crate) changes: Vec<Change>,
}

/// What has become of one route, or of requests that one route had and another one has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// As it is configured; `*` for all hosts.
    pub(crate) host: String,
    /// Who answered, as `namespace/name spec.rules[0]… (Prefix /a)`; empty if nobody did.
    pub(crate) before: String,
    /// Who answers now.
    pub(crate) after: String,
    /// A request that shows it.
    pub(crate) example: String,
    /// What differs for that request.
    pub(crate) parts: Vec<PartChange>,
    /// How many requests show it.
    pub(crate) requests: usize,
}

/// What has become of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ChangeKind {
    /// Nobody claimed such requests before.
    Added,
    /// Nobody claims them any more.
    Removed,
    /// They are answered otherwise.
    Changed,
}

impl ChangeKind {
    /// As people call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}

/// One part of an answer, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PartChange {
    pub(crate) part: Part,
    pub(crate) before: String,
    pub(crate) after: String,
}

/// So many changes are told apart by their host: hosts of a log's requests are anybody's choice.
const MOST_CHANGES: usize = 10_000;

/// The host of those beyond.
pub(crate) const OTHERS: &str = "(other hosts)";

/// What tells one change from another.
type Key = (String, ChangeKind, String, String, Vec<Part>);

/// Collects differences.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    asked: usize,
    differing: usize,
    changes: BTreeMap<Key, Change>,
}

impl Collector {
    /// Takes in what one request is answered. `parts` are those that count. Whether it differs.
    pub(crate) fn take(
        &mut self,
        host: &str,
        question: &Question,
        [before, after]: [&Answer; 2],
        parts: impl Fn(Part) -> bool,
    ) -> bool {
        self.asked += 1;
        let changes = differences(before, after, parts);
        if changes.is_empty() {
            return false;
        }
        self.differing += 1;
        let kind = match (before.claimed, after.claimed) {
            (false, true) => ChangeKind::Added,
            (true, false) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
        let host = if host.is_empty() { "*" } else { host };
        // A route that comes or goes does so with all its parts.
        let which: Vec<Part> = match kind {
            ChangeKind::Changed => changes.iter().map(|change| change.part).collect(),
            ChangeKind::Added | ChangeKind::Removed => Vec::new(),
        };
        let (old, new) = (before.rule.clone(), after.rule.clone());
        let mut key = (host.to_owned(), kind, old.clone(), new.clone(), which);
        if self.changes.len() >= MOST_CHANGES && !self.changes.contains_key(&key) {
            OTHERS.clone_into(&mut key.0);
        }
        let host = key.0.clone();
        let change = self.changes.entry(key).or_insert_with(|| Change {
            kind,
            host,
            before: old,
            after: new,
            example: question.to_string(),
            parts: changes,
            requests: 0,
        });
        change.requests += 1;
        true
    }

    /// What was found.
    pub(crate) fn finish(self) -> Comparison {
        Comparison {
            asked: self.asked,
            differing: self.differing,
            changes: self.changes.into_values().collect(),
        }
    }
}

/// Which parts of two answers differ.
pub(crate) fn differences(
    before: &Answer,
    after: &Answer,
    counts: impl Fn(Part) -> bool,
) -> Vec<PartChange> {
    let both = before.parts.iter().chain(&after.parts);
    let mut parts: Vec<Part> = both.map(|(part, _)| *part).collect();
    parts.sort();
    parts.dedup();
    parts
        .into_iter()
        .filter(|part| counts(*part) && before.part(*part) != after.part(*part))
        .map(|part| PartChange {
            part,
            before: before.part(part).to_owned(),
            after: after.part(part).to_owned(),
        })
        .collect()
}

/// Asks two configurations whatever there is to ask.
pub(crate) fn compare(before: Side<'_>, after: Side<'_>) -> Comparison {
    let mut collector = Collector::default();
    let questions = Questions::of([before, after]);
    questions.each(|host, question| {
        let answers = [before.answer(question), after.answer(question)];
        collector.take(host, question, [&answers[0], &answers[1]], |_| true);
    });
    streams(before, after, &mut collector);
    collector.finish()
}

/// Ports whose connections or datagrams go one way, all of them.
fn streams(before: Side<'_>, after: Side<'_>, collector: &mut Collector) {
    let entrances = |side: Side<'_>| {
        let listeners = side.snapshot.listeners.iter();
        let streams = listeners
            .filter(|listener| matches!(listener.service, Service::Tcp(_) | Service::Udp(_)));
        streams
            .map(|listener| listener.entrance)
            .collect::<Vec<_>>()
    };
    let mut all = [entrances(before), entrances(after)].concat();
    all.sort();
    all.dedup();
    for entrance in all {
        let (old, new) = (before.of_port(entrance), after.of_port(entrance));
        let name = format!("{:?} port {}", entrance.layer, entrance.port).to_lowercase();
        let question = Question {
            method: "CONNECT".to_owned(),
            ..Question::get(false, Some(entrance.port), &name, "")
        };
        collector.take(&name, &question, [&old, &new], |_| true);
    }
}

/// The Service that a backend is which is found by a name of the cluster's DNS, as
/// `namespace/name:port`: `web.shop.svc` is one.
pub(crate) fn service_of(backend: &Backend) -> Option<String> {
    let Discovery::Dns { host, port } = &backend.discovery else {
        return None;
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let name = name.strip_suffix(".cluster.local").unwrap_or(name);
    let (service, namespace) = name.strip_suffix(".svc")?.split_once('.')?;
    (!namespace.contains('.')).then(|| format!("{namespace}/{service}:{port}"))
}
