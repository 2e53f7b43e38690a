//! Running other programs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask lies in the workspace")
        .to_owned()
}

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> Result<PathBuf, String> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps"])
        .output();
    let output = output.map_err(|error| format!("cargo metadata: {error}"))?;
    let metadata: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let folder = metadata
        .as_ref()
        .and_then(|metadata| metadata["target_directory"].as_str());
    folder
        .map(PathBuf::from)
        .ok_or_else(|| "cargo metadata names no target folder".to_owned())
}

/// Runs a command with our output; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, String> {
    announce(command);
    let status = command.stdin(Stdio::null()).status();
    Ok(status
        .map_err(|error| cannot_run(command, &error))?
        .success())
}

/// Runs a command and passes its standard output on, line by line, also to `each`.
pub(crate) fn watch(command: &mut Command, mut each: impl FnMut(&str)) -> Result<bool, String> {
    announce(command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| cannot_run(command, &error))?;
    let stdout = child.stdout.take().expect("piped just above");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|error| cannot_run(command, &error))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        each(&line);
    }
    Ok(child
        .wait()
        .map_err(|error| cannot_run(command, &error))?
        .success())
}

/// Runs a command silently and gives what it said, both outputs, with its success.
pub(crate) fn quietly(command: &mut Command) -> Result<(bool, String), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| cannot_run(command, &error))?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

fn announce(command: &Command) {
    let words: Vec<_> = command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect();
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or_default();
    println!("\n$ {} {}", program.to_string_lossy(), words.join(" "));
}

fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    format!(
        "{} cannot be run: {error}",
        command.get_program().to_string_lossy()
    )
}
