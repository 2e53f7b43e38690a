//! What the data plane would do with a question, in parts that can be compared.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use explain::listener::{Ports, find_listener};
use explain::url::Url;
use model::filter::send::Rest;
use model::filter::{HeaderEdit, PathEdit, Redirect, RedirectTarget, Send, Substitute};
use model::{
    Action, Backend, Entrance, Filter, HttpsRedirect, NormalPath, PathMatch, Rule, Service, Site,
    Snapshot, Split, Stream, Target, TlsSite,
};
use objects::Store;
use serde::Serialize;

use super::expand::{Known, expand};
use super::names::{self, Names, spoken};
use super::question::Question;
use crate::{control, explain};

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// Which backends with which weights, or which status, or where the client is sent.
    Answer,
    /// The path and query that a backend is asked for.
    Path,
    /// The host that a backend is asked for.
    Host,
    /// What is spoken to backends.
    Protocol,
    /// What is changed in header fields of the request.
    RequestHeaders,
    /// What is changed in header fields of the response.
    ResponseHeaders,
    /// Time limits.
    TimeLimits,
    /// How often it is sent again, and after which statuses.
    Retries,
    /// Who gets a copy.
    Mirror,
    /// What scripts of other origins are told.
    Cors,
    /// What keeps a client with its endpoint.
    Session,
    /// The certificate that is shown.
    Certificate,
    /// Who may come in, and how often.
    Guards,
    /// The largest body.
    BodyLimit,
    /// All else that is done.
    Else,
}

impl Part {
    /// As people call it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Path => "path for the backend",
            Self::Host => "host for the backend",
            Self::Protocol => "protocol to the backend",
            Self::RequestHeaders => "request headers",
            Self::ResponseHeaders => "response headers",
            Self::TimeLimits => "time limits",
            Self::Retries => "retries",
            Self::Mirror => "copies",
            Self::Cors => "CORS",
            Self::Session => "session",
            Self::Certificate => "certificate",
            Self::Guards => "guards",
            Self::BodyLimit => "largest body",
            Self::Else => "also",
        }
    }
}

/// What the data plane would do with a question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What is said of each part; of others nothing.
    pub(crate) parts: Vec<(Part, String)>,
    /// The rule that answers, for people; empty if none does.
    pub(crate) rule: String,
    /// Whether anybody claims the request: else it is what everybody gets.
    pub(crate) claimed: bool,
    /// The status, where we know it without a backend.
    pub(crate) status: Option<u16>,
    /// The backends that may answer, as `namespace/service:port`.
    pub(crate) backends: Vec<String>,
}

impl Answer {
    /// What is said of a part; empty if nothing is.
    pub(crate) fn part(&self, part: Part) -> &str {
        let found = self.parts.iter().find(|(known, _)| *known == part);
        found.map_or("", |(_, said)| said)
    }

    /// The same, for the rooms beside this one.
    pub(super) fn add(&mut self, part: Part, what: &str) {
        self.say(part, what);
    }

    fn say(&mut self, part: Part, what: impl fmt::Display) {
        let what = what.to_string();
        if what.is_empty() {
            return;
        }
        match self.parts.iter_mut().find(|(known, _)| *known == part) {
            Some((_, said)) => {
                said.push_str("; ");
                said.push_str(&what);
            }
            None => self.parts.push((part, what)),
        }
    }

    fn ends(&mut self, status: u16, what: &str) {
        self.status = Some(status);
        self.say(Part::Answer, format!("{status}{what}"));
    }

    fn sent(&mut self, status: u16, location: &str) {
        self.ends(status, &format!(" to {}", without_usual_port(location)));
    }
}

/// A configuration that can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// Which ports stand for 80 and 443.
    pub(crate) ports: Ports,
    /// What it was made of, which tells the numbers of ports that are named.
    pub(crate) store: &'a Store,
}

