//! Google's crane.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{binary, end};

/// What crane says: the program `CRANE`, or the one that `cargo xtask test program` builds.
#[track_caller]
pub fn crane(arguments: &[&str]) -> String {
    let beside = || {
        let binary = binary();
        let target = binary.parent().and_then(Path::parent).expect("a folder");
        target.join("tools/bin/crane")
    };
    let path = std::env::var_os("CRANE").map_or_else(beside, PathBuf::from);
    let built = "run `cargo xtask test program`";
    assert!(path.exists(), "{} is not built: {built}", path.display());
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(path);
    command
        .args(arguments)
        .arg("--insecure")
        .env_clear()
        .env("HOME", home.path());
    let ended = end(command);
    assert_eq!(ended.code, Some(0), "{}", ended.said());
    ended.stdout.trim().to_owned()
}
