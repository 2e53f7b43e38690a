//! For people, on a terminal: first in numbers, then by host.

use std::io::{self, Write};

use compile::{Fate, Host, Inventory, Migration, Verdict};

use super::gateway::{Equal, Equivalents};
use super::living::Seen;
use super::{Report, brief, host_name, verdict_word};
use crate::check::plural;
use crate::diff;
use crate::finding::OneLine;
use crate::terminal::{Colour, painted};

/// Of a host's differences, so many are shown.
const MOST_DIFFERENCES: usize = 10;

pub(super) fn write(out: &mut impl Write, report: &Report<'_>, colours: bool) -> io::Result<()> {
    let of = report.migration;
    inventory(out, &of.inventory)?;
    if let Some(seen) = report.cluster {
        cluster(out, seen)?;
    }
    if of.inventory.ingresses == 0 {
        return writeln!(out, "There is nothing of ingress-nginx's to move.");
    }
    let counts = Fate::ALL.map(|fate| (fate, of.count(fate)));
    let counts = counts.iter().filter(|(_, count)| *count > 0);
    let counts: Vec<_> = counts
        .map(|(fate, count)| {
            let painted = painted(fate.word(), fate_colour(*fate), colours);
            format!("{count} {painted}")
        })
        .collect();
    if !counts.is_empty() {
        writeln!(out, "Annotations and keys: {}", counts.join(", "))?;
    }
    for verdict in [Verdict::Ready, Verdict::Look, Verdict::Cannot] {
        let count = of.hosts_with(verdict);
        if count > 0 {
            let word = painted(verdict_word(verdict), verdict_colour(verdict), colours);
            writeln!(out, "{}: {word}", plural(count, "host"))?;
        }
    }
    for it in &of.hosts {
        host(out, it, colours)?;
    }
    items(out, of, colours)?;
    surprises(out, of)?;
    gateway(out, report.gateway, colours)?;
    match report.replay {
        None => Ok(()),
        Some(replay) => {
            writeln!(out, "\nThe log, asked again")?;
            diff::replayed(out, replay)
        }
    }
}

fn inventory(out: &mut impl Write, of: &Inventory) -> io::Result<()> {
    writeln!(
        out,
        "{} of ingress-nginx ({} of others): {}, {}, {}, {}, {}",
        plural(of.ingresses, "Ingress"),
        of.other_ingresses,
        plural(of.hosts, "host"),
        plural(of.paths, "path"),
        plural(of.services.len(), "Service"),
        plural(of.secrets.len(), "Secret"),
        plural(of.snippets, "snippet"),
    )?;
    match &of.config_map {
        Some(name) => writeln!(out, "ConfigMap {}", OneLine(name)),
        None => writeln!(out, "No ConfigMap was read (--configmap)"),
    }
}

/// What is said of a cluster besides its objects.
fn cluster(out: &mut impl Write, of: &Seen) -> io::Result<()> {
    for name in &of.controllers {
        writeln!(out, "{} runs ingress-nginx", OneLine(name))?;
    }
    for flag in &of.flags {
        let (name, fate) = (OneLine(&flag.flag), flag.fate.word());
        match flag.note.as_str() {
            "" => writeln!(out, "  {name}: {fate}")?,
            note => writeln!(out, "  {name}: {fate}: {}", OneLine(note))?,
        }
    }
    for unread in &of.unread {
        writeln!(out, "Not read: {}", OneLine(unread))?;
    }
    Ok(())
}

fn host(out: &mut impl Write, of: &Host, colours: bool) -> io::Result<()> {
    let verdict = painted(
        verdict_word(of.verdict),
        verdict_colour(of.verdict),
        colours,
    );
    let tls = if of.tls { ", TLS" } else { "" };
    let paths = plural(of.paths.len(), "path");
    writeln!(
        out,
        "\n{}: {verdict} ({paths}{tls})",
        OneLine(host_name(&of.host))
    )?;
    for reason in &of.reasons {
        let (object, field) = (reason.object.to_string(), &reason.field);
        let (object, field) = (OneLine(&object), OneLine(field));
        writeln!(out, "  {object}: {field}: {}", OneLine(&reason.why))?;
    }
    Ok(())
}

fn items(out: &mut impl Write, of: &Migration, colours: bool) -> io::Result<()> {
    if of.items.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nAnnotations and keys")?;
    for item in &of.items {
        let fate = painted(item.fate.word(), fate_colour(item.fate), colours);
        let (object, value) = (item.object.to_string(), brief(&item.value));
        let (object, field) = (OneLine(&object), OneLine(&item.field));
        write!(out, "  {object}: {field}: {value:?}: {fate}")?;
        match item.note.as_str() {
            "" => writeln!(out)?,
            note => writeln!(out, ": {}", OneLine(note))?,
        }
    }
    Ok(())
}

fn surprises(out: &mut impl Write, of: &Migration) -> io::Result<()> {
    if of.surprises.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nWhat these manifests depend on in ingress-nginx")?;
    for surprise in &of.surprises {
        writeln!(out, "{:>4}. {}", surprise.number, surprise.title)?;
        for place in &surprise.places {
            let object = place.object.to_string();
            let (object, field) = (OneLine(&object), OneLine(&place.field));
            writeln!(out, "      {object}: {field}: {}", OneLine(&place.why))?;
        }
    }
    Ok(())
}

/// What the hosts are in Gateway API.
fn gateway(out: &mut impl Write, of: &Equivalents, colours: bool) -> io::Result<()> {
    if of.hosts.is_empty() {
        return Ok(());
    }
    let asked = plural(of.asked, "request");
    writeln!(out, "\nIn Gateway API ({asked} asked of both)")?;
    for it in &of.hosts {
        let colour = equal_colour(it.verdict);
        let verdict = painted(it.verdict.word(), colour, colours);
        let file = OneLine(&it.file);
        writeln!(
            out,
            "\n{}: {verdict} ({file})",
            OneLine(host_name(&it.host))
        )?;
        for lost in &it.without {
            let (object, what, why) = (
                OneLine(&lost.object),
                OneLine(&lost.what),
                OneLine(&lost.why),
            );
            writeln!(out, "  {object}: {what}: no equivalent: {why}")?;
        }
        for change in it.differences.iter().take(MOST_DIFFERENCES) {
            diff::change(out, change, colours)?;
        }
        let more = it.differences.len().saturating_sub(MOST_DIFFERENCES);
        if more > 0 {
            writeln!(out, "  and {}: see --output=json", plural(more, "other"))?;
        }
    }
    if !of.general.is_empty() {
        writeln!(out, "\nOf all hosts in Gateway API")?;
    }
    for text in &of.general {
        writeln!(out, "  {text}")?;
    }
    Ok(())
}

fn equal_colour(equal: Equal) -> Colour {
    match equal {
        Equal::Same => Colour::Green,
        Equal::ButFor => Colour::Yellow,
        Equal::Differs => Colour::Red,
    }
}

fn verdict_colour(verdict: Verdict) -> Colour {
    match verdict {
        Verdict::Ready => Colour::Green,
        Verdict::Look => Colour::Yellow,
        Verdict::Cannot => Colour::Red,
    }
}

fn fate_colour(fate: Fate) -> Colour {
    match fate {
        Fate::Works | Fate::Accepted => Colour::Green,
        Fate::Differs | Fate::Unknown => Colour::Yellow,
        Fate::Invalid | Fate::Refused => Colour::Red,
    }
}
