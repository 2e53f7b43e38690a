//! The answer: what the data plane would do with a request, and why.

use std::borrow::Cow;
use std::sync::Arc;

use admin::view;
use model::{
    Action, Filter, NormalPath, PathMatch, RequestView, Rule, Site, Snapshot, VirtualHost,
};
use objects::kinds::{Kind, ObjectKey};
use objects::manifests::{Origin, locate};
use serde::Serialize;

use super::listener::{CertificateFound, ListenerFound, Ports, find_listener, find_site};
use super::nginx;
use super::url::Url;
use crate::control::{self, Objects};

/// What is known of the objects that were compiled.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Where one was read, if it was in a file.
    pub(super) origin: &'a dyn Fn(&ObjectKey) -> Option<&'a Origin>,
    /// Those of Gateway API.
    pub(super) objects: &'a Objects,
}

/// What the data plane would do, and why.
#[derive(Debug, Default, Serialize)]
pub(super) struct Explanation {
    pub(super) url: String,
    /// Whether a route answers.
    pub(super) answered: bool,
    /// The outcome in a sentence.
    pub(super) verdict: String,
    /// The status, where the answer does not come from a backend.
    pub(super) status: Option<u16>,
    pub(super) listener: Option<ListenerFound>,
    pub(super) certificates: Vec<CertificateFound>,
    pub(super) host: Option<HostFound>,
    pub(super) path: Option<PathFound>,
    pub(super) rule: Option<RuleFound>,
    pub(super) filters: Vec<String>,
    /// Where a filter sends the client.
    pub(super) location: Option<String>,
    pub(super) backend: Option<view::Backend>,
    /// Where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) backends: Vec<view::Share>,
    /// The host's other rules.
    pub(super) others: Vec<Other>,
    /// Hosts that would match, were there not a closer one.
    pub(super) other_hosts: Vec<HostFound>,
}

