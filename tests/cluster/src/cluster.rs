//! A cluster that lives as long as its test.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::wait;

/// A control plane, its nodes and everything in them. Dropping it ends it; so does the end of the
/// test's process, whatever ended that.
pub struct Cluster {
    folder: PathBuf,
    /// The cluster ends when nobody holds this any more. None of one that is not ours.
    lease: Option<ChildStdin>,
    pub took: Duration,
}

/// A cluster before it starts.
pub struct Setup {
    nodes: u32,
    narthex: PathBuf,
}

impl Setup {
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Starts it and comes back when pods can be made.
    #[track_caller]
    pub fn start(self) -> Cluster {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let bin = rig();
        let clusters = bin.parent().expect("target/cluster/bin");
        let folder = clusters.join(format!("test-{}-{number}", std::process::id()));
        let begun = Instant::now();
        let mut command = Command::new(bin.join("rig"));
        command
            .args(["start", "--while-stdin-is-open", "--folder"])
            .arg(&folder)
            .arg("--nodes")
            .arg(self.nodes.to_string())
            .arg("--narthex")
            .arg(&self.narthex);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut launcher = command.spawn().expect("the rig starts");
        let lease = launcher.stdin.take();
        let ended = launcher.wait_with_output().expect("our child");
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        let took = begun.elapsed();
        println!("the cluster is up after {:.1} s", took.as_secs_f32());
        Cluster {
            folder,
            lease,
            took,
        }
    }
}

impl Cluster {
    /// One node, and the program under test behind the image `narthex`.
    #[track_caller]
    pub fn start() -> Self {
        Self::setup().start()
    }

    pub fn setup() -> Setup {
        Setup {
            nodes: 1,
            narthex: program_tests::program::binary(),
        }
    }

    /// One that `cargo xtask cluster up` started, by its folder; it goes on afterwards.
    pub fn attached(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            lease: None,
            took: Duration::ZERO,
        }
    }

    /// One for all tests of a file that do not break it; use a namespace each.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::setup().nodes(2).start())
    }

    /// Where its state is: logs, kubeconfigs, images.json.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's, for processes of the host: straight to the API server, not disturbed.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The administrator's, for processes in the cluster's network: by way of the relay that faults
    /// disturb.
    pub fn kubeconfig_inside(&self) -> PathBuf {
        self.folder.join("kubeconfig-inside")
    }

    /// What the rig itself said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("rig.log")).unwrap_or_default()
    }

    /// The first process of the cluster's namespaces.
    pub fn pid(&self) -> u32 {
        let text = std::fs::read_to_string(self.folder.join("pid")).expect("written at start");
        text.trim().parse().expect("a number")
    }

    /// Says something to the control socket.
    ///
    /// # Errors
    ///
    /// What it answered, or why it did not.
    pub fn say(&self, what: &str) -> Result<String, String> {
        let line = exchange(&self.socket()?, what)?;
        Ok(line)
    }

    pub(crate) fn socket(&self) -> Result<UnixStream, String> {
        let path = self.folder.join("control.sock");
        UnixStream::connect(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let tail = |log: &str| {
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            format!("--- the rig's log\n{}", tail.join("\n"))
        };
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.log()));
            return;
        }
        if self.lease.take().is_none() {
            return;
        }
        wait::eventually("the cluster removes its folder", || {
            match self.folder.exists() {
                true => Err(tail(&self.log())),
                false => Ok(()),
            }
        });
    }
}

/// One line there and one back; the stream may be used further.
pub(crate) fn exchange(mut stream: &UnixStream, what: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{what}: {error}");
    stream
        .write_all(format!("{what}\n").as_bytes())
        .map_err(failed)?;
    let mut line = String::new();
    // One byte at a time: what follows the line is not ours to read.
    let mut reader = BufReader::with_capacity(1, stream);
    reader.read_line(&mut line).map_err(failed)?;
    match line.trim_end().split_once(' ') {
        None if line == "ok\n" => Ok(String::new()),
        Some(("ok", rest)) => Ok(rest.to_owned()),
        Some(("error", rest)) => Err(format!("{what}: {rest}")),
        _ => Err(format!("{what}: answered {line:?}")),
    }
}

/// Where the rig's programs are: `RIG_BIN`, or `cluster/bin` in the target folder.
pub fn rig() -> PathBuf {
    if let Some(path) = std::env::var_os("RIG_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("target/<profile>/deps/test");
    let bin = target.join("cluster/bin");
    assert!(
        bin.join("rig").exists(),
        "{} is not built: run `cargo xtask cluster build`",
        bin.display()
    );
    bin
}
