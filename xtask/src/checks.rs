//! What each kind of test runs.

use std::path::PathBuf;
use std::process::Command;

use crate::acme;
use crate::bench;
use crate::cluster;
use crate::process::{cargo, quietly, root, succeeds, target, watch};
use crate::tally::Tally;
use crate::tools;

/// Formatting, and clippy with warnings denied.
pub(crate) fn lint() -> Result<Tally, String> {
    let mut tally = Tally::default();
    tally += Tally::one(succeeds(cargo().args(["fmt", "--all", "--check"]))?);
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    tally += Tally::one(succeeds(cargo().args(clippy))?);
    Ok(tally)
}

/// Licences, sources and duplicates. The advisory database is not asked: it is no package of a
/// registry, and a test must not depend on what was published this morning.
pub(crate) fn deny() -> Result<Tally, String> {
    let tool = tools::cargo_deny()?;
    let mut tally = Tally::default();
    for check in ["bans", "licenses", "sources"] {
        let mut command = Command::new(&tool);
        command.current_dir(root());
        command.args([
            "--all-features",
            "--workspace",
            "--color",
            "never",
            "check",
            check,
        ]);
        let (passed, said) = quietly(&mut command)?;
        // All at once: another kind is writing at the same time.
        println!("\n$ cargo-deny check {check}\n{}", said.trim_end());
        tally += Tally::one(passed);
    }
    Ok(tally)
}

/// Everything that tests inside the crates.
pub(crate) fn unit() -> Result<Tally, String> {
    let arguments = [
        "test",
        "--workspace",
        "--exclude",
        "program-tests",
        "--exclude",
        "cluster-tests",
        "--no-fail-fast",
    ];
    counted(cargo().args(arguments))
}

/// The release binary, over real sockets.
pub(crate) fn program() -> Result<Tally, String> {
    tools::provide(tools::CLIENTS)
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let grpc_peer = tools::grpc_peer()
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let acme = acme::build()
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let crane = tools::crane()
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let versitygw = tools::versitygw()
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let azurite = tools::azurite()
        .map_err(|error| format!("{error} (or leave this kind out: --skip program)"))?;
    let mut tally = Tally::one(acme::lint()?);
    let binary = release_binary()?;
    let mut tests = cargo();
    tests
        .args(["test", "--package", "program-tests", "--no-fail-fast"])
        .env("NARTHEX_BIN", binary)
        .env("CRANE", crane)
        .env("VERSITYGW", versitygw)
        .env("AZURITE", azurite)
        .env("ACME_BIN", acme)
        .env("GRPC_PEER", grpc_peer);
    tally += counted(&mut tests)?;
    Ok(tally)
}

/// HTTP/2's conformance suite, over TLS and over cleartext.
pub(crate) fn h2spec() -> Result<Tally, String> {
    let tool =
        tools::h2spec().map_err(|error| format!("{error} (or leave it out: --skip h2spec)"))?;
    let binary = release_binary()?;
    let mut run = cargo();
    run.args(["run", "--package", "program-tests", "--example", "h2spec"])
        .env("NARTHEX_BIN", binary)
        .env("H2SPEC", tool);
    counted(&mut run)
}

/// The release binary against a real Kubernetes.
pub(crate) fn cluster() -> Result<Tally, String> {
    let (bin, acme) = cluster::build()
        .and_then(|bin| cluster::build_helm().map(|_| bin))
        .and_then(|bin| acme::build().map(|acme| (bin, acme)))
        .map_err(|error| format!("{error} (or leave it out: --skip cluster)"))?;
    let mut tally = Tally::one(cluster::lint()?);
    let binary = release_binary()?;
    let mut tests = cargo();
    tests
        .args(["test", "--package", "cluster-tests", "--no-fail-fast"])
        .env("NARTHEX_BIN", binary)
        .env("ACME_BIN", acme)
        .env("RIG_BIN", bin);
    tally += counted(&mut tests)?;
    Ok(tally)
}

/// Instructions per request, compared with what was accepted; `--accept` accepts them.
pub(crate) fn instructions(options: &[&str]) -> Result<Tally, String> {
    tools::provide(tools::CALLGRIND)
        .map_err(|error| format!("{error} (or leave it out: --skip instructions)"))?;
    let binary = release_binary()?;
    let mut run = cargo();
    run.args(["run", "--package", "program-tests"])
        .args(["--example", "instructions", "--"])
        .args(options)
        .env("NARTHEX_BIN", binary);
    counted(&mut run)
}

/// Parts of the soak by what runs them; all others are the program's alone.
const FAULTS: [&str; 2] = ["outage", "faults"];
const MANY_ROUTES: [&str; 1] = ["cluster"];
const LARGE_BLOB: [&str; 1] = ["registry-blob"];

/// How many routes the cluster of a soak has.
const SOAKED_ROUTES: [&str; 6] = ["--routes", "40000", "--probes", "100", "--starts", "1"];

/// What takes too long for every change: large bodies; many routes, in files and in a cluster;
/// outages and faults of a cluster. No parts are all of them.
pub(crate) fn soak(parts: &[&str]) -> Result<Tally, String> {
    let (faults, others): (Vec<&str>, Vec<&str>) =
        parts.iter().partition(|part| FAULTS.contains(part));
    let (many, alone): (Vec<&str>, Vec<&str>) =
        others.iter().partition(|part| MANY_ROUTES.contains(part));
    let (blob, alone): (Vec<&str>, Vec<&str>) =
        alone.iter().partition(|part| LARGE_BLOB.contains(part));
    let wanted = |some: &[&str]| parts.is_empty() || !some.is_empty();
    let binary = release_binary()?;
    let run = |package: &str, example: &str, parts: &[&str]| {
        let mut run = cargo();
        run.args(["run", "--package", package])
            .args(["--example", example, "--"])
            .args(parts)
            .env("NARTHEX_BIN", &binary);
        run
    };
    let mut tally = Tally::default();
    if wanted(&alone) {
        tally += counted(&mut run("program-tests", "soak", &alone))?;
    }
    if wanted(&blob) {
        let mut test = cargo();
        test.args(["test", "--package", "program-tests"])
            .args([
                "--test",
                "registry_clients",
                "a_large_blob",
                "--",
                "--nocapture",
            ])
            .env("NARTHEX_REGISTRY_TEST_BLOB", "1024")
            .env("NARTHEX_BIN", &binary);
        tally += counted(&mut test)?;
    }
    if wanted(&faults) {
        let bin = cluster::build()?;
        tally += counted(run("cluster-tests", "cluster_soak", &faults).env("RIG_BIN", bin))?;
    }
    if wanted(&many) {
        tally += Tally::one(bench::propagation(&SOAKED_ROUTES)?);
    }
    Ok(tally)
}

pub(crate) fn release_binary() -> Result<PathBuf, String> {
    if !succeeds(cargo().args(["build", "--release", "--package", "narthex"]))? {
        return Err("the binary does not build".to_owned());
    }
    Ok(target()?.join("release/narthex"))
}

/// Runs cargo's tests and counts them; a run that breaks off otherwise counts as one failure.
pub(crate) fn counted(command: &mut Command) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let succeeded = watch(command, |line| tally += Tally::of_line(line))?;
    if !succeeded && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}
