//! `narthex registry gc`: done here, or by the process that serves the folder.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use registry::store::{Collected, Place, Store};

use super::upkeep::{Answer, Ask, answer_file, ask_file, said};
use crate::failure::Failure;
use crate::flags::Output;
use crate::flags::registry::Gc;

/// How often is looked whether there is an answer.
const LOOK: Duration = Duration::from_millis(200);

/// How long a process may take to collect.
const PATIENCE: Duration = Duration::from_secs(6 * 60 * 60);

/// Collects and says what.
pub(super) fn run(flags: &Gc) -> Result<ExitCode, Failure> {
    let collected = match &flags.storage {
        Place::Folder(folder) if !folder.is_dir() => {
            let folder = folder.display();
            return Err(Failure::new(format!("{folder} is no folder")));
        }
        Place::Folder(folder) => in_folder(flags, folder)?,
        Place::Bucket(_) if flags.alone => here(flags)?,
        Place::Bucket(_) => {
            return Err(Failure::Invalid(
                "nobody can tell whether a process serves this bucket: it collects by itself \
                 (--gc-interval); say --alone if none does"
                    .to_owned(),
            ));
        }
    };
    match flags.output {
        Output::Text => println!("{}", said(&collected)),
        Output::Json => {
            let json = serde_json::to_string(&collected);
            println!("{}", json.map_err(Failure::new)?);
        }
    }
    Ok(match collected.unreadable.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn in_folder(flags: &Gc, folder: &Path) -> Result<Collected, Failure> {
    let cannot = |error| Failure::new(format!("{} cannot be written: {error}", folder.display()));
    let id = format!("{:x}-{:x}", std::process::id(), fastrand::u64(..));
    let mut asked = false;
    let begun = Instant::now();
    loop {
        // Whoever served it may have ended without an answer.
        if let Some(lock) = flags.storage.lock().map_err(cannot)? {
            if asked {
                let _ = fs::remove_file(ask_file(folder));
            }
            let collected = here(flags);
            drop(lock);
            return collected;
        }
        if !asked {
            let grace = u64::try_from(flags.grace.as_millis()).unwrap_or(u64::MAX);
            let id = id.clone();
            let ask = serde_json::to_vec(&Ask { id, grace }).map_err(Failure::new)?;
            fs::write(ask_file(folder), ask).map_err(cannot)?;
            asked = true;
        }
        thread::sleep(LOOK);
        let answer = fs::read(answer_file(folder)).ok();
        let answer = answer.and_then(|bytes| serde_json::from_slice::<Answer>(&bytes).ok());
        if let Some(answer) = answer.filter(|answer| answer.id == id) {
            let _ = fs::remove_file(answer_file(folder));
            let failed = |error| Failure::new(format!("the process that serves it: {error}"));
            return answer.result.map_err(failed);
        }
        if begun.elapsed() > PATIENCE {
            return Err(Failure::new("the process that serves it does not answer"));
        }
    }
}

fn here(flags: &Gc) -> Result<Collected, Failure> {
    let store = Store::open(&flags.storage, u64::MAX).map_err(Failure::new)?;
    let collected = super::runtime()?.block_on(store.collect(flags.grace));
    let collected = collected.map_err(Failure::new)?;
    collected.ok_or_else(|| Failure::new("a bug: this store is nobody else's"))
}
