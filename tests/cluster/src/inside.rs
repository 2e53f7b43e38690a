//! Narthex as a process of the host that is in the cluster's network: it reaches pods as a pod does
//! and is in nobody's way. It is not a pod; for that there is the image `narthex`.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use program_tests::http1::Response;
use rustix::process::{Pid, Signal};

use crate::cluster::Cluster;
use crate::wait;

/// `narthex serve` before it starts.
pub struct Serve<'a> {
    cluster: &'a Cluster,
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    kubeconfig: PathBuf,
    http: u16,
    https: u16,
    admin: u16,
}

/// A running one; killed when dropped.
pub struct Inside<'a> {
    cluster: &'a Cluster,
    pub child: Child,
    /// Where it listens, on the first node's address.
    pub http: u16,
    pub https: u16,
    pub admin: u16,
    log: Arc<Mutex<String>>,
}

/// The first node's address, which is also that of what runs beside pods.
pub(crate) const NODE: &str = "10.244.0.1";

impl Cluster {
    /// A command that will run in the cluster's network, with the host's files and processes.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.pid().to_string()]);
        if !rustix::process::getuid().is_root() {
            // Who may enter the network is said by the user namespace.
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--").arg(program);
        command
    }

    /// `narthex serve --kubeconfig …` in the cluster's network, with two workers.
    pub fn serve(&self) -> Serve<'_> {
        let serve = Serve {
            cluster: self,
            binary: program_tests::program::binary(),
            arguments: Vec::new(),
            environment: Vec::new(),
            kubeconfig: self.kubeconfig_inside(),
            http: program_tests::ports::free(),
            https: program_tests::ports::free(),
            admin: program_tests::ports::free(),
        };
        serve.env("NARTHEX_WORKERS", "2")
    }
}

impl<'a> Serve<'a> {
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

    /// Another's than the administrator's.
    pub fn kubeconfig(mut self, kubeconfig: impl Into<PathBuf>) -> Self {
        self.kubeconfig = kubeconfig.into();
        self
    }

    pub fn binary(mut self, binary: PathBuf) -> Self {
        self.binary = binary;
        self
    }

    /// Starts it and waits for nothing.
    #[track_caller]
    pub fn spawn(self) -> Inside<'a> {
        let state = self
            .cluster
            .folder()
            .join(format!("narthex-{}", self.admin));
        let mut command = self.cluster.command(&self.binary);
        command
            .arg("serve")
            .arg("--kubeconfig")
            .arg(self.kubeconfig)
            .arg("--state-dir")
            .arg(state)
            .args(["--http-port", &self.http.to_string()])
            .args(["--https-port", &self.https.to_string()])
            .args(["--admin-address", &format!("{NODE}:{}", self.admin)])
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("piped"), Arc::clone(&log));
        collect(child.stderr.take().expect("piped"), Arc::clone(&log));
        Inside {
            cluster: self.cluster,
            child,
            http: self.http,
            https: self.https,
            admin: self.admin,
            log,
        }
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Inside<'a> {
        let mut narthex = self.spawn();
        wait::eventually("/readyz answers 200", || {
            if let Some(status) = narthex.child.try_wait().expect("our child") {
                panic!("ended before it was ready: {status}\n{}", narthex.log());
            }
            match narthex.admin("/readyz") {
                Ok(response) if response.status == 200 => Ok(()),
                Ok(response) => Err(format!("{}\n{}", response.text(), narthex.log())),
                Err(error) => Err(format!("{error}\n{}", narthex.log())),
            }
        });
        narthex
    }
}

impl Inside<'_> {
    /// A GET through it.
    ///
    /// # Errors
    ///
    /// Why there is no response.
    pub fn get(&self, host: &str, path: &str) -> Result<Response, String> {
        self.cluster
            .ask(format!("{NODE}:{}", self.http), host, path)
    }

    /// A GET on its admin address.
    ///
    /// # Errors
    ///
    /// Why there is no response.
    pub fn admin(&self, path: &str) -> Result<Response, String> {
        let address = format!("{NODE}:{}", self.admin);
        self.cluster.ask(&address, &address, path)
    }

    /// Waits until a request is answered with that status.
    #[track_caller]
    pub fn until_status(&self, host: &str, path: &str, status: u16) -> Response {
        wait::eventually(&format!("{host}{path} is answered {status}"), || {
            let response = self.get(host, path)?;
            match response.status == status {
                true => Ok(response),
                false => Err(format!("it is {}\n{}", response.status, self.log())),
            }
        })
    }

    /// Both outputs so far.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), signal).expect("our child");
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- narthex\n{}", tail.join("\n"));
        }
    }
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let mut log = into.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&String::from_utf8_lossy(&line));
            log.push('\n');
        }
    });
}
