//! The program that is measured, as a process in the cluster's network.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Error;
use crate::rig::{Inside, NODE};

/// Where it serves HTTP.
pub(crate) const HTTP: u16 = 8080;
const ADMIN: u16 = 9090;

/// A running one; ended when dropped.
pub(crate) struct Narthex {
    child: Child,
    pub(crate) ready_ms: f64,
}

/// Its memory, in bytes, as proc_pid_status(5) has it.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// `VmRSS`: all that is in memory.
    pub(crate) resident: u64,
    /// `RssAnon`: of that, what it has allocated; the rest is the program itself.
    pub(crate) anonymous: u64,
    /// `VmHWM`: the most that was ever in memory.
    pub(crate) most: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        write!(
            f,
            "{:.1} MB resident, {:.1} of them anonymous, {:.1} at most",
            mb(self.resident),
            mb(self.anonymous),
            mb(self.most)
        )
    }
}

impl Narthex {
    /// Starts it with two workers, and waits until it is ready.
    pub(crate) async fn start(program: &Path, rig: &Inside) -> Result<Self, Error> {
        let failed = |error: std::io::Error| format!("{}: {error}", program.display());
        let log = rig.folder().join("narthex.log");
        let output = File::create(&log).map_err(failed)?;
        let begun = Instant::now();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command
            .args(["serve", "--kubeconfig"])
            .arg(rig.kubeconfig())
            .arg("--state-dir")
            .arg(rig.folder().join("narthex-state"))
            .args(["--http-port", &HTTP.to_string()])
            .args(["--admin-address", &format!("{NODE}:{ADMIN}")])
            .args(["--publish-status-address", "192.0.2.1"])
            .args(["--update-status-on-shutdown=false"])
            // So that it is soon at rest.
            .args(["--status-writes-per-second", "500"])
            .env("NARTHEX_WORKERS", "2")
            .stdin(Stdio::null())
            .stderr(output.try_clone().map_err(failed)?)
            .stdout(output);
        let child = command.spawn().map_err(failed)?;
        let mut narthex = Self {
            child,
            ready_ms: 0.0,
        };
        while !matches!(narthex.admin("/readyz").await, Ok((200, _))) {
            let ended = narthex.child.try_wait().ok().flatten();
            if ended.is_some() || begun.elapsed() > Duration::from_secs(120) {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(format!("narthex is not ready, {ended:?}:\n{said}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        narthex.ready_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(narthex)
    }

    /// Waits until the status of so many Ingresses has been written, or no more is written.
    pub(crate) async fn until_status_is_written(&self, routes: usize) -> Result<(), Error> {
        let (mut last, mut still) = (0.0, 0);
        while last < routes as f64 && still < 10 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let text = self.metrics().await?;
            let now = sum(&text, "narthex_status_writes_total");
            still = if now > last { 0 } else { still + 1 };
            last = now;
        }
        Ok(())
    }

    pub(crate) fn memory(&self) -> Result<Memory, Error> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let field = |name: &str| -> Result<u64, Error> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024)
                .ok_or_else(|| format!("{path}: no {name}"))
        };
        Ok(Memory {
            resident: field("VmRSS:")?,
            anonymous: field("RssAnon:")?,
            most: field("VmHWM:")?,
        })
    }

    /// What `/metrics` says.
    pub(crate) async fn metrics(&self) -> Result<String, Error> {
        let (_, text) = self.admin("/metrics").await?;
        Ok(text)
    }

    /// A GET on its admin address: status and all that was sent.
    async fn admin(&self, path: &str) -> Result<(u16, String), Error> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect((NODE, ADMIN)).await.map_err(text)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {NODE}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(text)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(text)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        status
            .map(|status| (status, answer))
            .ok_or_else(|| format!("{path}: no answer"))
    }
}

impl Drop for Narthex {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that a counter has counted, whatever its labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name));
    let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}
