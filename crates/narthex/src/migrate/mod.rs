//! `narthex migrate`: what moving from ingress-nginx comes to.

mod gateway;
mod html;
mod living;
mod text;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Certificate, Snapshot};
use objects::Store;
use serde::Serialize;

use crate::check::plural;
use crate::compare::replay::{self, AsLogged};
use crate::compare::{Ports, Side};
use crate::config::Compilation;
use crate::diff;
use crate::failure::Failure;
use crate::flags::{self, Migrate, MigrateOutput};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Pipeline};
use crate::state::{State, default_certificate};
use gateway::Equivalents;
use living::{Seen, World};

/// All that is said.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    #[serde(flatten)]
    migration: &'a compile::Migration,
    gateway: &'a Equivalents,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a Seen>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<&'a AsLogged>,
}

/// Says what moving comes to.
pub(crate) fn run(flags: &Migrate) -> Result<ExitCode, Failure> {
    let now = SystemTime::now();
    let fallback = default_certificate(&State::Memory, now).map_err(Failure::new)?;
    let Read {
        store,
        snapshot,
        options,
        problems,
        seen,
    } = match flags.paths.is_empty() {
        true => read_cluster(flags, &fallback, now)?,
        false => read_files(flags, fallback)?,
    };
    let migration = compile::migration(&store, &options);
    let gateway = gateway::make(&store, &migration, &options);
    if let Some(folder) = &flags.gateway_api {
        let wrong = |error| Failure::new(format!("{}: {error}", folder.display()));
        gateway.write(folder).map_err(wrong)?;
    }
    let replay = match &flags.replay.replay {
        None => None,
        Some(log) => {
            let formats = diff::formats(&flags.replay, &store, &options)?;
            let side = Side {
                snapshot: &snapshot,
                ports: Ports {
                    http: options.http_port,
                    https: options.https_port,
                },
                store: &store,
            };
            let found = replay::as_logged(log, &formats, side);
            Some(found.map_err(|error| diff::unreadable(log, &error))?)
        }
    };
    let report = Report {
        migration: &migration,
        gateway: &gateway,
        cluster: seen.as_ref(),
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
    if problems > 0 {
        let count = plural(problems, "problem");
        // Only a pointer to another command.
        let _ = writeln!(
            io::stderr(),
            "The manifests have {count}: see narthex check."
        );
    }
    Ok(ExitCode::from(u8::from(!migration.carries_over())))
}

/// What was read, and what it means.
struct Read {
    store: Store,
    snapshot: Arc<Snapshot>,
    options: compile::Options,
    /// How many problems there are.
    problems: usize,
    seen: Option<Seen>,
}

fn read_files(flags: &Migrate, fallback: Arc<Certificate>) -> Result<Read, Failure> {
    let compilation = Compilation::new(&flags.compilation)?;
    let options = compilation.options(fallback, None);
    let mut pipeline = Pipeline::new(Input::files(&flags.paths), options.clone());
    let outcome = pipeline.run().map_err(Failure::new)?;
    Ok(Read {
        store: pipeline.present().get(),
        snapshot: outcome.compiled.snapshot,
        options,
        problems: outcome.findings.len(),
        seen: None,
    })
}

fn read_cluster(
    flags: &Migrate,
    fallback: &Arc<Certificate>,
    now: SystemTime,
) -> Result<Read, Failure> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let options = |flags: &flags::Compilation| -> Result<compile::Options, Failure> {
        let compilation = Compilation::new(flags)?.in_cluster();
        Ok(compilation.options(Arc::clone(fallback), None))
    };
    let World { store, flags, seen } = living::look(flags, options, now)?;
    let options = options(&flags)?;
    let compiled = compile::Compiler::new(options.clone()).compile(&store, now);
    Ok(Read {
        snapshot: compiled.snapshot,
        store,
        options,
        problems: 0,
        seen: Some(seen),
    })
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
