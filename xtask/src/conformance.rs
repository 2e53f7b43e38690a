//! `cargo xtask conformance`: Gateway API's own suite, in `tests/cluster/rig/conformance`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::checks::{counted, release_binary};
use crate::cluster;
use crate::process::{cargo, root, succeeds, target};
use crate::tally::Tally;

/// The kept clusters' names, by the build that their pods run: `cargo xtask cluster down` ends them.
const KEPT: [&str; 2] = ["conformance", "conformance-debug"];

/// Runs it as people ask for it, and puts the report of a full run where it is committed.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, String> {
    let ours = ["--keep", "--debug"];
    let (ours, words): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| ours.contains(word));
    let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let is_full = words.is_empty();
    let is_debug = ours.contains(&"--debug");
    let binary = match is_debug {
        true => debug_binary()?,
        false => release_binary()?,
    };
    let mut kept = None;
    if ours.contains(&"--keep") {
        let folder = cluster::kept(KEPT[usize::from(is_debug)], &binary)?;
        words.extend(["--cluster".to_owned(), folder.display().to_string()]);
        kept = Some(folder);
    }
    let into = target()?.join("conformance");
    let tally = suite(&words, &into, &binary)?;
    if let Some(folder) = kept {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        println!("kept: KUBECONFIG={}/kubeconfig", folder.display());
        println!("`cargo xtask cluster down {name}` ends it");
    }
    if is_full {
        let (from, to) = (
            into.join("report.yaml"),
            root().join("tests/conformance/report.yaml"),
        );
        commit(&from, &to)?;
    }
    Ok(match tally.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Puts a report in the place of the one that is committed, unless only the date is another.
fn commit(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    let new = std::fs::read_to_string(from).map_err(failed)?;
    let old = std::fs::read_to_string(to).unwrap_or_default();
    if without_date(&old) == without_date(&new) {
        return Ok(());
    }
    std::fs::write(to, new).map_err(|error| format!("{}: {error}", to.display()))
}

fn without_date(report: &str) -> Vec<&str> {
    let lines = report.lines();
    lines.filter(|line| !line.starts_with("date: ")).collect()
}

/// Runs all of it as a kind of test.
pub(crate) fn all() -> Result<Tally, String> {
    suite(&[], &target()?.join("conformance"), &release_binary()?)
}

fn suite(words: &[String], into: &Path, binary: &Path) -> Result<Tally, String> {
    let bin = cluster::build()
        .and_then(|bin| cluster::build_helm().map(|_| bin))
        .and_then(|bin| cluster::build_suite().map(|()| bin))
        .map_err(|error| format!("{error} (or leave it out: --skip conformance)"))?;
    let mut run = cargo();
    run.args(["run", "--package", "cluster-tests"])
        .args(["--example", "conformance", "--", "--into"])
        .arg(into)
        .args(words)
        .env("NARTHEX_BIN", binary)
        .env("RIG_BIN", bin);
    counted(&mut run)
}

fn debug_binary() -> Result<PathBuf, String> {
    if !succeeds(cargo().args(["build", "--package", "narthex"]))? {
        return Err("the binary does not build".to_owned());
    }
    Ok(target()?.join("debug/narthex"))
}

#[cfg(test)]
mod tests {
    use super::{commit, without_date};

    #[test]
    fn a_report_that_says_the_same_leaves_the_committed_one_alone() {
        let folder = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let [from, to] = ["from", "to"].map(|name| folder.join(name));
        let read = || std::fs::read_to_string(&to).expect("a report");
        let old = "kind: Report\ndate: \"1\"\nPassed: 1\n";
        std::fs::write(&to, old).expect("written");
        std::fs::write(&from, old.replace('"', "'")).expect("written");
        commit(&from, &to).expect("done");
        assert_eq!(read(), old);
        let new = old.replace("Passed: 1", "Passed: 2");
        std::fs::write(&from, &new).expect("written");
        commit(&from, &to).expect("done");
        assert_eq!(read(), new);
        assert_eq!(without_date(old).len(), 2);
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
