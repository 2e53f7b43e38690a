//! Looking at a registry, and changing what is in it: `ls`, `tags`, `inspect`, `copy`, `rm`,
//! `login-check`.

mod copy;
mod image;
mod inspect;
mod login_check;

use std::io::{self, Write as _};
use std::process::ExitCode;

use serde_json::json;

use super::reach::Reached;
use crate::failure::Failure;
use crate::flags::Output;
use crate::flags::registry::{Copy, Inspect, LoginCheck, Ls, Rm, Tags};
use image::{Image, repository};

/// Lists repositories.
pub(crate) fn ls(flags: &Ls) -> Result<ExitCode, Failure> {
    let reached = Reached::read(&flags.reach)?;
    let names = block_on(async {
        let client = reached.client(&flags.host)?;
        client.catalog().await.map_err(Failure::new)
    })?;
    print(flags.output, "repositories", &names)
}

/// Lists tags.
pub(crate) fn tags(flags: &Tags) -> Result<ExitCode, Failure> {
    let (host, name) = repository(&flags.repository)?;
    let reached = Reached::read(&flags.reach)?;
    let names = block_on(async {
        let client = reached.client(&host)?;
        client.tags(&name).await.map_err(Failure::new)
    })?;
    print(flags.output, "tags", &names)
}

/// Says what an image is.
pub(crate) fn inspect(flags: &Inspect) -> Result<ExitCode, Failure> {
    let image = Image::parse(&flags.image)?;
    let reached = Reached::read(&flags.reach)?;
    let found = block_on(async {
        let client = reached.client(&image.host)?;
        inspect::inspect(&client, &image).await
    })?;
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => writeln!(out, "{:#}", found.json())?,
        Output::Text => out.write_all(found.text().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes what is named; goes on after what cannot be.
pub(crate) fn rm(flags: &Rm) -> Result<ExitCode, Failure> {
    let mut images = Vec::new();
    for text in &flags.images {
        let image = Image::parse(text)?;
        if !image.is_said {
            let what = format!("{text}: say which: REPOSITORY:TAG or REPOSITORY@DIGEST");
            return Err(Failure::Invalid(what));
        }
        images.push(image);
    }
    let reached = Reached::read(&flags.reach)?;
    block_on(async {
        let mut failed = 0;
        for image in &images {
            let client = reached.client(&image.host)?;
            let removed = client
                .delete_manifest(&image.repository, &image.reference)
                .await;
            match removed {
                Ok(()) => writeln!(io::stdout(), "removed {image}")?,
                Err(error) => {
                    failed += 1;
                    writeln!(io::stderr(), "error: {error}")?;
                }
            }
        }
        Ok(if failed == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// Copies one image.
pub(crate) fn copy(flags: &Copy) -> Result<ExitCode, Failure> {
    let reached = Reached::read(&flags.reach)?;
    block_on(copy::run(flags, reached))
}

/// Says what a registry asks for, and whether we have it.
pub(crate) fn login_check(flags: &LoginCheck) -> Result<ExitCode, Failure> {
    let reached = Reached::read(&flags.reach)?;
    block_on(login_check::run(flags, &reached))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    super::waiting()?.block_on(work)
}

fn print(output: Output, what: &str, names: &[String]) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    match output {
        Output::Json => writeln!(out, "{:#}", json!({ what: names }))?,
        Output::Text => {
            for name in names {
                writeln!(out, "{}", plain(name))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Without what could drive a terminal: it was written by others.
fn plain(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).collect()
}
