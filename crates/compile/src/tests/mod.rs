//! Tests of the whole compiler.

mod agreement;
mod behaviour;
mod naive;
mod reuse;
mod tls;

use model::{Action, Filter, Listener, NormalPath, PathMatch, Rule};

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

fn listener(compiled: &Compiled) -> &Listener {
    compiled.snapshot.listener(8080).expect("the HTTP listener")
}

fn rule<'a>(compiled: &'a Compiled, host: &str, path: &str) -> &'a std::sync::Arc<Rule> {
    let listener = listener(compiled);
    let host = listener.hosts.find(host).unwrap_or(&listener.default);
    let path = NormalPath::parse(path.as_bytes()).expect("a good path");
    host.rule(path.routed())
}

fn answer(compiled: &Compiled, host: &str, path: &str) -> Answer {
    let rule = rule(compiled, host, path);
    if let PathMatch::Exact(exact) = &rule.path {
        assert_eq!(**exact, *path);
    }
    let target = match &rule.action {
        Action::NotFound => "404".to_owned(),
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
    let listener = compiled
        .snapshot
        .listener(8443)
        .expect("the HTTPS listener");
    let table = listener.certificates.as_ref().expect("certificates");
    let set = table.find(Some(host));
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
