//! One load on one port, and what came of it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cases::Load;
use crate::measure::Plan;
use crate::peers::{Peer, Programs};
use crate::process::{REST, Start};
use crate::{Error, root};

/// What a load counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    pub(crate) requests: f64,
    pub(crate) errors: f64,
}

/// Where a load goes.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) h2c: u16,
}

impl From<&Peer> for Target {
    fn from(peer: &Peer) -> Self {
        Self {
            http: peer.http,
            https: peer.https,
            h2c: peer.h2c,
        }
    }
}

/// Runs a load for so long.
pub(crate) fn run(
    load: Load,
    target: Target,
    programs: &Programs,
    plan: &Plan,
    seconds: f64,
) -> Result<Counted, Error> {
    let connections = plan.connections.to_string();
    match load {
        Load::Http1 {
            tls,
            path,
            script,
            close,
        } => {
            let (scheme, port) = if tls {
                ("https", target.https)
            } else {
                ("http", target.http)
            };
            // wrk knows whole seconds only, but it ends when it is interrupted.
            let longer = format!("{:.0}", seconds.ceil() + 5.0);
            let mut start = Start::new(Path::new("wrk"))
                .args(&["-t", "1", "-c", &connections, "--timeout", "10s"])
                .args(&["-d", &longer, "-H", "Host: bench.example"]);
            if close {
                start = start.args(&["-H", "Connection: close"]);
            }
            if let Some(script) = script {
                start = start.arg("-s").arg(root().join("loads").join(script));
            }
            let start = start.arg(format!("{scheme}://127.0.0.1:{port}{path}"));
            wrk(&interrupted(&start, seconds)?)
        }
        Load::Http2 { tls: true } => http2(
            &[],
            &format!("https://127.0.0.1:{}/", target.https),
            seconds,
        ),
        Load::Http2 { tls: false } => {
            http2(&[], &format!("http://127.0.0.1:{}/", target.h2c), seconds)
        }
        Load::Grpc => {
            let message = root().join("loads/message.grpc").display().to_string();
            let fields = [
                "-H",
                "content-type: application/grpc",
                "-H",
                "te: trailers",
                "-d",
                &message,
            ];
            let url = format!("http://127.0.0.1:{}/bench.Echo/Call", target.h2c);
            http2(&fields, &url, seconds)
        }
        Load::Handshakes { resume } => {
            let mut start = own(programs, "handshake", target.https, plan, seconds);
            if resume {
                start = start.arg("--resume");
            }
            counted(&json(&output(&mut start.pinned(REST))?)?)
        }
        Load::Websocket => {
            let start = own(programs, "websocket", target.http, plan, seconds);
            counted(&json(&output(&mut start.pinned(REST))?)?)
        }
        Load::Idle(_) => unreachable!("idle connections are held, not run"),
    }
}

/// h2load on 4 connections with 100 streams each.
fn http2(fields: &[&str], url: &str, seconds: f64) -> Result<Counted, Error> {
    let milliseconds = format!("{:.0}ms", seconds * 1000.0);
    let start = Start::new(Path::new("h2load"))
        .args(&["-c", "4", "-m", "100", "-D", &milliseconds])
        .args(&["-H", ":authority: bench.example"])
        .args(fields)
        .arg(url);
    h2load(&output(&mut start.pinned(REST))?)
}

/// Latencies in microseconds at the plan's rate: p50, p90, p99, p99.9.
pub(crate) fn latency(
    tls: bool,
    target: Target,
    programs: &Programs,
    plan: &Plan,
) -> Result<[f64; 4], Error> {
    let port = if tls { target.https } else { target.http };
    let mut start = own(programs, "rate", port, plan, plan.seconds)
        .arg("--rate")
        .arg(plan.rate.to_string());
    if tls {
        start = start.arg("--tls");
    }
    let said = json(&output(&mut start.pinned(REST))?)?;
    if said["errors"] != 0 {
        return Err(format!("requests failed at a fixed rate: {said}"));
    }
    Ok(["p50_us", "p90_us", "p99_us", "p999_us"].map(|name| said[name].as_f64().unwrap_or(0.0)))
}

