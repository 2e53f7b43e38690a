//! One page that needs nothing else: no script, no other file.

use std::fmt;
use std::io::{self, Write};

use compile::{Fate, Host, Item, Migration, Place, Verdict};

use super::gateway::{Equal, Equivalents, File};
use super::living::Seen;
use super::{Report, brief, host_name, verdict_word};
use crate::compare::Change;
use crate::compare::replay::AsLogged;

const STYLE: &str = "\
:root { color-scheme: light dark; }
body { font: 1rem/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border: 1px solid #8886; padding: .25rem .5rem; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8886; }
.good { color: light-dark(#17662b, #7ed694); }
.doubt { color: light-dark(#7a5200, #f2c55c); }
.bad { color: light-dark(#a01c1c, #ff9a9a); }
";

/// Text of any author, as text of the page.
struct Escaped<T>(T);

impl<T: fmt::Display> fmt::Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        write!(Escaper(f), "{}", self.0)
    }
}

/// Writes text as text of a page; fit for attributes in quotes, too.
struct Escaper<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '&' => self.0.write_str("&amp;"),
            '<' => self.0.write_str("&lt;"),
            '>' => self.0.write_str("&gt;"),
            '"' => self.0.write_str("&quot;"),
            '\'' => self.0.write_str("&#39;"),
            c if c.is_control() && c != '\n' => write!(self.0, "{}", c.escape_default()),
            c => self.0.write_char(c),
        })
    }
}

pub(super) fn write(out: &mut impl Write, report: &Report<'_>) -> io::Result<()> {
    let of = report.migration;
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>"
    )?;
    writeln!(
        out,
        "<title>Moving from ingress-nginx</title>\n<style>\n{STYLE}</style>"
    )?;
    writeln!(out, "</head>\n<body>\n<h1>Moving from ingress-nginx</h1>")?;
    counts(out, of)?;
    if let Some(seen) = report.cluster {
        cluster(out, seen)?;
    }
    for it in &of.hosts {
        host(out, it)?;
    }
    if !of.items.is_empty() {
        writeln!(out, "<h2>Annotations and keys</h2>")?;
        head(out, &["Object", "Field", "Value", "Fate", "Note"])?;
        for item in &of.items {
            row_of_item(out, item)?;
        }
        writeln!(out, "</table>")?;
    }
    if !of.surprises.is_empty() {
        writeln!(
            out,
            "<h2>What these manifests depend on in ingress-nginx</h2>"
        )?;
    }
    for surprise in &of.surprises {
        let title = Escaped(surprise.title);
        writeln!(out, "<h3>{}. {title}</h3>", surprise.number)?;
        places(out, &surprise.places)?;
    }
    gateway(out, report.gateway)?;
    if let Some(replay) = report.replay {
        replayed(out, replay)?;
    }
    writeln!(out, "</body>\n</html>")
}

/// What is said of a cluster besides its objects.
fn cluster(out: &mut impl Write, of: &Seen) -> io::Result<()> {
    writeln!(out, "<h2>The controller</h2>")?;
    for name in &of.controllers {
        writeln!(out, "<p>{}</p>", Escaped(name))?;
    }
    if !of.flags.is_empty() {
        head(out, &["Flag", "Fate", "Note"])?;
        for flag in &of.flags {
            row(out, &[&flag.flag, &flag.fate.word(), &flag.note])?;
        }
        writeln!(out, "</table>")?;
    }
    if of.unread.is_empty() {
        return Ok(());
    }
    head(out, &["What could not be read"])?;
    for unread in &of.unread {
        row(out, &[unread])?;
    }
    writeln!(out, "</table>")
}

/// What the hosts are in Gateway API, with the objects themselves.
fn gateway(out: &mut impl Write, of: &Equivalents) -> io::Result<()> {
    if of.hosts.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>In Gateway API</h2>")?;
    writeln!(
        out,
        "<p>{} requests were asked of both, on both sides of every boundary of the routes.</p>",
        of.asked
    )?;
    head(out, &["Hosts", "How many"])?;
    for equal in Equal::ALL {
        let (class, word, count) = (equal_class(equal), equal.word(), of.count(equal));
        writeln!(
            out,
            "<tr><td class=\"{class}\">{word}</td><td>{count}</td></tr>"
        )?;
    }
    writeln!(out, "</table>")?;
    if !of.general.is_empty() {
        writeln!(out, "<ul>")?;
        for text in &of.general {
            writeln!(out, "<li>{}</li>", Escaped(text))?;
        }
        writeln!(out, "</ul>")?;
    }
    for host in &of.hosts {
        let (class, word) = (equal_class(host.verdict), host.verdict.word());
        let name = Escaped(host_name(&host.host));
        writeln!(
            out,
            "<h3>{name}: <span class=\"{class}\">{word}</span></h3>"
        )?;
        if !host.without.is_empty() {
            head(out, &["Object", "What has no equivalent", "Why"])?;
            for lost in &host.without {
                row(out, &[&lost.object, &lost.what, &lost.why])?;
            }
            writeln!(out, "</table>")?;
        }
        changes(out, &host.differences)?;
        let mut files = of.files.iter();
        if let Some(file) = files.find(|file| file.name == host.file) {
            yaml(out, file)?;
        }
    }
    of.files.first().map_or(Ok(()), |shared| {
        writeln!(out, "<h3>For all hosts</h3>")?;
        yaml(out, shared)
    })
}

