//! `narthex registry status`: which images of a list are where they should be.

use std::io::Write;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use registry::client::Error;
use registry::sync::State;
use serde::Serialize;

use super::filling;
use crate::failure::Failure;
use crate::flags::Output;
use crate::flags::registry::Status;

/// An image, or an entry that cannot be looked at.
#[derive(Serialize)]
struct Line {
    /// present, missing, stale or failing.
    state: &'static str,
    /// What it is called where it comes from.
    source: String,
    /// Where it goes; nowhere if that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// What it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// What is there instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    there: Option<String>,
    /// Why it is failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Where the list has it.
    place: String,
}

#[derive(Serialize)]
struct Report {
    images: Vec<Line>,
}

/// Asks both sides, and says what it found.
pub(crate) fn run(flags: &Status) -> Result<ExitCode, Failure> {
    let syncer = filling::syncer(&flags.filling)?;
    let runtime = super::waiting()?;
    let images = runtime.block_on(async {
        let plan = syncer.plan().await;
        let host = &flags.filling.to.host;
        let looks = plan.items.iter().map(|item| {
            let syncer = &syncer;
            async move {
                let target = Some(format!("{host}/{}", item.goes_to()));
                line(
                    &item.place,
                    item.name.clone(),
                    target,
                    syncer.state(item).await,
                )
            }
        });
        let looks = futures_util::stream::iter(looks);
        let mut lines: Vec<_> = looks
            .buffered(usize::from(flags.filling.parallel))
            .collect()
            .await;
        let failed = plan.failed.into_iter();
        lines.extend(failed.map(|it| line(&it.place, it.name, None, Err(it.error))));
        lines
    });
    runtime.shutdown_background();
    let all_there = images.iter().all(|it| it.state == "present");
    let mut out = std::io::stdout().lock();
    match flags.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &Report { images })
                .map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Output::Text => {
            for image in &images {
                let target = image.target.as_deref().unwrap_or("-");
                write!(out, "{:<8} {} -> {target}", image.state, image.source)?;
                match (&image.there, &image.reason) {
                    (Some(there), _) => writeln!(out, " ({there} is there)")?,
                    (None, Some(reason)) => writeln!(out, ": {reason}")?,
                    (None, None) => writeln!(out)?,
                }
            }
            let count = |state: &str| images.iter().filter(|it| it.state == state).count();
            let states = ["present", "missing", "stale", "failing"];
            let counts = states.map(|state| format!("{} {state}", count(state)));
            writeln!(out, "{}", counts.join(", "))?;
        }
    }
    Ok(ExitCode::from(u8::from(!all_there)))
}

fn line(
    place: &registry::list::Place,
    source: String,
    target: Option<String>,
    found: Result<State, Error>,
) -> Line {
    let (state, digest, there, reason) = match found {
        Ok(State::Present { digest }) => ("present", Some(digest), None, None),
        Ok(State::Missing { digest }) => ("missing", Some(digest), None, None),
        Ok(State::Stale { digest, there }) => ("stale", Some(digest), Some(there), None),
        Err(error) => ("failing", None, None, Some(error.to_string())),
    };
    Line {
        state,
        source,
        target,
        digest: digest.map(|it| it.to_string()),
        there: there.map(|it| it.to_string()),
        reason,
        place: place.to_string(),
    }
}
