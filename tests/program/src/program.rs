//! The program under test, as a child process.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::http1::{Conn, Response};
use crate::{Folder, curl, ports, wait};

/// The binary: `NARTHEX_BIN`, or the one that was built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NARTHEX_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a path");
    let beside = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps")
        .join("narthex");
    assert!(
        beside.exists(),
        "{} is not built: run `cargo xtask test program`",
        beside.display()
    );
    beside
}

/// What a command that ends by itself said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Both outputs, for "somewhere it says".
    pub fn said(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// The one line of stdout that contains `what`.
    #[track_caller]
    pub fn line_with(&self, what: &str) -> &str {
        let found = self.stdout.lines().find(|line| line.contains(what));
        found.unwrap_or_else(|| panic!("no line with {what:?} in:\n{}", self.said()))
    }
}

/// Runs the binary to its end, 90 seconds at most.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(arguments: &[S]) -> Ended {
    let mut command = Command::new(binary());
    command.args(arguments);
    end(command)
}

/// Runs any prepared command to its end, 90 seconds at most.
#[track_caller]
pub fn end(mut command: Command) -> Ended {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait_for(&mut child, Duration::from_secs(90));
    if status.is_none() {
        // It ended in between at worst.
        let _ = child.kill();
        let _ = child.wait();
    }
    let text = |thread: std::thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&thread.join().expect("reads")).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let status = status.unwrap_or_else(|| panic!("does not end:\n{stdout}\n{stderr}"));
    Ended {
        code: status.code(),
        stdout,
        stderr,
    }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks has said what it had to say.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

