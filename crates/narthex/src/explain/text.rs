//! An explanation for people.

use std::io::{self, Write};

use super::answer::{Explanation, Other, RuleFound};
use super::listener::ListenerFound;
use crate::terminal::{Colour, painted};

/// Writes the explanation.
pub(super) fn write(out: &mut impl Write, found: &Explanation, colours: bool) -> io::Result<()> {
    let mut page = Page { out, colours };
    page.headline(found)?;
    if let Some(listener) = &found.listener {
        page.row("listener", &describe_listener(listener))?;
    }
    for certificate in &found.certificates {
        let until = &certificate.not_after;
        page.row(
            "certificate",
            &format!("{}, until {until}", certificate.source),
        )?;
    }
    if let Some(host) = &found.host {
        page.row("host", &format!("{} ({})", host.host, host.why))?;
    }
    if let Some(path) = &found.path {
        page.row("path", &path.normalised)?;
    }
    if let Some(rule) = &found.rule {
        page.row("rule", &describe(rule))?;
    }
    for filter in &found.filters {
        page.row("filter", filter)?;
    }
    if let Some(backend) = &found.backend {
        page.row("backend", &backend.name)?;
        let endpoints = match &backend.unavailable {
            Some(why) => format!("none: {why}"),
            None => backend.endpoints.join(", "),
        };
        page.row("endpoints", &endpoints)?;
    }
    for share in &found.backends {
        let name = share.backend.as_ref();
        let name = name.map_or("nobody: the answer is 500", |backend| &backend.name);
        page.row("backend", &format!("{name}, weight {}", share.weight))?;
    }
    if let Some(upstream) = found.path.as_ref().and_then(|path| path.upstream.as_ref()) {
        page.row("asked for", upstream)?;
    }
    page.others(found)
}

struct Page<'a, W> {
    out: &'a mut W,
    colours: bool,
}

impl<W: Write> Page<'_, W> {
    fn headline(&mut self, found: &Explanation) -> io::Result<()> {
        let colour = match found.status {
            None | Some(300..=399) => Colour::Green,
            Some(_) => Colour::Red,
        };
        let verdict = painted(&found.verdict, colour, self.colours);
        writeln!(self.out, "{}", found.url)?;
        writeln!(self.out, "{verdict}\n")
    }

    fn row(&mut self, name: &str, value: &str) -> io::Result<()> {
        writeln!(self.out, "  {name:<12} {value}")
    }

    fn others(&mut self, found: &Explanation) -> io::Result<()> {
        if !found.others.is_empty() {
            writeln!(
                self.out,
                "\nThe host's other rules, and why they do not answer:"
            )?;
        }
        let width = |other: &Other| other.rule.matched.chars().count();
        let width = found.others.iter().map(width).max().unwrap_or(0).min(40);
        for Other { rule, why } in &found.others {
            let matched = &rule.matched;
            writeln!(self.out, "  {matched:<width$}  {why}")?;
            writeln!(self.out, "  {:<width$}  {}", "", origin(rule))?;
        }
        if !found.other_hosts.is_empty() {
            writeln!(
                self.out,
                "\nOther hosts that would match, and why they do not:"
            )?;
        }
        for host in &found.other_hosts {
            writeln!(self.out, "  {}  {}", host.host, host.why)?;
        }
        Ok(())
    }
}

fn describe(rule: &RuleFound) -> String {
    format!("{}, {}", rule.matched, origin(rule))
}

/// `https of Gateway ns/name, port 443, https`
fn describe_listener(found: &ListenerFound) -> String {
    let port = match found.public_port {
        Some(public) => format!("port {public}, here {}, {}", found.port, found.protocol),
        None => format!("port {}, {}", found.port, found.protocol),
    };
    let (Some(gateway), Some(name)) = (&found.gateway, &found.name) else {
        return port;
    };
    let set = match &found.listener_set {
        Some(set) => format!(" in ListenerSet {set}"),
        None => String::new(),
    };
    format!("{name}{set} of Gateway {gateway}, {port}")
}

/// `Ingress ns/name, FIELD, FILE:LINE`
fn origin(rule: &RuleFound) -> String {
    if rule.route.is_empty() {
        return "built in".to_owned();
    }
    let mut text = format!("{} {}", rule.kind.unwrap_or("route"), rule.route);
    if !rule.field.is_empty() {
        text = format!("{text}, {}", rule.field);
    }
    match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("{text}, {file}:{line}"),
        _ => text,
    }
}