impl Side<'_> {
    /// What becomes of a request.
    pub(crate) fn answer(&self, question: &Question) -> Answer {
        let mut answer = Answer::default();
        let Some(url) = Url::of(question) else {
            answer.ends(400, " (no host)");
            return answer;
        };
        let Ok(listener) = find_listener(self.snapshot, self.ports, &url) else {
            answer.say(Part::Answer, "nothing listens");
            return answer;
        };
        let port = match listener.entrance.port {
            port if port == self.ports.http => 80,
            port if port == self.ports.https => 443,
            _ => listener.public_port,
        };
        match &listener.service {
            Service::Http(sites) => match sites.find(&question.host) {
                Some(site) => self.in_site(site, question, port, &mut answer),
                None => answer.ends(404, ""),
            },
            Service::Tls(sites) => {
                let name = server_name(&question.host);
                if let Some(stream) = sites.passed_on(name) {
                    self.passed_on(stream, &mut answer);
                    return answer;
                }
                match sites.find(name).map(|site| &**site) {
                    None => answer.say(Part::Answer, "the handshake is refused"),
                    Some(TlsSite::Https(site)) => {
                        let shown = &site.certificates.find(name).certificates;
                        let mut shown: Vec<_> =
                            shown.iter().map(|one| one.source.to_string()).collect();
                        shown.sort();
                        answer.say(Part::Certificate, shown.join(", "));
                        self.in_site(&site.site, question, port, &mut answer);
                    }
                    Some(TlsSite::Tcp(site)) => {
                        self.stream(site.streams.find(&question.host), &mut answer);
                    }
                    Some(TlsSite::Passthrough(streams)) => {
                        self.stream(streams.find(&question.host), &mut answer);
                    }
                }
            }
            Service::Tcp(one) | Service::Udp(one) => self.passed_on(one, &mut answer),
        }
        answer
    }

    /// What becomes of connections or datagrams that come in somewhere.
    pub(crate) fn of_port(&self, entrance: Entrance) -> Answer {
        let mut answer = Answer::default();
        let listener = self.snapshot.listener(entrance);
        if let Some(Service::Tcp(stream) | Service::Udp(stream)) = listener.map(|it| &it.service) {
            self.passed_on(stream, &mut answer);
        }
        answer
    }
}

impl Side<'_> {
    fn stream(&self, stream: Option<&Arc<Stream>>, answer: &mut Answer) {
        match stream {
            Some(stream) => self.passed_on(stream, answer),
            None => answer.say(Part::Answer, "the handshake is refused"),
        }
    }

    fn passed_on(&self, stream: &Stream, answer: &mut Answer) {
        answer.claimed = true;
        answer.rule = format!("{} {}", stream.route, stream.field);
        match &stream.split {
            Some(split) => {
                answer.backends = names::written(split);
                let who = Names(self.store).shares(split);
                answer.say(Part::Answer, format!("passed on to {who}"));
            }
            None => answer.say(Part::Answer, "closed"),
        }
    }

    fn in_site(&self, site: &Site, question: &Question, port: u16, answer: &mut Answer) {
        let Ok(path) = NormalPath::parse(question.path.as_bytes()) else {
            return answer.ends(400, " (the path)");
        };
        let Ok(selection) = site.select(&question.host, &path, question) else {
            return answer.ends(400, " (an ambiguous path)");
        };
        let rule = selection.rule;
        answer.claimed = !rule.route.is_empty() && !matches!(rule.action, Action::NotFound);
        if !rule.route.is_empty() {
            let (route, field) = (&rule.route, &rule.field);
            answer.rule = match field.is_empty() {
                true => format!("{route}, what no path claims"),
                false => format!("{route} {field} ({})", rule.path),
            };
        }
        let mut course = Course {
            question,
            rule,
            names: Names(self.store),
            port,
            routed: String::from_utf8_lossy(path.routed()).into_owned(),
            path: String::from_utf8_lossy(selection.path).into_owned(),
            host: None,
        };
        if course.run(&rule.filters, answer) {
            return;
        }
        course.conclude(answer);
    }
}

/// Clients send no address as a server name (RFC 6066, section 3).
fn server_name(host: &str) -> Option<&str> {
    host.parse::<std::net::IpAddr>().is_err().then_some(host)
}

/// A request on its way through the filters of its rule.
struct Course<'a> {
    question: &'a Question,
    rule: &'a Rule,
    names: Names<'a>,
    port: u16,
    routed: String,
    path: String,
    host: Option<String>,
}