#[derive(Debug, Serialize)]
pub(super) struct HostFound {
    /// As configured; `*` for all hosts.
    pub(super) host: String,
    /// Why it is this one, or why it is not.
    pub(super) why: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct PathFound {
    /// As it is compared with rules.
    pub(super) normalised: String,
    /// As it goes to the backend.
    pub(super) upstream: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct RuleFound {
    /// As `Prefix /a`.
    #[serde(rename = "match")]
    pub(super) matched: String,
    /// Ingress, HTTPRoute or GRPCRoute; none for the built-in page.
    pub(super) kind: Option<&'static str>,
    /// `namespace/name` of the Ingress or the route; empty for the built-in page.
    pub(super) route: String,
    pub(super) field: String,
    pub(super) file: Option<String>,
    pub(super) line: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Other {
    #[serde(flatten)]
    pub(super) rule: RuleFound,
    /// Why this is not the one.
    pub(super) why: String,
}

/// Asks `snapshot` for `url`.
pub(super) fn explain(
    snapshot: &Snapshot,
    known: Known<'_>,
    ports: Ports,
    url: &Url,
) -> Explanation {
    let mut found = Explanation {
        url: url.text.clone(),
        ..Explanation::default()
    };
    let listener = match find_listener(snapshot, ports, url) {
        Ok(listener) => listener,
        Err(verdict) => {
            found.verdict = verdict;
            return found;
        }
    };
    found.listener = Some(ListenerFound::new(listener));
    let site = match find_site(listener, url, &mut found.certificates) {
        Ok(site) => site,
        Err((status, verdict)) => {
            found.status = status;
            found.verdict = verdict;
            return found;
        }
    };
    if let Some(listener) = &mut found.listener {
        listener.belongs_to(site);
    }
    let refuse = |mut found: Explanation, why: &str| {
        found.status = Some(400);
        found.verdict = format!("400: {why}");
        found
    };
    let path = match NormalPath::parse(url.path.as_bytes()) {
        Ok(path) => path,
        Err(error) => return refuse(found, &format!("the path is refused ({})", error.as_str())),
    };
    let mut path_found = PathFound {
        normalised: lossy(path.routed()),
        upstream: None,
    };
    let host = url.host.as_str();
    let Ok(selection) = site.select(host, &path, &Question(url)) else {
        found.path = Some(path_found);
        return refuse(
            found,
            "the path is ambiguous: read as a slash, its encoded slash would lead to another rule",
        );
    };
    let is_rule = |rule: &Arc<Rule>| Arc::ptr_eq(rule, selection.rule);
    let is_default = !selection.host.rules().iter().any(is_rule);
    if matches!(selection.rule.action, Action::Forward(_) | Action::Split(_)) {
        let path = lossy(selection.path);
        let rewritten = nginx::rewritten(&selection.rule.filters, &path);
        path_found.upstream = Some(rewritten.unwrap_or(path) + &url.query);
    }
    found.path = Some(path_found);
    found.host = Some(host_found(site, host, selection.host));
    let named = Named { known, site };
    found.rule = Some(named.rule(selection.rule, is_default));
    found.filters = selection.rule.filters.iter().map(control::filter).collect();
    found
        .filters
        .extend(control::canary(&selection.rule.action));
    found.backend = control::backend(&selection.rule.action);
    found.backends = control::shares(&selection.rule.action);
    found.others = others(selection.host, selection.rule, &path, named);
    found.other_hosts = other_hosts(site, host, selection.host);
    conclude(&mut found, url, selection.rule, selection.path);
    found
}

/// Says what comes of it.
fn conclude(found: &mut Explanation, url: &Url, rule: &Rule, path: &[u8]) {
    found.answered = matches!(rule.action, Action::Forward(_) | Action::Split(_));
    let redirect = rule.filters.iter().find_map(|filter| match filter {
        Filter::HttpsRedirect(redirect) if !url.tls => Some(redirect),
        _ => None,
    });
    if let Some(redirect) = redirect {
        let location = nginx::https_url(url, *redirect, path);
        found.status = Some(redirect.status);
        found.verdict = format!("{}: redirected to {location}", redirect.status);
        found.location = Some(location);
        return;
    }
    let port = found.listener.as_ref().map(|listener| listener.port);
    if let Some((status, location)) = nginx::sent(rule, url, path, port) {
        if let Some(path) = &mut found.path {
            path.upstream = None;
        }
        found.backend = None;
        found.backends.clear();
        found.status = Some(status);
        found.verdict = format!("{status}: sent to {location}");
        found.location = Some(location);
        return;
    }
    if let Some(Filter::Redirect(redirect)) = rule
        .filters
        .iter()
        .find(|filter| matches!(filter, Filter::Redirect(_)))
    {
        found.status = Some(redirect.status);
        found.verdict = format!("{}: sent elsewhere by a filter", redirect.status);
        return;
    }
    let (status, verdict) = match &found.backend {
        None if !found.backends.is_empty() => {
            let total: u32 = found.backends.iter().map(|share| share.weight).sum();
            let names = found.backends.iter().map(|share| {
                let name = share.backend.as_ref();
                let name = name.map_or("nobody (500)", |backend| &backend.name);
                format!("{name} ({} of {total})", share.weight)
            });
            let names: Vec<String> = names.collect();
            (None, format!("answered by {}", names.join(", ")))
        }
        None if matches!(rule.action, Action::Denied) => (
            Some(503),
            "503: an annotation of the Ingress that was to guard it is wrong".to_owned(),
        ),
        None if matches!(rule.action, Action::Invalid) => (
            Some(500),
            "500: what the rule refers to is not there or not allowed".to_owned(),
        ),
        None => (
            Some(404),
            "404: nobody claims this host and path".to_owned(),
        ),
        Some(backend) => match &backend.unavailable {
            Some(why) => (Some(503), format!("503: {why}")),
            None => (None, format!("answered by {}", backend.name)),
        },
    };
    // A name is resolved by the process that serves, so it is unresolved here.
    let is_name = matches!(&rule.action, Action::Forward(backend)
        if matches!(backend.discovery, model::backend::Discovery::Dns { .. }));
    if is_name && let Action::Forward(backend) = &rule.action {
        found.status = None;
        found.verdict = format!("answered by {}, resolved when it is served", backend.name);
    } else {
        found.status = status;
        found.verdict = verdict;
    }
}

/// A URL as a request: GET, without header fields besides Host.
struct Question<'a>(&'a Url);

impl RequestView for Question<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        (name == "host").then(|| Cow::Borrowed(self.0.host.as_str().as_bytes()))
    }

