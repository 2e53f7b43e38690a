//! curl as a client that was not written by us.

use std::process::{Command, Stdio};

/// What curl said.
#[derive(Debug)]
pub struct Answer {
    /// The status of the last response; 0 if there was none.
    pub status: u16,
    /// The HTTP version that curl spoke, as it names it: `1.1`, `2`.
    pub version: String,
    /// Heads (with `-i`) and bodies.
    pub text: String,
    pub stderr: String,
    /// curl's exit code.
    pub code: i32,
}

/// Runs curl with `arguments`, 60 seconds at most.
pub fn curl(arguments: &[&str]) -> Answer {
    const MARK: &str = "\n@@curl@@";
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "60",
            "--noproxy",
            "*",
        ])
        .args([
            "--write-out",
            &format!("{MARK}%{{http_code}} %{{http_version}}"),
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("curl runs; `cargo xtask test` installs it");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let (text, tail) = stdout.rsplit_once(MARK).unwrap_or((&stdout, "0 0"));
    let (status, version) = tail.split_once(' ').unwrap_or(("0", "0"));
    Answer {
        status: status.parse().unwrap_or(0),
        version: version.trim().to_owned(),
        text: text.to_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    }
}
