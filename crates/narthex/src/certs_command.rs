//! `narthex certs`: the certificates that a running process obtains.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::config;
use crate::failure::Failure;
use crate::flags::{Certs, CertsQuestion, Output};
use crate::kubectl::answers;
use crate::state::{TOKEN, write_private};

/// How long an answer may take: an order at a CA takes its time.
const PATIENCE: Duration = Duration::from_secs(150);

/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// Asks and prints.
pub(crate) fn run(flags: &Certs) -> Result<ExitCode, Failure> {
    match &flags.question {
        CertsQuestion::List { output } => list(flags.admin_address, *output),
        CertsQuestion::Renew { secret } => order(flags, "renew", secret, "", "").and_then(print),
        CertsQuestion::Revoke { secret, reason } => {
            order(flags, "revoke", secret, &format!("&reason={reason}"), "").and_then(print)
        }
        CertsQuestion::Export { secret, file } => {
            let pem = order(flags, "export", secret, "", "")?;
            match file {
                None => print(pem),
                Some(file) => {
                    write_private(file, &pem).map_err(|error| {
                        Failure::new(format!("{} is not written: {error}", file.display()))
                    })?;
                    Ok(ExitCode::SUCCESS)
                }
            }
        }
        CertsQuestion::Import { secret, files } => {
            let mut pem = String::new();
            for file in files {
                pem.push_str(&read(file)?);
                pem.push('\n');
            }
            order(flags, "import", secret, "", &pem).and_then(print)
        }
    }
}

fn list(address: SocketAddr, output: Output) -> Result<ExitCode, Failure> {
    let text = ask(address, "GET", "/api/certificates/obtained", None, "")?;
    let mut out = io::stdout().lock();
    match output {
        Output::Json => out.write_all(text.as_bytes())?,
        Output::Text => {
            let json: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::new(format!("{address} is no Narthex: {error}")))?;
            let text = answers::obtained(&json, SystemTime::now());
            out.write_all(text.as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(said: String) -> Result<ExitCode, Failure> {
    writeln!(io::stdout().lock(), "{}", said.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn order(
    flags: &Certs,
    what: &str,
    secret: &str,
    more: &str,
    body: &str,
) -> Result<String, Failure> {
    let folder = config::state_dir_of(flags.state_dir.clone())
        .ok_or_else(|| Failure::new("give the running process's state folder: --state-dir DIR"))?;
    let token = read(&folder.join(TOKEN))?;
    let path = format!("/api/certificates/{what}?secret={secret}{more}");
    ask(flags.admin_address, "POST", &path, Some(token.trim()), body)
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("{} is not read: {error}", path.display())))
}

/// One question, by HTTP/1.1 as the admin address speaks it.
pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> Result<String, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!(
            "nobody answers at {address} ({error}): is --admin-address that of a running Narthex?"
        ))
    };
    let mut stream =
        TcpStream::connect_timeout(&address, Duration::from_secs(5)).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let authorization = token.map_or_else(String::new, |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream
        .take(MAX_ANSWER)
        .read_to_end(&mut answer)
        .map_err(failed)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(&answer) else {
        return Err(Failure::new(format!("{address} is no Narthex")));
    };
    let status = response.code.unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[head..]).into_owned();
    match status {
        200 => Ok(text),
        404 => Err(Failure::new(format!(
            "{address} knows nothing of {path}: is it an older Narthex?"
        ))),
        _ => Err(Failure::new(text.trim_end())),
    }
}
