//! Tests of the whole compiler.

mod agreement;
mod behaviour;
mod gateway;
mod gateway_ownership;
mod naive;
mod nginx;
mod reuse;
mod tls;
mod xbackend;

use std::borrow::Cow;
use std::sync::Arc;

use model::{
    Action, Entrance, Filter, NormalPath, PathMatch, RequestView, Rule, Service, Site, TlsSite,
};

use crate::Compiled;

/// What a request gets, in words that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    /// `namespace/name field`, empty for the built-in rule.
    rule: String,
    redirect: bool,
    /// `name`, then the addresses or why there are none; or `404`.
    target: String,
}

/// A request as far as conditions look at it.
#[derive(Debug, Clone, Copy)]
struct Get<'a> {
    query: &'a str,
    headers: &'a [(&'a str, &'a str)],
}

impl RequestView for Get<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let found = self.headers.iter().find(|(known, _)| *known == name)?;
        Some(Cow::Borrowed(found.1.as_bytes()))
    }

    fn query(&self) -> &[u8] {
        self.query.as_bytes()
    }
}

const PLAIN: Get<'_> = Get {
    query: "",
    headers: &[],
};

fn service(compiled: &Compiled, port: u16) -> &Service {
    let listener = compiled.snapshot.listener(Entrance::tcp(port));
    &listener.expect("a listener").service
}

fn site(compiled: &Compiled) -> &Arc<Site> {
    service(compiled, 8080).ingress().expect("Ingress's")
}

fn rule<'a>(compiled: &'a Compiled, host: &str, path: &str) -> &'a Arc<Rule> {
    let path = NormalPath::parse(path.as_bytes()).expect("a good path");
    let site = site(compiled);
    let host = site.host(host);
    let found = host.rule(path.routed(), &PLAIN);
    found.or(host.default.as_ref()).expect("a default")
}

fn answer(compiled: &Compiled, host: &str, path: &str) -> Answer {
    let rule = rule(compiled, host, path);
    if let PathMatch::Exact(exact) = &rule.path {
        assert_eq!(**exact, *path);
    }
    let target = match &rule.action {
        Action::NotFound => "404".to_owned(),
        Action::Denied => "503".to_owned(),
        Action::Invalid | Action::Split(_) => unreachable!("Ingress has none"),
        Action::Forward(backend) => {
            let set = backend.endpoints();
            let addresses: Vec<_> = set.ready.iter().map(|e| e.address.to_string()).collect();
            assert_eq!(set.unavailable.is_none(), !addresses.is_empty());
            let unavailable = set.unavailable.map_or("", |why| why.as_str());
            format!("{} {}{unavailable}", backend.name, addresses.join(","))
        }
    };
    Answer {
        rule: format!("{} {}", rule.route, rule.field).trim().to_owned(),
        redirect: rule
            .filters
            .iter()
            .any(|filter| matches!(filter, Filter::HttpsRedirect(_))),
        target,
    }
}

/// The Secrets whose certificates a handshake for `host` may get.
fn certificates(compiled: &Compiled, host: &str) -> Vec<String> {
    let Service::Tls(sites) = service(compiled, 8443) else {
        panic!("no TLS");
    };
    let TlsSite::Https(site) = &**sites.ingress.as_ref().expect("Ingress's") else {
        panic!("no HTTPS");
    };
    let set = site.certificates.find(Some(host));
    set.certificates
        .iter()
        .map(|certificate| certificate.source.to_string())
        .collect()
}

/// Every problem as `severity object field`.
fn problems(compiled: &Compiled) -> Vec<String> {
    let line = |problem: &objects::Problem| {
        let object = problem
            .object
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!("{} {object} {}", problem.severity, problem.field)
            .trim()
            .to_owned()
    };
    compiled.report.problems().map(line).collect()
}
