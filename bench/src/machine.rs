//! Where and with what it was measured.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::peers::{Programs, Proxy};

/// The machine, its system, and the versions of all programs.
pub(crate) fn describe(programs: &Programs, proxies: &[Proxy]) -> Value {
    let versions: serde_json::Map<_, _> = proxies
        .iter()
        .filter_map(|proxy| {
            let said = said(programs.path(*proxy)?.to_str()?, &[proxy.version_flag()?]);
            Some((proxy.name().to_owned(), version(&said).into()))
        })
        .collect();
    json!({
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": said("git", &["rev-parse", "HEAD"]),
        "cpu": cpu(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": said("uname", &["-r"]),
        "load_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "versions": versions,
        "load": {
            "wrk": said("wrk", &["--version"]).lines().next(),
            "h2load": said("h2load", &["--version"]),
        },
    })
}

/// Today, as a folder's name.
pub(crate) fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d"])
}

fn cpu() -> String {
    field("/proc/cpuinfo", "model name")
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

/// What a program says, on whichever output; nothing if it is not here.
fn said(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return String::new();
    };
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// The line that has a version, without paths.
fn version(said: &str) -> String {
    let line = said
        .lines()
        .find(|line| line.contains(|c: char| c.is_ascii_digit()));
    let words = line.unwrap_or_default().split_whitespace();
    let words: Vec<_> = words.filter(|word| !word.starts_with('/')).collect();
    words.join(" ")
}
