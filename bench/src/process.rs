//! Processes that are pinned, measured and ended with this one.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;

/// The core of the proxy that is measured.
pub(crate) const PROXY: &str = "0";
/// The core of all that is not measured: load and backend.
pub(crate) const REST: &str = "1";

/// A program and what it is started with.
pub(crate) struct Start {
    pub(crate) words: Vec<OsString>,
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

impl Start {
    pub(crate) fn new(program: &Path) -> Self {
        Self {
            words: vec![program.into()],
            environment: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn args(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(OsString::from));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// As a command on one core, which ends when we do, even if we are killed.
    pub(crate) fn pinned(&self, core: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list", core]);
        command
            .args(&self.words)
            .envs(self.environment.iter().cloned());
        command
    }
}

/// A running server; ended when dropped.
pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    /// Starts it with its outputs in files of `folder`.
    pub(crate) fn start(
        name: &str,
        start: &Start,
        core: &str,
        folder: &Path,
    ) -> Result<Self, Error> {
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let log = folder.join(format!("{name}.err"));
        let output = File::create(folder.join(format!("{name}.out"))).map_err(failed)?;
        let errors = File::create(&log).map_err(failed)?;
        let child = start
            .pinned(core)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            child,
            name: name.to_owned(),
            log,
        })
    }

    /// Waits until `ready` says so.
    pub(crate) fn wait(&mut self, ready: impl Fn() -> bool) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<_> = said.lines().rev().take(15).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                return Err(format!(
                    "{} is not ready, {ended:?}:\n{}",
                    self.name,
                    tail.join("\n")
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What its threads used so far.
    pub(crate) fn cpu(&self) -> Result<Cpu, Error> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .map_err(|_| format!("{} has ended", self.name))?;
        Cpu::of_stat(&stat).ok_or_else(|| format!("{}: odd stat", self.name))
    }

    /// Its memory in bytes: the proportional set, in which shared pages count once.
    pub(crate) fn memory(&self) -> Result<u64, Error> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let rollup = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
        kib.map(|kib: u64| kib * 1024)
            .ok_or_else(|| "the kernel tells no Pss".to_owned())
    }

    /// Takes it off its core while others have their turn.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // One that ended is noticed when it is measured.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Time on a CPU, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    /// Fields 14 and 15 of proc_pid_stat(5), which have all threads; the name in field 2 may have
    /// spaces.
    fn of_stat(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let tick = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        let time = |field: usize| Some(fields.get(field - 3)?.parse::<f64>().ok()? * tick);
        Some(Self {
            user: time(14)?,
            system: time(15)?,
        })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }

    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }
}

/// How long the proxy's core was busy so far, with whatever, in microseconds.
pub(crate) fn core_busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu0 "));
    let fields: Vec<f64> = line
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0.0))
        .collect();
    // user, nice, system, then irq and softirq; not idle and iowait.
    let busy = [0, 1, 2, 5, 6].map(|at| fields.get(at).copied().unwrap_or(0.0));
    busy.iter().sum::<f64>() * 1e6 / rustix::param::clock_ticks_per_second() as f64
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that nobody listens on, below the range that outgoing connections use.
pub(crate) fn free_port() -> u16 {
    let start = std::process::id().wrapping_mul(31);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(12_000 + start.wrapping_add(step) % 20_000).expect("below 65536");
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}

/// What a GET answers, if it answers 200.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience).ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    // Servers that keep the connection all the same have answered before the time is over.
    let _ = stream.read_to_string(&mut answer);
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::Cpu;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 99 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        let cpu = Cpu::of_stat(stat).expect("fields");
        assert_eq!(cpu.user / cpu.system, 3.0);
    }
}
