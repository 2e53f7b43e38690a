//! Programs that `cargo xtask test program` gets from other registries than Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{binary, end};

/// What crane says: the program `CRANE`, or the one beside the program under test.
#[track_caller]
pub fn crane(arguments: &[&str]) -> String {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(built("CRANE", "crane"));
    command
        .args(arguments)
        .arg("--insecure")
        .env_clear()
        .env("HOME", home.path());
    let ended = end(command);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    ended.stdout.trim().to_owned()
}

/// The program that `variable` names, or the one beside the program under test.
#[track_caller]
pub(super) fn built(variable: &str, command: &str) -> PathBuf {
    let beside = || {
        let binary = binary();
        let target = binary.parent().and_then(Path::parent).expect("a folder");
        target.join("tools/bin").join(command)
    };
    let path = std::env::var_os(variable).map_or_else(beside, PathBuf::from);
    let build = "run `cargo xtask test program`";
    assert!(path.exists(), "{} is not built: {build}", path.display());
    path
}
