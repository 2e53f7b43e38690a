//! `narthex migrate`: what moving from ingress-nginx comes to.

mod gateway;
mod html;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;

use crate::check::plural;
use crate::compare::replay::{self, AsLogged};
use crate::compare::{Ports, Side};
use crate::config::Compilation;
use crate::diff;
use crate::failure::Failure;
use crate::flags::{Migrate, MigrateOutput};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Pipeline};
use crate::state::{State, default_certificate};
use gateway::Equivalents;

/// All that is said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(flatten)]
    migration: &'a compile::Migration,
    gateway: &'a Equivalents,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a AsLogged>,
}

/// Says what moving comes to.
pub(crate) fn run(flags: &Migrate) -> Result<ExitCode, Failure> {
    let compilation = Compilation::new(&flags.compilation)?;
    let fallback = default_certificate(&State::Memory, SystemTime::now()).map_err(Failure::new)?;
    let options = compilation.options(fallback, None);
    let mut pipeline = Pipeline::new(Input::files(&flags.paths), options.clone());
    let outcome = pipeline.run().map_err(Failure::new)?;
    let store = pipeline.present().get();
    let migration = compile::migration(&store, &options);
    let snapshot = &outcome.compiled.snapshot;
    let gateway = gateway::make(&store, snapshot, &migration, &options);
    if let Some(folder) = &flags.gateway_api {
        let wrong = |error| Failure::new(format!("{}: {error}", folder.display()));
        gateway.write(folder).map_err(wrong)?;
    }
    let replay = match &flags.replay.replay {
        None => None,
        Some(log) => {
            let formats = diff::formats(&flags.replay, &pipeline, &options)?;
            let ports = Ports {
                http: compilation.http_port(),
                https: compilation.https_port(),
            };
            let side = Side {
                snapshot,
                ports,
                store: &store,
            };
            let found = replay::as_logged(log, &formats, side);
            Some(found.map_err(|error| diff::unreadable(log, &error))?)
        }
    };
    let report = Report {
        migration: &migration,
        gateway: &gateway,
        replay: replay.as_ref(),
    };

    let mut out = io::BufWriter::new(io::stdout().lock());
    match flags.output {
        MigrateOutput::Text => text::write(&mut out, &report, stdout_has_colours())?,
        MigrateOutput::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        MigrateOutput::Html => html::write(&mut out, &report)?,
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