impl Course<'_> {
    /// Whether a filter has answered.
    fn run(&mut self, filters: &[Filter], answer: &mut Answer) -> bool {
        filters.iter().any(|filter| self.step(filter, answer))
    }

    fn step(&mut self, filter: &Filter, answer: &mut Answer) -> bool {
        match filter {
            Filter::HttpsRedirect(redirect) => {
                let is_challenge = self.routed.starts_with("/.well-known/acme-challenge/");
                if self.question.tls || is_challenge {
                    return false;
                }
                answer.claimed = true;
                answer.sent(redirect.status, &self.to_https(*redirect));
                return true;
            }
            Filter::Redirect(redirect) => {
                answer.claimed = true;
                answer.sent(redirect.status, &self.redirected(redirect));
                return true;
            }
            Filter::Send(send) => return self.send(send, answer),
            Filter::Substitute(substitute) => return self.substitute(substitute, answer),
            Filter::Rewrite(rewrite) => {
                if let Some(host) = &rewrite.host {
                    self.host = Some(host.to_string());
                }
                if let Some(edit) = &rewrite.path {
                    self.path = edited(edit, &self.path, &self.rule.path);
                }
            }
            Filter::UpstreamHost(host) => self.host = Some(expand(host, self.known(&[]))),
            Filter::RequestHeaders(edit) => answer.say(Part::RequestHeaders, in_words(edit)),
            Filter::ResponseHeaders(edit) => answer.say(Part::ResponseHeaders, in_words(edit)),
            Filter::Mirror(mirror) => {
                let (numerator, denominator) = (mirror.numerator, mirror.denominator);
                let name = self.names.by_number(&mirror.backend.name);
                answer.say(
                    Part::Mirror,
                    format!("{numerator} of {denominator} to {name}"),
                );
            }
            Filter::MirrorTo(mirror) => {
                let service = super::service_of(&mirror.backend);
                let to = service.unwrap_or_else(|| mirror.backend.name.to_string());
                let own = mirror.target.to_string() == "$request_uri";
                let target = (!own).then(|| format!(", path {}", mirror.target));
                let target = target.unwrap_or_default();
                answer.say(Part::Mirror, format!("1 of 1 to {to}{target}"));
            }
            Filter::Cors(_) | Filter::IngressCors(_) => {
                return super::cors::step(filter, self.question, answer);
            }
            Filter::Auth(_) | Filter::Access(_) | Filter::Limit(_) => {
                answer.say(Part::Guards, control::filter(filter));
            }
            Filter::Compress(_)
            | Filter::Pace(_)
            | Filter::ErrorPages(_)
            | Filter::ResponseRewrite(_)
            | Filter::Snippet(_) => answer.say(Part::Else, control::filter(filter)),
        }
        false
    }

    fn known<'b>(&'b self, captures: &'b [&'b [u8]]) -> Known<'b> {
        Known {
            question: self.question,
            port: self.port,
            path: &self.path,
            captures,
        }
    }

    fn to_https(&self, redirect: HttpsRedirect) -> String {
        let (path, keeps_slash) = match redirect.target {
            RedirectTarget::Normalised => (&self.routed, true),
            RedirectTarget::Sent { keeps_slash, .. } => (&self.question.path, keeps_slash),
        };
        let port = match redirect.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let host = self.question.url_host();
        let to = format!("https://{host}{port}{path}{}", self.question.query);
        match to.strip_suffix('/') {
            Some(shorter) if !keeps_slash => shorter.to_owned(),
            _ => to,
        }
    }

    fn redirected(&self, redirect: &Redirect) -> String {
        let scheme = redirect
            .scheme
            .as_deref()
            .unwrap_or_else(|| self.question.scheme());
        let usual = match scheme {
            "http" => 80,
            _ => 443,
        };
        let port = match (redirect.port, &redirect.scheme) {
            (Some(port), _) => port,
            (None, Some(_)) => usual,
            (None, None) => self.port,
        };
        let port = match port == usual {
            true => String::new(),
            false => format!(":{port}"),
        };
        let host: Cow<'_, str> = match &redirect.host {
            Some(host) => Cow::Borrowed(host),
            None => self.question.url_host(),
        };
        let path = match &redirect.path {
            Some(edit) => edited(edit, &self.path, &self.rule.path),
            None => self.path.clone(),
        };
        format!("{scheme}://{host}{port}{path}{}", self.question.query)
    }

    fn send(&self, send: &Send, answer: &mut Answer) -> bool {
        let mut to = expand(&send.to, self.known(&[]));
        match send.rest {
            Rest::Nothing => {}
            Rest::Query => to += &self.question.query,
            Rest::TargetWithoutSlash => {
                to = to + &self.question.path + &self.question.query;
                if to.ends_with('/') {
                    to.pop();
                }
            }
        }
        answer.claimed = true;
        if !matches!(send.status, 301 | 302 | 303 | 307 | 308) {
            answer.ends(send.status, " with a text");
            return true;
        }
        if send.absolute && to.starts_with('/') {
            let (scheme, host) = (self.question.scheme(), self.question.url_host());
            to = format!("{scheme}://{host}{to}");
        }
        answer.sent(send.status, &to);
        true
    }

    fn substitute(&mut self, substitute: &Substitute, answer: &mut Answer) -> bool {
        let path = self.path.clone();
        let captures = substitute.pattern.captures(path.as_bytes());
        let taken: &[&[u8]] = captures.as_ref().map_or(&[], |captures| captures);
        if let Some(prefix) = &substitute.prefix {
            let prefix = expand(prefix, self.known(taken));
            if !prefix.is_empty() {
                answer.say(
                    Part::RequestHeaders,
                    format!("x-forwarded-prefix is {prefix}"),
                );
            }
        }
        if captures.is_none() {
            return false;
        }
        let to = expand(&substitute.to, self.known(taken));
        if substitute.redirects {
            answer.claimed = true;
            answer.sent(302, &(to + &self.question.query));
            return true;
        }
        match to.starts_with('/') {
            true => self.path = to,
            false => self.path = format!("/{to}"),
        }
        false
    }

    /// What is said once no filter has answered.
    fn conclude(&self, answer: &mut Answer) {
        let rule = self.rule;
        match &rule.action {
            Action::NotFound => return answer.ends(404, ""),
            Action::Denied => return answer.ends(503, " (a guard is broken)"),
            Action::Invalid => return answer.ends(500, " (what it refers to is not there)"),
            Action::Forward(backend) => {
                answer.backends = vec![backend.name.to_string()];
                answer.say(Part::Answer, self.names.named(backend));
                answer.say(Part::Protocol, spoken(backend));
            }
            Action::Split(split) => self.split(split, answer),
        }
        let path = format!("{}{}", self.path, self.question.query);
        answer.say(Part::Path, path);
        if let Some(host) = &self.host {
            answer.say(Part::Host, host);
        }
        self.manner(answer);
    }

    fn split(&self, split: &Split, answer: &mut Answer) {
        let decided = split
            .canary()
            .and_then(|canary| canary.decides(self.question));
        let one = decided
            .map(usize::from)
            .or_else(|| split.of_scheme(self.question.tls));
        let all: Vec<_> = match one.and_then(|one| split.shares().get(one)) {
            Some(share) => vec![share],
            None => split.shares().iter().filter(|it| it.weight > 0).collect(),
        };
        answer.backends = all
            .iter()
            .filter_map(|share| names::name(&share.target))
            .collect();
        let words = match &*all {
            [share] => self.names.target(&share.target),
            all => self.names.weighed(all),
        };
        answer.say(Part::Answer, words);
        for share in all {
            if let Target::Backend(backend) = &share.target {
                let said = answer.part(Part::Protocol) == spoken(backend);
                if !said {
                    answer.say(Part::Protocol, spoken(backend));
                }
            }
            for filter in &share.filters {
                answer.say(Part::Else, control::filter(filter));
            }
        }
    }

    /// What is done besides filters.
    fn manner(&self, answer: &mut Answer) {
        let rule = self.rule;
        let limits = &rule.timeouts;
        let all = [
            ("connect", limits.connect),
            ("send", limits.send),
            ("read", limits.read),
            ("attempt", limits.attempt),
            ("total", limits.total),
        ];
        let all = all.iter().filter(|(_, time)| !time.is_zero());
        let all: Vec<_> = all.map(|(name, time)| format!("{name} {time:?}")).collect();
        answer.say(Part::TimeLimits, all.join(", "));
        answer.say(Part::Retries, retries(rule));
        if rule.max_body > 0 {
            answer.say(Part::BodyLimit, format!("{} bytes", rule.max_body));
        }
        if let Some(affinity) = session(rule) {
            answer.say(Part::Session, affinity);
        }
        if let Some(extras) = &rule.extras {
            if let Some(hsts) = extras.hsts.as_ref().filter(|it| !it.is_empty())
                && self.question.tls
            {
                answer.say(
                    Part::ResponseHeaders,
                    format!("strict-transport-security is {hsts}"),
                );
            }
            let words = [
                (extras.keeps_request_id, "X-Request-ID is kept"),
                (extras.tells_more, "X-Scheme and the like are told"),
                (extras.hides_server, "Server is hidden"),
                (extras.names_server, "Server is nginx"),
                (extras.unlogged, "not logged"),
                (extras.logs_rewrites, "rewrites are logged"),
                (extras.gather > 0, "bodies are gathered"),
                (extras.http10, "HTTP/1.0 to backends"),
            ];
            let words = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
            let words: Vec<_> = words.collect();
            answer.say(Part::Else, words.join(", "));
        }
    }
}

