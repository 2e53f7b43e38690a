//! `narthex diff`: which requests two configurations answer differently.

mod text;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use model::Snapshot;
use objects::Store;

use crate::check::plural;
use crate::compare::replay::{self, Formats};
use crate::compare::{self, Ports, Side};
use crate::config::Compilation;
use crate::failure::Failure;
use crate::flags::{Diff, Output, Replay};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Pipeline};
use crate::state::{State, default_certificate};

pub(crate) use text::{change, replayed};

/// Compares two configurations.
pub(crate) fn run(flags: &Diff) -> Result<ExitCode, Failure> {
    match compared(flags) {
        Ok(same) => Ok(ExitCode::from(u8::from(!same))),
        // As diff itself has it: 1 is no trouble.
        Err(Failure::Failed(reason)) => {
            let _ = Failure::Failed(reason).report();
            Ok(ExitCode::from(2))
        }
        Err(other) => Err(other),
    }
}

fn compared(flags: &Diff) -> Result<bool, Failure> {
    let compilation = Compilation::new(&flags.compilation)?;
    let fallback = default_certificate(&State::Memory, SystemTime::now()).map_err(Failure::new)?;
    let options = compilation.options(fallback, None);
    let ports = Ports {
        http: compilation.http_port(),
        https: compilation.https_port(),
    };
    let read = |path: &Path| -> Result<(Arc<Snapshot>, Pipeline), Failure> {
        // A folder that is not there must not be taken for an empty one.
        std::fs::metadata(path)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        let mut pipeline = Pipeline::new(Input::files(&[path.to_path_buf()]), options.clone());
        let outcome = pipeline.run().map_err(Failure::new)?;
        if !outcome.findings.is_empty() {
            let count = plural(outcome.findings.len(), "problem");
            let path = path.display();
            // Only a pointer to another command.
            let _ = writeln!(io::stderr(), "{path} has {count}: see narthex check.");
        }
        Ok((outcome.compiled.snapshot, pipeline))
    };
    let (old, pipeline) = read(&flags.old)?;
    let (new, new_pipeline) = read(&flags.new)?;
    let stores = [pipeline.present().get(), new_pipeline.present().get()];
    let side = |snapshot, store| Side {
        snapshot,
        ports,
        store,
    };
    let (before, after) = (side(&*old, &stores[0]), side(&*new, &stores[1]));

    let mut out = io::BufWriter::new(io::stdout().lock());
    let same = match &flags.replay.replay {
        None => {
            let found = compare::compare(before, after);
            match flags.output {
                Output::Text => text::write(&mut out, &found, stdout_has_colours())?,
                Output::Json => json(&mut out, &found)?,
            }
            found.changes.is_empty()
        }
        Some(log) => {
            let formats = formats(&flags.replay, &stores[0], &options)?;
            let found = replay::both_ways(log, &formats, before, after);
            let found = found.map_err(|error| unreadable(log, &error))?;
            match flags.output {
                Output::Text => {
                    text::counts(&mut out, found.counts)?;
                    text::changes(&mut out, &found.comparison, stdout_has_colours())?;
                }
                Output::Json => json(&mut out, &found)?,
            }
            found.comparison.changes.is_empty()
        }
    };
    out.flush()?;
    Ok(same)
}

/// What is wrong with a log.
pub(crate) fn unreadable(log: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {error}", log.display()))
}

/// How a log is read: as the flag says, else as the ConfigMap does, else as is found out.
pub(crate) fn formats(
    flags: &Replay,
    store: &Store,
    options: &compile::Options,
) -> Result<Formats, Failure> {
    let named = options.config_map.as_ref();
    let map = named.and_then(|(namespace, name)| store.config_map(namespace, name));
    let of_map = map.and_then(|map| map.data.as_ref()?.get("log-format-upstream"));
    let given = flags
        .replay_format
        .as_deref()
        .or_else(|| of_map.map(|it| &**it));
    Formats::new(given.filter(|given| !given.is_empty())).map_err(Failure::Invalid)
}

fn json(out: &mut impl Write, found: &impl serde::Serialize) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, found).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