/// Opens idle connections and asks for `measured` while they are held.
pub(crate) fn idle<T>(
    port: u16,
    connections: usize,
    programs: &Programs,
    measured: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let start = Start::new(&programs.load)
        .args(&["idle", &format!("127.0.0.1:{port}")])
        .args(&["--connections", &connections.to_string()]);
    let mut command = start.pinned(REST);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("bench-load: {error}"))?;
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    // Without a line it failed, and said why on standard error.
    let held = lines.next().and_then(Result::ok);
    let result = match held {
        Some(_) => measured(),
        None => Err(format!("{connections} connections cannot be held")),
    };
    drop(child.stdin.take());
    let ended = lines.next().and_then(Result::ok).unwrap_or_default();
    // It has said what it had to say.
    let _ = child.wait();
    let said = json(&ended)?;
    if said["errors"] != 0 {
        return Err(format!("idle connections were closed: {said}"));
    }
    result
}

fn own(programs: &Programs, name: &str, port: u16, plan: &Plan, seconds: f64) -> Start {
    Start::new(&programs.load)
        .args(&[name, &format!("127.0.0.1:{port}")])
        .args(&["--connections", &plan.connections.to_string()])
        .args(&["--seconds", &seconds.to_string()])
}

fn output(command: &mut Command) -> Result<String, Error> {
    let program = command
        .get_args()
        .nth(5)
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} failed: {said}{errors}"));
    }
    Ok(said)
}

/// Runs a program that ends by SIGINT, and interrupts it after so long.
fn interrupted(start: &Start, seconds: f64) -> Result<String, Error> {
    let seconds = format!("{seconds}s");
    let mut wrapped = Start::new(Path::new("timeout")).args(&["--preserve-status", "-s", "INT"]);
    wrapped = wrapped.arg(seconds);
    wrapped.words.extend(start.words.iter().cloned());
    output(&mut wrapped.pinned(REST))
}

fn json(said: &str) -> Result<Value, Error> {
    serde_json::from_str(said).map_err(|error| format!("{said:?}: {error}"))
}

fn counted(said: &Value) -> Result<Counted, Error> {
    let number = |name| said[name].as_f64();
    let found = number("requests").zip(number("errors"));
    let (requests, errors) = found.ok_or_else(|| format!("no counts in {said}"))?;
    Ok(Counted { requests, errors })
}

fn wrk(said: &str) -> Result<Counted, Error> {
    let mut lines = said.lines().map(str::trim);
    let requests = lines
        .clone()
        .find_map(|line| line.split_once(" requests in ")?.0.parse().ok())
        .ok_or_else(|| format!("wrk counted nothing:\n{said}"))?;
    let refused = lines.clone().find(|line| line.starts_with("Non-2xx"));
    if let Some(line) = refused {
        return Err(format!("wrk: {line}"));
    }
    let errors = lines.find_map(|line| line.strip_prefix("Socket errors: "));
    let errors = errors.unwrap_or_default().split(", ");
    let errors = errors.filter_map(|one| one.split_once(' ')?.1.parse::<f64>().ok());
    Ok(Counted {
        requests,
        errors: errors.sum(),
    })
}

fn h2load(said: &str) -> Result<Counted, Error> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("requests: "))
        .ok_or_else(|| format!("h2load counted nothing:\n{said}"))?;
    let number = |name: &str| {
        let found = line.split(", ").find_map(|part| part.strip_suffix(name));
        found.and_then(|number| number.trim().parse::<f64>().ok())
    };
    let found = number("succeeded").zip(number("failed"));
    let (requests, errors) = found.ok_or_else(|| format!("h2load: {line}"))?;
    Ok(Counted { requests, errors })
}

#[cfg(test)]
mod tests {
    use super::{Counted, h2load, wrk};

    #[test]
    fn what_wrk_counted_is_read() {
        let said = "  90 requests in 1.00s, 9MB read\n  Socket errors: connect 0, read 1, write 2, timeout 0\nRequests/sec: 90\n";
        let counted = Counted {
            requests: 90.0,
            errors: 3.0,
        };
        assert_eq!(wrk(said), Ok(counted));
    }

    #[test]
    fn an_answer_that_is_no_success_fails_the_measurement() {
        let said = "  90 requests in 1.00s, 9MB read\n  Non-2xx or 3xx responses: 4\n";
        assert!(wrk(said).is_err());
    }

    #[test]
    fn what_h2load_counted_is_read() {
        let said = "finished in 1s\nrequests: 9 total, 9 started, 8 done, 7 succeeded, 1 failed, 1 errored, 0 timeout\n";
        let counted = Counted {
            requests: 7.0,
            errors: 1.0,
        };
        assert_eq!(h2load(said), Ok(counted));
    }
}