fn retries(rule: &Rule) -> String {
    let of_backend = |backend: &Backend| backend.endpoints().policy.retry.attempts;
    let (tries, codes) = match (&rule.retry, &rule.action) {
        (Some(retry), _) => (retry.attempts.saturating_add(1), &*retry.codes),
        (None, Action::Forward(backend)) => (of_backend(backend), &[][..]),
        (None, Action::Split(split)) => {
            let mut backends = split
                .shares()
                .iter()
                .filter_map(|share| match &share.target {
                    Target::Backend(backend) => Some(backend),
                    Target::Invalid => None,
                });
            (backends.next().map_or(1, |it| of_backend(it)), &[][..])
        }
        _ => return String::new(),
    };
    let mut codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
    codes.sort();
    match codes.is_empty() {
        true => format!("at most {tries} tries"),
        false => format!("at most {tries} tries, after {}, too", codes.join(", ")),
    }
}

fn session(rule: &Rule) -> Option<String> {
    let affinity = rule.affinity.as_ref()?;
    let kind = if affinity.header { "header" } else { "cookie" };
    let max_age = affinity
        .cookie_terms
        .as_ref()
        .and_then(|terms| terms.max_age);
    let max_age = max_age.or_else(|| {
        let seconds = affinity.max_age.as_secs();
        (seconds > 0).then(|| i64::try_from(seconds).unwrap_or(i64::MAX))
    });
    let name = &affinity.cookie;
    Some(match max_age {
        Some(max_age) => format!("{kind} {name}, {max_age} s"),
        None => format!("{kind} {name}"),
    })
}

