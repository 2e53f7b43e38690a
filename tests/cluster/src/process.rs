//! A process beside the rig's own, with its log in a file.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::kubectl::Background;

/// Killed when dropped; its log is shown if the test fails.
pub struct Process {
    child: Background,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says on standard error is its log.
    #[track_caller]
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("ours"))
            .spawn()
            .expect("it starts");
        Self {
            child: Background(child),
            log,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("ours")
    }

    /// Sends it a signal, and waits for its end.
    #[track_caller]
    pub fn signal(&mut self, signal: Signal) {
        self.send(signal);
        let _ = self.child.0.wait();
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.0.id())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("our child");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.log.display(), self.log());
        }
    }
}