fn wait_for(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `narthex serve`, before it starts.
pub struct Starting {
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    wrapper: Vec<OsString>,
    binary: PathBuf,
    directory: Option<PathBuf>,
    state: bool,
    predecessor: Option<(u16, Arc<tempfile::TempDir>)>,
    read_stdout: bool,
    http: u16,
    https: u16,
}

impl Starting {
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs the program by another one, such as `setpriv`.
    pub fn through(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// Another copy of the binary.
    pub fn binary(mut self, path: &Path) -> Self {
        self.binary = path.to_owned();
        self
    }

    pub fn in_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Leaves `--state-dir` out.
    pub fn without_state_flag(mut self) -> Self {
        self.state = false;
        self
    }

    pub fn http_port(mut self, port: u16) -> Self {
        self.http = port;
        self
    }

    pub fn https_port(mut self, port: u16) -> Self {
        self.https = port;
        self
    }

    /// Starts it with `--upgrade`, where another one runs: same ports, same state folder.
    pub fn after(mut self, other: &Narthex) -> Self {
        self.http = other.http;
        self.https = other.https;
        self.predecessor = Some((other.admin, Arc::clone(&other.state)));
        self.arg("--upgrade")
    }

    /// Leaves standard output unread until the test drops the program.
    pub fn with_stuck_stdout(mut self) -> Self {
        self.read_stdout = false;
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Narthex {
        let upgrade = self.predecessor.is_some();
        let mut narthex = self.spawn();
        let deadline = Instant::now() + wait::PATIENCE;
        let is_ready = |narthex: &Narthex| match upgrade {
            // Until then the other one answers for it.
            true => narthex.log().contains("health, metrics and API on"),
            false => narthex.admin_status("/readyz") == Some(200),
        };
        while !is_ready(&narthex) {
            if let Some(status) = narthex.child.try_wait().expect("our child") {
                panic!("ended before it was ready: {status}\n{}", narthex.log());
            }
            assert!(Instant::now() < deadline, "never ready:\n{}", narthex.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        narthex
    }

    /// Starts it and does not wait.
    #[track_caller]
    pub fn spawn(self) -> Narthex {
        let (admin, state) = self.predecessor.clone().unwrap_or_else(|| {
            let state = tempfile::tempdir().expect("a temporary folder");
            (ports::free(), Arc::new(state))
        });
        let log = Log::new();
        let mut child = self
            .command(admin, state.path())
            .stderr(log.handle())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let (access, unread) = if self.read_stdout {
            (Lines::reading(stdout), None)
        } else {
            (Lines::default(), Some(stdout))
        };
        Narthex {
            child,
            http: self.http,
            https: self.https,
            admin,
            access,
            log,
            state,
            _unread: unread,
        }
    }

    /// Starts it where it cannot work, and waits for its end.
    #[track_caller]
    pub fn fail(self) -> Ended {
        let (admin, state) = self.predecessor.clone().unwrap_or_else(|| {
            let state = tempfile::tempdir().expect("a temporary folder");
            (ports::free(), Arc::new(state))
        });
        end(self.command(admin, state.path()))
    }

    fn command(&self, admin: u16, state: &Path) -> Command {
        let mut words: Vec<OsString> = self.wrapper.clone();
        words.push(self.binary.clone().into());
        words.push("serve".into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(&self.arguments);
        command.arg("--http-port").arg(self.http.to_string());
        command.arg("--https-port").arg(self.https.to_string());
        command
            .arg("--admin-address")
            .arg(format!("127.0.0.1:{admin}"));
        if self.state {
            command.arg("--state-dir").arg(state);
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        for name in ["STATE_DIRECTORY", "XDG_STATE_HOME"] {
            command.env_remove(name);
        }
        command
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A running `narthex serve`; killed when dropped.
pub struct Narthex {
    pub child: Child,
    pub http: u16,
    pub https: u16,
    pub admin: u16,
    access: Lines,
    log: Log,
    /// Shared with those that take over.
    pub state: Arc<tempfile::TempDir>,
    _unread: Option<std::process::ChildStdout>,
}

impl Narthex {
    /// On a folder, with ports of its own and two workers.
    pub fn on(folder: &Folder) -> Starting {
        Self::with_paths(&[folder.path()]).env("NARTHEX_WORKERS", "2")
    }

    /// On any paths.
    pub fn with_paths(paths: &[&Path]) -> Starting {
        Starting {
            arguments: paths
                .iter()
                .map(|path| path.as_os_str().to_owned())
                .collect(),
            environment: Vec::new(),
            wrapper: Vec::new(),
            binary: binary(),
            directory: None,
            state: true,
            predecessor: None,
            read_stdout: true,
            http: ports::free(),
            https: ports::free(),
        }
    }

    /// A GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, host: &str, path: &str) -> Response {
        Conn::plain(self.http).get(host, path)
    }

    /// Which backend answers, or the status if none does; a failed connection is `failed`.
    pub fn backend(&self, host: &str, path: &str) -> String {
        let ask = || {
            let mut conn = Conn::to(SocketAddr::from(([127, 0, 0, 1], self.http))).ok()?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            std::io::Write::write_all(&mut conn, request.as_bytes()).ok()?;
            conn.try_response(false).ok()
        };
        ask().map_or_else(|| "failed".to_owned(), |response| response.backend())
    }

    /// Waits until `host` and `path` are answered by `backend` (or with that status).
    #[track_caller]
    pub fn until_backend(&self, host: &str, path: &str, backend: &str) {
        let mut last = String::new();
        let deadline = Instant::now() + wait::PATIENCE;
        while Instant::now() < deadline {
            last = self.backend(host, path);
            if last == backend {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!(
            "{host}{path} is answered by {last}, not {backend}:\n{}",
            self.log()
        );
    }

    /// What the admin address answers; none if it does not.
    pub fn admin_get(&self, path: &str) -> Option<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin));
        let mut conn = Conn::to(address).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut conn, request.as_bytes()).ok()?;
        let response = conn.try_response(false).ok()?;
        Some((response.status, response.text()))
    }

    pub fn admin_status(&self, path: &str) -> Option<u16> {
        self.admin_get(path).map(|(status, _)| status)
    }

    #[track_caller]
    pub fn metrics(&self) -> String {
        let (status, text) = self
            .admin_get("/metrics")
            .expect("the admin address answers");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The log on standard error so far: all that the program has written by now.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.access.text()
    }

    #[track_caller]
    pub fn until_log(&self, what: &str) {
        wait::until(&format!("the log says {what:?}"), || {
            self.log().contains(what)
        });
    }

    /// The access log's lines so far that are JSON.
    pub fn access_log(&self) -> Vec<Value> {
        self.stdout()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for the access log line of `path`, whatever its query.
    #[track_caller]
    pub fn access(&self, path: &str) -> Value {
        wait::eventually(&format!("an access log line for {path}"), || {
            self.access_log().into_iter().find(|line| {
                let target = line["path"].as_str().unwrap_or_default();
                target.split('?').next() == Some(path)
            })
        })
    }

    pub fn curl(&self, host: &str, path: &str, arguments: &[&str]) -> curl::Answer {
        let host = format!("Host: {host}");
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        curl::curl(&[arguments, &["--path-as-is", "-H", &host, &url]].concat())
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), signal).expect("our child");
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ended_within(&mut self, within: Duration) -> ExitStatus {
        let status = wait_for(&mut self.child, within);
        status.unwrap_or_else(|| panic!("still runs after {within:?}:\n{}", self.log()))
    }

    /// Resident memory in bytes, now and at most.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("runs on Linux");
        let field = |name: &str| -> u64 {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .expect("there");
            let kib = line.trim().trim_end_matches("kB").trim();
            kib.parse::<u64>().expect("a number") * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Narthex {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let tail = |text: String| {
                let lines: Vec<_> = text.lines().collect();
                lines[lines.len().saturating_sub(30)..].join("\n")
            };
            eprintln!(
                "--- log\n{}\n--- stdout\n{}",
                tail(self.log()),
                tail(self.stdout())
            );
        }
    }
}

/// What a process says into a file, and not into a pipe: what it has written is there to be read,
/// with no thread of this process between the two that might be held up.
pub(crate) struct Log(tempfile::NamedTempFile);

impl Log {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self(tempfile::NamedTempFile::new().expect("a temporary file"))
    }

    /// One of any number, each for an output of the process.
    #[track_caller]
    pub(crate) fn handle(&self) -> File {
        // What several write comes one after the other, and not one over the other.
        let file = File::options().append(true).open(self.0.path());
        file.expect("ours")
    }

    pub(crate) fn text(&self) -> String {
        let bytes = std::fs::read(self.0.path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Lines that a thread reads as they come.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<String>>);

impl Lines {
    pub(crate) fn reading(from: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader
                .read_until(b'\n', &mut line)
                .is_ok_and(|read| read > 0)
            {
                let mut text = into.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        lines
    }

    pub(crate) fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
