//! `narthex registry creds list`: what a running process knows of credentials.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::certs_command::ask;
use crate::failure::Failure;
use crate::flags::Output;
use crate::flags::registry::creds::List;

/// Asks and prints.
pub(super) fn run(flags: &List) -> Result<ExitCode, Failure> {
    let address = flags.admin_address;
    let text = ask(address, "GET", "/api/registry/credentials", None, "")?;
    let mut out = io::stdout().lock();
    match flags.output {
        Output::Json => out.write_all(text.as_bytes())?,
        Output::Text => {
            let json: Value = serde_json::from_str(&text)
                .map_err(|error| Failure::new(format!("{address} is no Narthex: {error}")))?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs();
            out.write_all(table(&json, now).as_bytes())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What people read. Answers are read without a type: the process may be older or newer.
fn table(json: &Value, now: u64) -> String {
    let mut rows =
        vec![["SECRET", "PROVIDER", "STATE", "ENDS", "NAMESPACES", "FROM"].map(str::to_owned)];
    let credentials = json["credentials"].as_array().cloned().unwrap_or_default();
    for one in &credentials {
        let text = |name: &str| printable(one[name].as_str().unwrap_or("-"));
        let ends = match one["expires"].as_u64() {
            Some(end) if end <= now => format!("{} ago", span(now - end)),
            Some(end) => format!("in {}", span(end - now)),
            None => "-".to_owned(),
        };
        rows.push([
            text("secret"),
            text("provider"),
            text("state"),
            ends,
            one["namespaces"].as_u64().unwrap_or(0).to_string(),
            text("from"),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in &rows {
        for (text, width) in row.iter().zip(&widths) {
            // Writing to a String does not fail.
            let _ = write!(out, "{text:width$}  ");
        }
        let _ = writeln!(out, "{}", row[5]);
    }
    let errors = credentials.iter().filter_map(|one| {
        let (secret, error) = (one["secret"].as_str()?, one["error"].as_str()?);
        Some(format!("{secret}: {error}"))
    });
    let problems = json["problems"].as_array().into_iter().flatten();
    let problems = problems.filter_map(|one| one.as_str().map(str::to_owned));
    for said in errors.chain(problems) {
        let _ = writeln!(out, "! {}", printable(&said));
    }
    if json["on"] == false {
        let _ = writeln!(
            out,
            "It brings no credentials into namespaces: --registry-credentials is not given."
        );
    } else if json["writes"] == false {
        let _ = writeln!(out, "Another replica asks for them and writes them.");
    }
    out
}

fn printable(text: &str) -> String {
    text.chars().filter(|it| !it.is_control()).collect()
}

fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_credential_is_a_line_and_what_is_wrong_is_below() {
        let json = json!({"writes": false, "problems": ["Secret a/s: exists"], "credentials": [
            {"secret": "gcr-secret", "provider": "gcr", "from": "the environment", "state": "failing",
             "expires": 10_000, "error": "no\u{1b}[31m", "namespaces": 12},
            {"secret": "dpr-secret", "provider": "docker", "from": "Secret a/b", "state": "valid"}]});
        let text = table(&json, 6_400);
        let expected = "\
SECRET      PROVIDER  STATE    ENDS       NAMESPACES  FROM
gcr-secret  gcr       failing  in 60 min  12          the environment
dpr-secret  docker    valid    -          0           Secret a/b
! gcr-secret: no[31m
! Secret a/s: exists
Another replica asks for them and writes them.
";
        assert_eq!(text, expected);
    }
}
