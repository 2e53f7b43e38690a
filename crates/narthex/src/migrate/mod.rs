//! `narthex migrate`: what moving from ingress-nginx comes to.

mod html;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use crate::check::plural;
use crate::config::Compilation;
use crate::failure::Failure;
use crate::flags::{Migrate, MigrateOutput};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Pipeline};
use crate::state::{State, default_certificate};

/// Says what moving comes to.
pub(crate) fn run(flags: &Migrate) -> Result<ExitCode, Failure> {
    let compilation = Compilation::new(&flags.compilation)?;
    let fallback = default_certificate(&State::Memory, SystemTime::now()).map_err(Failure::new)?;
    let options = compilation.options(fallback, None);
    let mut pipeline = Pipeline::new(Input::files(&flags.paths), options.clone());
    let outcome = pipeline.run().map_err(Failure::new)?;
    let migration = compile::migration(&pipeline.present().get(), &options);

    let mut out = io::BufWriter::new(io::stdout().lock());
    match flags.output {
        MigrateOutput::Text => text::write(&mut out, &migration, stdout_has_colours())?,
        MigrateOutput::Json => {
            serde_json::to_writer_pretty(&mut out, &migration).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        MigrateOutput::Html => html::write(&mut out, &migration)?,
    }
    out.flush()?;
    if !outcome.findings.is_empty() {
        let count = plural(outcome.findings.len(), "problem");
        // Only a pointer to another command.
        let _ = writeln!(
            io::stderr(),
            "The manifests have {count}: see narthex check."
        );
    }
    Ok(ExitCode::from(u8::from(!migration.carries_over())))
}

/// The name of a host, for people.
fn host_name(host: &str) -> &str {
    match host {
        "" => "(all hosts)",
        host => host,
    }
}

/// What to do with a host, for people.
fn verdict_word(verdict: compile::Verdict) -> &'static str {
    match verdict {
        compile::Verdict::Ready => "ready",
        compile::Verdict::Look => "look at this first",
        compile::Verdict::Cannot => "cannot",
    }
}

/// The beginning of a value, for people.
fn brief(value: &str) -> String {
    const MOST: usize = 80;
    let mut short: String = value.chars().take(MOST).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}
