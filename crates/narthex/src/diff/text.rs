//! For people, on a terminal.

use std::io::{self, Write};

use crate::check::plural;
use crate::compare::replay::{AsLogged, Counts};
use crate::compare::{Change, ChangeKind, Comparison, Part};
use crate::finding::OneLine;
use crate::terminal::{Colour, painted};

pub(super) fn write(out: &mut impl Write, of: &Comparison, colours: bool) -> io::Result<()> {
    let asked = plural(of.asked, "request");
    if of.changes.is_empty() {
        return writeln!(out, "{asked} asked: all are answered the same");
    }
    writeln!(out, "{asked} asked: {} answered differently", of.differing)?;
    changes(out, of, colours)
}

/// Every change, by host.
pub(super) fn changes(out: &mut impl Write, of: &Comparison, colours: bool) -> io::Result<()> {
    let mut host = None;
    for it in &of.changes {
        if host != Some(&it.host) {
            writeln!(out, "\n{}", OneLine(&it.host))?;
            host = Some(&it.host);
        }
        change(out, it, colours)?;
    }
    Ok(())
}

/// One change, indented.
pub(crate) fn change(out: &mut impl Write, of: &Change, colours: bool) -> io::Result<()> {
    let colour = match of.kind {
        ChangeKind::Added => Colour::Green,
        ChangeKind::Removed => Colour::Red,
        ChangeKind::Changed => Colour::Yellow,
    };
    let word = painted(of.kind.word(), colour, colours);
    let more = match of.requests {
        0 | 1 => String::new(),
        all => format!(", and {} like it", plural(all - 1, "other")),
    };
    writeln!(out, "  {word}: {}{more}", OneLine(&of.example))?;
    // Of what nobody answers there is nothing else to be said.
    let is_new = of.kind != ChangeKind::Changed;
    let parts = of.parts.iter();
    for part in parts.filter(|part| !is_new || part.part == Part::Answer) {
        let (before, after) = (shown(&part.before), shown(&part.after));
        let word = part.part.word();
        writeln!(out, "    {word}: {} -> {}", OneLine(before), OneLine(after))?;
    }
    if of.before == of.after {
        return writeln!(out, "    by {}", OneLine(shown(&of.before)));
    }
    writeln!(out, "    was by {}", OneLine(shown(&of.before)))?;
    writeln!(out, "    now by {}", OneLine(shown(&of.after)))
}

fn shown(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// How a log's lines went.
pub(super) fn counts(out: &mut impl Write, of: Counts) -> io::Result<()> {
    let differing = of.asked - of.equal;
    writeln!(
        out,
        "{} lines: {} asked again, {} the same, {differing} different",
        of.lines, of.asked, of.equal
    )?;
    if of.unread > 0 {
        writeln!(out, "{} lines are no requests in a known format", of.unread)?;
    }
    if of.unplaced > 0 {
        writeln!(
            out,
            "{} requests have no host in the log, and no backend that tells it",
            of.unplaced
        )?;
    }
    Ok(())
}

/// A log beside what one configuration does.
pub(crate) fn replayed(out: &mut impl Write, of: &AsLogged) -> io::Result<()> {
    counts(out, of.counts)?;
    for one in &of.differing {
        let (host, example) = (OneLine(&one.host), OneLine(&one.example));
        writeln!(out, "\n{host}: {} times, as {example}", one.requests)?;
        writeln!(out, "  the log says {}", OneLine(&one.logged))?;
        writeln!(out, "  here it is {}", OneLine(shown(&one.answered)))?;
        writeln!(out, "  by {}", OneLine(shown(&one.rule)))?;
    }
    Ok(())
}