fn yaml(out: &mut impl Write, file: &File) -> io::Result<()> {
    let (name, text) = (Escaped(&file.name), file.yaml());
    writeln!(
        out,
        "<details><summary>{name}</summary><pre>{}</pre></details>",
        Escaped(text)
    )
}

/// Requests that are answered otherwise.
fn changes(out: &mut impl Write, all: &[Change]) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    head(out, &["Request", "What differs", "Ingress", "Gateway API"])?;
    for change in all {
        for part in &change.parts {
            let word = part.part.word();
            row(out, &[&change.example, &word, &part.before, &part.after])?;
        }
    }
    writeln!(out, "</table>")
}

fn replayed(out: &mut impl Write, of: &AsLogged) -> io::Result<()> {
    let counts = of.counts;
    writeln!(out, "<h2>The log, asked again</h2>")?;
    writeln!(
        out,
        "<p>{} lines: {} asked again, {} the same, {} different; {} in no known format, {} without a host.</p>",
        counts.lines,
        counts.asked,
        counts.equal,
        counts.asked - counts.equal,
        counts.unread,
        counts.unplaced
    )?;
    if of.differing.is_empty() {
        return Ok(());
    }
    head(out, &["Host", "Rule", "Times", "Logged", "Here", "As"])?;
    for one in &of.differing {
        row(
            out,
            &[
                &one.host,
                &one.rule,
                &one.requests,
                &one.logged,
                &one.answered,
                &one.example,
            ],
        )?;
    }
    writeln!(out, "</table>")
}

fn row(out: &mut impl Write, cells: &[&dyn fmt::Display]) -> io::Result<()> {
    write!(out, "<tr>")?;
    for cell in cells {
        write!(out, "<td>{}</td>", Escaped(cell))?;
    }
    writeln!(out, "</tr>")
}

fn equal_class(equal: Equal) -> &'static str {
    match equal {
        Equal::Same => "good",
        Equal::ButFor => "doubt",
        Equal::Differs => "bad",
    }
}

fn counts(out: &mut impl Write, of: &Migration) -> io::Result<()> {
    let all = &of.inventory;
    head(out, &["What there is", "How many"])?;
    for (what, count) in [
        ("Ingresses of ingress-nginx", all.ingresses),
        ("Ingresses of others", all.other_ingresses),
        ("Hosts", all.hosts),
        ("Paths", all.paths),
        ("Services", all.services.len()),
        ("Secrets", all.secrets.len()),
        ("Snippets", all.snippets),
    ] {
        writeln!(out, "<tr><td>{what}</td><td>{count}</td></tr>")?;
    }
    for verdict in [Verdict::Ready, Verdict::Look, Verdict::Cannot] {
        let (class, word) = (verdict_class(verdict), verdict_word(verdict));
        let count = of.hosts_with(verdict);
        writeln!(
            out,
            "<tr><td class=\"{class}\">Hosts: {word}</td><td>{count}</td></tr>"
        )?;
    }
    for fate in Fate::ALL {
        let (class, word, count) = (fate_class(fate), fate.word(), of.count(fate));
        writeln!(
            out,
            "<tr><td class=\"{class}\">Annotations and keys: {word}</td><td>{count}</td></tr>"
        )?;
    }
    writeln!(out, "</table>")
}

fn host(out: &mut impl Write, of: &Host) -> io::Result<()> {
    let (class, word) = (verdict_class(of.verdict), verdict_word(of.verdict));
    let name = Escaped(host_name(&of.host));
    writeln!(
        out,
        "<h2>{name}: <span class=\"{class}\">{word}</span></h2>"
    )?;
    head(out, &["Path", "Type", "Backend", "Object", "Field"])?;
    for path in &of.paths {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&path.path),
            Escaped(path.path_type),
            Escaped(&path.backend),
            Escaped(&path.object),
            Escaped(&path.field),
        )?;
    }
    writeln!(out, "</table>")?;
    if of.reasons.is_empty() {
        return Ok(());
    }
    places(out, &of.reasons)
}

fn places(out: &mut impl Write, of: &[Place]) -> io::Result<()> {
    head(out, &["Object", "Field", "Why"])?;
    for place in of {
        writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            Escaped(&place.object),
            Escaped(&place.field),
            Escaped(&place.why),
        )?;
    }
    writeln!(out, "</table>")
}

fn row_of_item(out: &mut impl Write, item: &Item) -> io::Result<()> {
    writeln!(
        out,
        "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td class=\"{}\">{}</td><td>{}</td></tr>",
        Escaped(&item.object),
        Escaped(&item.field),
        Escaped(brief(&item.value)),
        fate_class(item.fate),
        item.fate.word(),
        Escaped(&item.note),
    )
}

fn head(out: &mut impl Write, columns: &[&str]) -> io::Result<()> {
    write!(out, "<table>\n<tr>")?;
    for column in columns {
        write!(out, "<th>{}</th>", Escaped(column))?;
    }
    writeln!(out, "</tr>")
}

fn verdict_class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ready => "good",
        Verdict::Look => "doubt",
        Verdict::Cannot => "bad",
    }
}

fn fate_class(fate: Fate) -> &'static str {
    match fate {
        Fate::Works | Fate::Accepted => "good",
        Fate::Differs | Fate::Unknown => "doubt",
        Fate::Invalid | Fate::Refused => "bad",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_page_reads_is_left() {
        let text = Escaped("<a b=\"c\" d='e'>&\u{1b}").to_string();
        assert_eq!(text, "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\\u{1b}");
    }
}
