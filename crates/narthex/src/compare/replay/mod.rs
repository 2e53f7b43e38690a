//! The requests of an access log, asked again.

mod format;
mod lines;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use model::{Action, Rule, Service, Site, Target, TlsSite};
use serde::Serialize;

use super::{Answer, Collector, Comparison, OTHERS, Question, Side};
pub(crate) use format::{Formats, Logged};
use lines::{Line, Lines};

/// A line without a host is asked about of no more hosts.
const MOST_HOSTS: usize = 64;

/// So many groups are told apart by their host and backend: both are what the log has.
const MOST_GROUPS: usize = 10_000;

/// How the lines of a log went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    /// All lines.
    pub(crate) lines: u64,
    /// Lines that are no request in a known format, or too long.
    pub(crate) unread: u64,
    /// Requests of which the log does not tell the host, and neither does their backend.
    pub(crate) unplaced: u64,
    /// Requests that were asked about.
    pub(crate) asked: u64,
    /// Of those, the ones that are answered the same.
    pub(crate) equal: u64,
}

/// A log beside two configurations.
#[derive(Debug, Serialize)]
pub(crate) struct BothWays {
    pub(crate) counts: Counts,
    #[serde(flatten)]
    pub(crate) comparison: Comparison,
}

/// A log beside what one configuration does.
#[derive(Debug, Serialize)]
pub(crate) struct AsLogged {
    pub(crate) counts: Counts,
    /// The most frequent first.
    pub(crate) differing: Vec<Differing>,
}

/// Requests of one rule that are answered otherwise than the log says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Differing {
    pub(crate) host: String,
    /// The rule that answers, for people.
    pub(crate) rule: String,
    /// What the log says, as `200 by shop-web-80`.
    pub(crate) logged: String,
    /// What is answered here.
    pub(crate) answered: String,
    pub(crate) example: String,
    pub(crate) requests: u64,
}

/// Answers a log's requests by two configurations.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn both_ways(
    log: &Path,
    formats: &Formats,
    before: Side<'_>,
    after: Side<'_>,
) -> io::Result<BothWays> {
    let index = Index::of(before);
    let mut collector = Collector::default();
    let counts = each(log, formats, |logged| {
        let (question, old) = index.place(before, logged)?;
        let new = after.answer(&question);
        let differs = collector.take(&question.host, &question, [&old, &new], |_| true);
        Some(!differs)
    })?;
    let mut comparison = collector.finish();
    comparison
        .changes
        .sort_by_key(|change| std::cmp::Reverse(change.requests));
    Ok(BothWays { counts, comparison })
}

/// Answers a log's requests, and compares with what it says of them: status and backend.
///
/// # Errors
/// The log cannot be read.
pub(crate) fn as_logged(log: &Path, formats: &Formats, side: Side<'_>) -> io::Result<AsLogged> {
    let index = Index::of(side);
    let mut found: BTreeMap<(String, String, String, String), Differing> = BTreeMap::new();
    let counts = each(log, formats, |logged| {
        let (question, answer) = index.place(side, logged)?;
        if agrees(logged, &answer) {
            return Some(true);
        }
        let differing = Differing {
            host: question.host.clone(),
            rule: answer.rule.clone(),
            logged: said(logged),
            answered: answer.part(super::Part::Answer).to_owned(),
            example: question.to_string(),
            requests: 0,
        };
        // Not by where clients are sent, which is another place for every path.
        let status = answer.status.map(|status| status.to_string());
        let mut key = (
            differing.host.clone(),
            differing.rule.clone(),
            differing.logged.clone(),
            status.unwrap_or_else(|| differing.answered.clone()),
        );
        if found.len() >= MOST_GROUPS && !found.contains_key(&key) {
            OTHERS.clone_into(&mut key.0);
            key.2 = logged
                .status
                .map_or_else(String::new, |status| status.to_string());
        }
        found.entry(key).or_insert(differing).requests += 1;
        Some(false)
    })?;
    let mut differing: Vec<Differing> = found.into_values().collect();
    differing.sort_by_key(|one| std::cmp::Reverse(one.requests));
    Ok(AsLogged { counts, differing })
}

/// Reads every line. `ask` says whether a request is answered the same, if it could be asked about.
fn each(
    log: &Path,
    formats: &Formats,
    mut ask: impl FnMut(&Logged) -> Option<bool>,
) -> io::Result<Counts> {
    let mut lines = Lines::open(log)?;
    let mut counts = Counts::default();
    while let Some(line) = lines.next()? {
        counts.lines += 1;
        let logged = match line {
            Line::Text(line) => formats.read(&line),
            Line::TooLong => None,
        };
        let Some(logged) = logged else {
            counts.unread += 1;
            continue;
        };
        match ask(&logged) {
            None => counts.unplaced += 1,
            Some(equal) => {
                counts.asked += 1;
                counts.equal += u64::from(equal);
            }
        }
    }
    Ok(counts)
}