    fn query(&self) -> &[u8] {
        self.0.query.as_bytes()
    }
}

fn shown(host: &str) -> String {
    if host.is_empty() {
        "*".to_owned()
    } else {
        host.to_owned()
    }
}

fn host_found(site: &Site, asked: &str, selected: &VirtualHost) -> HostFound {
    let why = if site.hosts.find_named(asked).is_none() {
        match site.hosts.any() {
            Some(_) => "for all hosts: no rule names this one",
            None => "no rule names this host, and none is for all hosts",
        }
    } else if selected.name.starts_with("*.") {
        "wildcard: no rule has exactly this host"
    } else {
        "exactly this host"
    };
    HostFound {
        host: shown(&selected.name),
        why,
    }
}

fn other_hosts(site: &Site, asked: &str, selected: &Arc<VirtualHost>) -> Vec<HostFound> {
    let parent = asked.split_once('.').map(|(_, parent)| parent);
    let mut hosts: Vec<HostFound> = site
        .hosts
        .iter()
        .filter(|(_, host)| !Arc::ptr_eq(host, selected))
        .filter_map(|(name, _)| {
            let why = match name.strip_prefix("*.") {
                Some(suffix) if Some(suffix) == parent => "an exact host goes first",
                None if name.is_empty() => "rules that name the host go first",
                _ => return None,
            };
            Some(HostFound {
                host: shown(&name),
                why,
            })
        })
        .collect();
    hosts.sort_by_key(|host| std::cmp::Reverse(host.host.len()));
    hosts
}

/// Tells what rules of a site are called.
#[derive(Clone, Copy)]
struct Named<'k, 's> {
    known: Known<'k>,
    site: &'s Site,
}

impl Named<'_, '_> {
    fn rule(self, rule: &Rule, is_default: bool) -> RuleFound {
        let key = self.key(&rule.route);
        let origin = key.as_ref().and_then(|key| (self.known.origin)(key));
        // After the place comes the rule's name.
        let place = rule.field.split(" (").next().unwrap_or_default();
        RuleFound {
            matched: match is_default {
                true => "what no path claims".to_owned(),
                false => rule.path.to_string(),
            },
            kind: key.map(|key| key.kind.name()),
            route: rule.route.to_string(),
            field: rule.field.to_string(),
            file: origin.map(|origin| origin.file.display().to_string()),
            line: origin.map(|origin| locate(origin, place)),
        }
    }

    /// Which object `namespace/name` is.
    fn key(self, route: &str) -> Option<ObjectKey> {
        let (namespace, name) = route.split_once('/')?;
        let key = |kind| ObjectKey::new(kind, namespace, name);
        if self.site.name.is_empty() {
            return Some(key(Kind::Ingress));
        }
        let both = [Kind::HttpRoute, Kind::GrpcRoute].map(key);
        // Routes of both kinds have no host in common: one of the two is not accepted there.
        let objects = self.known.objects;
        let mut accepted = both.iter().filter(|key| objects.is_accepted(key));
        let known = || both.iter().find(|key| objects.get(key).is_some());
        accepted.next().or_else(known).cloned()
    }
}

