//! docker's credential helpers: programs that are asked for a server's credential.

use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Credential, Failed, Hidden, host_of};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest answer, in bytes.
const LONGEST: u64 = 64 << 10;

/// How they say that they have nothing: on their output, with a status that is not 0.
const NOTHING: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Given {
    #[serde(default)]
    pub(super) username: String,
    pub(super) secret: Hidden,
}

/// Asks `docker-credential-NAME get` for a server.
pub(super) async fn ask(name: &str, server: &str) -> Result<Option<Credential>, Failed> {
    let is_good = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    if name.is_empty() || !name.chars().all(is_good) {
        return Err(Failed::new("a credential helper's name is no program's"));
    }
    ask_program(&format!("docker-credential-{name}"), server).await
}

async fn ask_program(program: &str, server: &str) -> Result<Option<Credential>, Failed> {
    let asked = timeout(PATIENCE, run(program, server)).await;
    let asked = asked
        .map_err(|_| Failed::new("no answer in time"))
        .flatten();
    let (success, answer) = asked.map_err(|failed| failed.when(program))?;
    if !success {
        return match String::from_utf8_lossy(&answer).contains(NOTHING) {
            true => Ok(None),
            false => Err(Failed::new(format!("{program} fails"))),
        };
    }
    let given: Given = serde_json::from_slice(&answer)
        .map_err(|_| Failed::new(format!("{program} answers what is no credential")))?;
    Ok(Some(Credential {
        registry: host_of(server),
        username: given.username,
        secret: given.secret,
        expires: None,
    }))
}

async fn run(program: &str, server: &str) -> Result<(bool, Vec<u8>), Failed> {
    let failed = |error: std::io::Error| Failed::new(error.to_string());
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read need not be asked.
        let _ = input.write_all(server.as_bytes()).await;
    }
    let mut answer = Vec::new();
    if let Some(output) = child.stdout.take() {
        let mut output = output.take(LONGEST);
        output.read_to_end(&mut answer).await.map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    Ok((status.success(), answer))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_credential_helper_is_asked_for_a_server_and_may_have_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread -r server\ncase $1$server in\n\
            getr.example) echo '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"s\"}';;\n\
            getnone.example) echo 'credentials not found in native keychain'; exit 1;;\n\
            *) echo hunter2; exit 1;;\nesac\n";
        std::fs::write(&path, script).expect("written");
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&path, mode).expect("ours");
        let program = path.display().to_string();
        let got = ask_program(&program, "r.example").await.expect("asked");
        let got = got.map(|it| (it.username, it.secret.show().to_owned()));
        assert_eq!(got, Some(("u".to_owned(), "s".to_owned())));
        assert_eq!(ask_program(&program, "none.example").await, Ok(None));
        let said = ask_program(&program, "other").await.expect_err("it fails");
        assert!(!said.to_string().contains("hunter2"), "{said}");
        for bad in ["", "../x", "a b", "a;b", "narthex-test-that-is-not-there"] {
            assert!(ask(bad, "r.example").await.is_err(), "{bad}");
        }
    }
}