/// Without a port that the scheme means by itself.
fn without_usual_port(url: &str) -> String {
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        if let Some(rest) = url.strip_prefix(scheme) {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            let host = host.strip_suffix(port).unwrap_or(host);
            return format!("{scheme}{host}{path}");
        }
    }
    url.to_owned()
}

/// The path in the place of `path`, of which the rule has matched `matched`.
fn edited(edit: &PathEdit, path: &str, matched: &PathMatch) -> String {
    let replaced = match edit {
        PathEdit::Full(full) => full.to_string(),
        PathEdit::Prefix(prefix) => {
            let PathMatch::Prefix(matched) = matched else {
                return path.to_owned();
            };
            let Some(rest) = path.strip_prefix(&**matched) else {
                return path.to_owned();
            };
            format!("{}{rest}", prefix.trim_end_matches('/'))
        }
    };
    match replaced.starts_with('/') {
        true => replaced,
        false => format!("/{replaced}"),
    }
}

fn in_words(edit: &HeaderEdit) -> String {
    let removed = edit.remove.iter();
    let removed = removed.map(|name| format!("{} removed", name.to_ascii_lowercase()));
    let pair = |name: &str, verb: &str, value: &str| {
        format!("{} {verb} {value}", name.to_ascii_lowercase())
    };
    let set = edit.set.iter().map(|(name, value)| pair(name, "is", value));
    let added = edit
        .add
        .iter()
        .map(|(name, value)| pair(name, "gets", value));
    let mut all: Vec<String> = removed.chain(set).chain(added).collect();
    all.sort();
    all.join("; ")
}