fn others(
    host: &VirtualHost,
    winner: &Arc<Rule>,
    path: &NormalPath<'_>,
    named: Named<'_, '_>,
) -> Vec<Other> {
    let winner_is_rule = host.rules().iter().any(|rule| Arc::ptr_eq(rule, winner));
    let rules = host.rules().iter();
    let rules = rules.filter(|rule| !Arc::ptr_eq(rule, winner));
    let mut others: Vec<Other> = rules
        .map(|rule| Other {
            rule: named.rule(rule, false),
            why: why_not(rule, winner, path.routed()),
        })
        .collect();
    if let Some(default) = &host.default
        && winner_is_rule
        && matches!(default.action, Action::Forward(_) | Action::Split(_))
    {
        others.push(Other {
            rule: named.rule(default, true),
            why: "every rule with a path goes first".to_owned(),
        });
    }
    others
}

/// Why a rule does not answer `path`, and `winner` does.
fn why_not(other: &Rule, winner: &Rule, path: &[u8]) -> String {
    match &other.conditions {
        Some(conditions) if other.path.matches(path) => {
            format!(
                "it also asks that {}",
                control::conditions(conditions).join(", ")
            )
        }
        _ => why_not_path(&other.path, &winner.path, path),
    }
}

fn why_not_path(other: &PathMatch, winner: &PathMatch, path: &[u8]) -> String {
    let text = lossy(path);
    if other.matches(path) {
        return match (other, winner) {
            (PathMatch::Prefix(_), PathMatch::Exact(_)) => "Exact goes before Prefix".to_owned(),
            (PathMatch::Pattern(_), PathMatch::Exact(_)) => "Exact goes before Pattern".to_owned(),
            (PathMatch::Pattern(pattern), _) | (_, PathMatch::Pattern(pattern))
                if pattern.is_location() =>
            {
                format!("{winner} is tried first: longer paths are")
            }
            (PathMatch::Prefix(_), PathMatch::Pattern(_)) => {
                "Pattern goes before Prefix".to_owned()
            }
            (PathMatch::Prefix(a), PathMatch::Prefix(b)) if a.len() < b.len() => {
                format!("shorter: {winner} goes first")
            }
            _ => "the same path: the older one goes first, then the first by name".to_owned(),
        };
    }
    match other {
        PathMatch::Exact(exact) => {
            if text.trim_end_matches('/') == exact.trim_end_matches('/') {
                format!("not equal: Exact counts the slash at the end ({text})")
            } else {
                format!("{text} is not equal")
            }
        }
        PathMatch::Prefix(prefix) if text.starts_with(&**prefix) => {
            format!("{text} goes on within the element: Prefix compares whole ones")
        }
        PathMatch::Prefix(_) => format!("{text} does not begin with it"),
        PathMatch::Pattern(_) => format!("{text} does not match"),
    }
}

pub(super) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_tell_rules_apart() {
        let exact = |path: &str| PathMatch::Exact(path.into());
        let prefix = |path: &str| PathMatch::Prefix(path.into());
        let why = |other: &PathMatch, winner: &PathMatch, path: &str| {
            why_not_path(other, winner, path.as_bytes())
        };
        assert_eq!(
            why(&prefix(""), &prefix("/a"), "/a/b"),
            "shorter: Prefix /a goes first"
        );
        assert_eq!(
            why(&prefix("/a"), &exact("/a"), "/a"),
            "Exact goes before Prefix"
        );
        assert_eq!(
            why(&prefix("/b"), &prefix("/a"), "/a"),
            "/a does not begin with it"
        );
        assert!(why(&prefix("/a"), &prefix(""), "/ab").contains("whole ones"));
        assert_eq!(why(&exact("/b"), &prefix(""), "/a"), "/a is not equal");
        assert!(why(&exact("/a"), &prefix(""), "/a/").contains("slash at the end"));
        let pattern = |path| PathMatch::Pattern(model::Pattern::location(path).expect("a pattern"));
        assert_eq!(
            why(&pattern("/a"), &pattern("/a.*"), "/ab"),
            "Pattern ~* ^/a.* is tried first: longer paths are"
        );
        assert!(why(&prefix("/a"), &pattern("/a.*"), "/a").contains("tried first"));
    }
}
