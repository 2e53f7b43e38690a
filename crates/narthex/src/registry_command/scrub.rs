//! `narthex registry scrub`: whether everything is still what it was.

use std::io::{self, Write};
use std::process::ExitCode;

use registry::store::{Place, Scrubbed, Store};

use crate::failure::Failure;
use crate::flags::Output;
use crate::flags::registry::Scrub;

/// Reads everything and says what is wrong.
pub(super) fn run(flags: &Scrub) -> Result<ExitCode, Failure> {
    if let Place::Folder(folder) = &flags.storage
        && !folder.is_dir()
    {
        let folder = folder.display();
        return Err(Failure::new(format!("{folder} is no folder")));
    }
    let store = Store::open(&flags.storage, u64::MAX).map_err(Failure::new)?;
    let scrubbed = super::runtime()?
        .block_on(store.scrub())
        .map_err(Failure::new)?;
    match flags.output {
        Output::Text => print(&scrubbed)?,
        Output::Json => {
            let json = serde_json::to_string(&scrubbed).map_err(Failure::new)?;
            writeln!(io::stdout(), "{json}")?;
        }
    }
    Ok(match scrubbed.broken.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn print(scrubbed: &Scrubbed) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for broken in &scrubbed.broken {
        writeln!(out, "{}: {}", broken.digest, broken.problem)?;
        for image in &broken.hits {
            writeln!(out, "    hits {image}")?;
        }
        if broken.hits.is_empty() {
            writeln!(out, "    hits no image")?;
        }
    }
    let Scrubbed {
        contents,
        bytes,
        manifests,
        broken,
    } = scrubbed;
    let count = broken.len();
    writeln!(
        out,
        "{contents} contents of {bytes} bytes and {manifests} manifests were read; broken: {count}"
    )?;
    Ok(())
}
