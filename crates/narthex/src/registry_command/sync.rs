//! `narthex registry sync`: what a list names, and a registry does not have, copied.

use std::io::Write;
use std::process::ExitCode;

use futures_util::StreamExt as _;
use registry::client::Error;
use registry::sync::{Copied, Item, State, Syncer};

use super::filling;
use super::progress::{Progress, bytes};
use crate::check::plural;
use crate::failure::Failure;
use crate::flags::registry::Sync;

/// What became of all images.
#[derive(Default)]
struct Tally {
    copied: usize,
    present: usize,
    bytes: u64,
    /// Names and reasons.
    failed: Vec<(String, Error)>,
}

/// Copies, and says what became of each image.
pub(crate) fn run(flags: &Sync) -> Result<ExitCode, Failure> {
    let syncer = filling::syncer(&flags.filling)?;
    let runtime = super::waiting()?;
    let tally = runtime.block_on(fill(&syncer, flags))?;
    runtime.shutdown_background();
    let mut out = std::io::stdout().lock();
    let verb = if flags.dry_run { "to copy" } else { "copied" };
    writeln!(
        out,
        "{} {verb} ({}), {} present, {} failed",
        plural(tally.copied, "image"),
        bytes(tally.bytes),
        tally.present,
        tally.failed.len(),
    )?;
    let mut said = std::io::stderr().lock();
    for (name, error) in &tally.failed {
        // Where nobody can be told, the exit code has to do.
        let _ = writeln!(said, "error: {name}: {error}");
    }
    Ok(ExitCode::from(u8::from(!tally.failed.is_empty())))
}

async fn fill(syncer: &Syncer, flags: &Sync) -> Result<Tally, Failure> {
    let plan = syncer.plan().await;
    let mut tally = Tally::default();
    for failed in plan.failed {
        let name = format!("{}: {}", failed.place, failed.name);
        tally.failed.push((name, failed.error));
    }
    if !tally.failed.is_empty() && !flags.keep_going {
        return Ok(tally);
    }
    let images = plan.items.len();
    let progress = Progress::of(images);
    let works = plan
        .items
        .iter()
        .map(|item| work(syncer, item, flags, &progress));
    let mut works =
        futures_util::stream::iter(works).buffer_unordered(usize::from(flags.filling.parallel));
    let mut done = 0;
    while let Some((item, found)) = works.next().await {
        done += 1;
        progress.done(done, images);
        let (name, goes_to) = (&item.name, item.goes_to());
        match found {
            Ok(Done::Copied(copied)) => {
                tally.copied += 1;
                tally.bytes += copied.bytes;
                let mounted = match copied.mounted {
                    0 => String::new(),
                    count => format!(", {count} mounted"),
                };
                progress.say(&format!(
                    "copied   {name} -> {goes_to} {} ({} in {}{mounted})",
                    copied.digest,
                    bytes(copied.bytes),
                    plural(usize::try_from(copied.blobs).unwrap_or(usize::MAX), "blob"),
                ))?;
            }
            Ok(Done::Would(state)) => {
                tally.copied += 1;
                let why = match state {
                    State::Stale { there, .. } => format!("stale: {there}"),
                    _ => "missing".to_owned(),
                };
                progress.say(&format!("to copy  {name} -> {goes_to} ({why})"))?;
            }
            Ok(Done::Present) => {
                tally.present += 1;
                progress.say(&format!("present  {name} -> {goes_to}"))?;
            }
            Err(error) => {
                progress.say(&format!("failed   {name} -> {goes_to}"))?;
                tally.failed.push((name.clone(), error));
                if !flags.keep_going {
                    break;
                }
            }
        }
    }
    progress.end();
    Ok(tally)
}

enum Done {
    Copied(Copied),
    Would(State),
    Present,
}

async fn work<'a>(
    syncer: &Syncer,
    item: &'a Item,
    flags: &Sync,
    progress: &Progress,
) -> (&'a Item, Result<Done, Error>) {
    let found = match flags.dry_run {
        true => syncer.state(item).await.map(|state| match state {
            State::Present { .. } => Done::Present,
            state => Done::Would(state),
        }),
        false => syncer
            .copy(item, progress)
            .await
            .map(|copied| match copied.was_there {
                true => Done::Present,
                false => Done::Copied(copied),
            }),
    };
    (item, found)
}