/// Whether an answer is what the log says. What a backend answered is its own business.
fn agrees(logged: &Logged, answer: &Answer) -> bool {
    match answer.status {
        Some(status) => logged.status.is_none_or(|logged| logged == status),
        None if logged.upstreams.is_empty() => {
            // Nobody knows who it was; a redirect or a refusal of ours would have a status.
            !answer.backends.is_empty()
        }
        None => answer
            .backends
            .iter()
            .any(|backend| logged.upstreams.contains(&upstream_name(backend))),
    }
}

fn said(logged: &Logged) -> String {
    let status = logged
        .status
        .map_or_else(|| "-".to_owned(), |it| it.to_string());
    match logged.upstreams.is_empty() {
        true => status,
        false => format!("{status} by {}", logged.upstreams.join(" or ")),
    }
}

/// What ingress-nginx calls a backend: `namespace-service-port`.
pub(crate) fn upstream_name(backend: &str) -> String {
    backend.replace(['/', ':'], "-")
}

/// The hosts of each backend, by ingress-nginx's name for it.
struct Index {
    hosts: HashMap<String, Vec<String>>,
    only: Option<String>,
}

impl Index {
    fn of(side: Side<'_>) -> Self {
        let mut index = Self {
            hosts: HashMap::new(),
            only: None,
        };
        let mut all: Vec<String> = Vec::new();
        for listener in &side.snapshot.listeners {
            for site in sites(&listener.service) {
                for (name, host) in site.hosts.iter() {
                    if name.is_empty() {
                        continue;
                    }
                    // Of a wildcard any name below it does.
                    let name = match name.strip_prefix("*.").or_else(|| name.strip_prefix('.')) {
                        Some(parent) => format!("any.{parent}"),
                        None => name,
                    };
                    for rule in host.rules().iter().chain(&host.default) {
                        for backend in backends(rule) {
                            let hosts = index.hosts.entry(backend).or_default();
                            if !hosts.contains(&name) && hosts.len() < MOST_HOSTS {
                                hosts.push(name.clone());
                            }
                        }
                    }
                    all.push(name);
                }
            }
        }
        all.sort();
        all.dedup();
        if let [only] = &*all {
            index.only = Some(only.clone());
        }
        index
    }

    /// The request that a line was about, and its answer. None if the line does not tell the host,
    /// and none of its backend's hosts sends such a request there.
    fn place(&self, side: Side<'_>, logged: &Logged) -> Option<(Question, Answer)> {
        if !logged.host.is_empty() {
            return Some(asked(side, logged, &logged.host));
        }
        let known = logged
            .upstreams
            .iter()
            .filter_map(|name| self.hosts.get(name));
        let mut candidates = known.flatten().chain(&self.only);
        let first = candidates.clone().next()?;
        let agreeing = candidates.find_map(|host| {
            let (question, answer) = asked(side, logged, host);
            agrees(logged, &answer).then_some((question, answer))
        });
        Some(agreeing.unwrap_or_else(|| asked(side, logged, first)))
    }
}

/// Asks with TLS or without, as the log says; where it does not, as the status has it.
fn asked(side: Side<'_>, logged: &Logged, host: &str) -> (Question, Answer) {
    let ask = |tls: bool| {
        let (path, query) = match logged.target.find('?') {
            Some(at) => logged.target.split_at(at),
            None => (logged.target.as_str(), ""),
        };
        let question = Question {
            method: logged.method.clone(),
            query: query.to_owned(),
            headers: logged.headers.clone(),
            ..Question::get(tls, None, host, path)
        };
        let answer = side.answer(&question);
        (question, answer)
    };
    let plain = ask(logged.tls.unwrap_or(false));
    if logged.tls.is_some() || agrees(logged, &plain.1) {
        return plain;
    }
    let secure = ask(true);
    match secure.1.claimed {
        true => secure,
        false => plain,
    }
}

fn sites(service: &Service) -> Vec<&Site> {
    match service {
        Service::Http(sites) => {
            let all = sites.gateways.values().chain(&sites.ingress);
            all.map(|site| &**site).collect()
        }
        Service::Tls(sites) => {
            let all = sites.gateways.values().chain(&sites.ingress);
            all.filter_map(|site| match &**site {
                TlsSite::Https(site) => Some(&*site.site),
                TlsSite::Tcp(_) | TlsSite::Passthrough(_) => None,
            })
            .collect()
        }
        Service::Tcp(_) | Service::Udp(_) => Vec::new(),
    }
}

fn backends(rule: &Rule) -> Vec<String> {
    match &rule.action {
        Action::Forward(backend) => vec![upstream_name(&backend.name)],
        Action::Split(split) => {
            let shares = split.shares().iter();
            let names = shares.filter_map(|share| match &share.target {
                Target::Backend(backend) => Some(upstream_name(&backend.name)),
                Target::Invalid => None,
            });
            names.collect()
        }
        Action::Invalid | Action::Denied | Action::NotFound => Vec::new(),
    }
}
