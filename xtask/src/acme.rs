//! The ACME server of the tests: `tests/program/go/acme`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::cluster::{followed, go_in};
use crate::process::{cargo, quietly, root, succeeds, target};
use crate::tools;

/// About how many packages a build from nothing compiles.
const PACKAGES: usize = 260;

/// Runs one of the words after `cargo xtask acme`.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, String> {
    match words {
        ["build"] => {
            println!("{}", build()?.display());
            Ok(ExitCode::SUCCESS)
        }
        ["up"] => up(),
        _ => Err("acme build, or up".to_owned()),
    }
}

/// Builds pebble, its challenge test server and a client of lego's, and gives their folder. What is
/// up to date is Go's to know.
pub(crate) fn build() -> Result<PathBuf, String> {
    tools::provide(tools::GO)?;
    let bin = target()?.join("acme/bin");
    std::fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
    let mut go = go_in(&folder());
    go.args(["build", "-v", "-ldflags", "-s -w", "-o"])
        .arg(&bin)
        .args([
            "./acme-client",
            "github.com/letsencrypt/pebble/v2/cmd/pebble",
            "github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv",
        ]);
    followed(&mut go, "the ACME server", PACKAGES)?;
    Ok(bin)
}

/// What clippy and rustfmt are for Rust.
pub(crate) fn lint() -> Result<bool, String> {
    let vetted = succeeds(go_in(&folder()).args(["vet", "./acme-client"]))?;
    let mut gofmt = Command::new("gofmt");
    let (ran, unformatted) = quietly(gofmt.args(["-l", "."]).current_dir(folder()))?;
    if !unformatted.is_empty() {
        println!("not formatted as gofmt does:\n{unformatted}");
    }
    Ok(vetted && ran && unformatted.is_empty())
}

/// A server for trying by hand, until somebody presses Enter.
fn up() -> Result<ExitCode, String> {
    let bin = build()?;
    let mut run = cargo();
    run.args(["run", "--quiet", "--package", "program-tests"])
        .args(["--example", "acme"])
        .env("ACME_BIN", bin);
    // It reads our standard input.
    let status = run.status().map_err(|error| format!("cargo: {error}"))?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn folder() -> PathBuf {
    root().join("tests/program/go/acme")
}
