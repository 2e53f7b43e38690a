//! Records that somebody else sets: a program, or who listens at a URL.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::{Change, Record};
use crate::https;

/// How long a program or a webhook may take.
const LONGEST: Duration = Duration::from_secs(120);

/// The most that is read of what they say, in bytes.
const MAX_SAID: u64 = 4096;

/// Runs `PROGRAM present|cleanup NAME VALUE`.
pub(super) async fn exec(program: &Path, change: Change, record: &Record) -> Result<(), String> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", program.display());
    let mut command = Command::new(program);
    command
        .args([change.word(), &record.name, &record.value])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    let mut child = command.spawn().map_err(|error| at(&error))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let ended = async {
        // What it leaves running may keep the pipes open for ever.
        let said = async { tokio::join!(said(out), said(err)) };
        let mut said = std::pin::pin!(said);
        let mut early = None;
        let status = tokio::select! {
            status = child.wait() => status,
            both = &mut said => {
                early = Some(both);
                child.wait().await
            }
        };
        let both = match early {
            Some(both) => both,
            None => timeout(Duration::from_secs(1), said)
                .await
                .unwrap_or_default(),
        };
        (status, both)
    };
    let ended = timeout(LONGEST, ended).await;
    let (status, (out, err)) =
        ended.map_err(|_| at(&format!("not done after {} seconds", LONGEST.as_secs())))?;
    let status = status.map_err(|error| at(&error))?;
    if status.success() {
        return Ok(());
    }
    let said = if err.is_empty() { out } else { err };
    Err(at(&format!("{status}: {}", one_line(&said))))
}

/// `POST URL/present` or `URL/cleanup` with the record as JSON.
pub(super) async fn webhook(
    url: &str,
    login: Option<&(String, String)>,
    change: Change,
    record: &Record,
) -> Result<(), String> {
    let url = format!("{}/{}", url.trim_end_matches('/'), change.word());
    let at = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let body = json!({"fqdn": record.name, "value": record.value}).to_string();
    let mut request = http::Request::post(&url).header(CONTENT_TYPE, "application/json");
    if let Some((user, password)) = login {
        let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
        request = request.header(AUTHORIZATION, format!("Basic {both}"));
    }
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| at(&error))?;
    let client = Client::builder(TokioExecutor::new()).build(https::connector()?);
    let answered = async {
        let answer = client.request(request).await.map_err(|error| at(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let limit = usize::try_from(MAX_SAID).unwrap_or_default();
        let body = Limited::new(answer.into_body(), limit).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(at(&format!("HTTP status {status}: {}", one_line(&body))))
    };
    let answered = timeout(LONGEST, answered).await;
    answered.map_err(|_| at(&format!("no answer after {} seconds", LONGEST.as_secs())))?
}

/// The beginning of what it says; the rest is read as well, lest it waits for a reader.
async fn said(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut pipe) = pipe else {
        return Vec::new();
    };
    let mut said = Vec::new();
    // What cannot be read any more was said before.
    let _ = (&mut pipe).take(MAX_SAID).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
    said
}

fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    text.trim().replace(|c: char| c.is_control(), " ")
}
