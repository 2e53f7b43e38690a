//! A cluster that ends with this process.

use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};

use crate::Error;

/// The first node's address, which is also that of what runs beside pods.
pub(crate) const NODE: &str = "10.244.0.1";

/// Addresses of endpoints, all of them this machine's.
const ENDPOINTS: &str = "10.230.0.0/15";

/// A running one.
pub(crate) struct Rig {
    folder: PathBuf,
    /// It ends when nobody holds this any more.
    _lease: Option<ChildStdin>,
}

/// The same, for a process in its network.
pub(crate) struct Inside {
    folder: PathBuf,
}

impl Rig {
    /// Starts it and comes back when it answers.
    pub(crate) fn start(bin: &Path, narthex: &Path) -> Result<Self, Error> {
        let clusters = bin.parent().unwrap_or(bin);
        let folder = clusters.join(format!("bench-{}", std::process::id()));
        let mut command = Command::new(bin.join("rig"));
        command
            .args(["start", "--while-stdin-is-open", "--nodes", "1", "--folder"])
            .arg(&folder)
            .arg("--narthex")
            .arg(narthex)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut launcher = command
            .spawn()
            .map_err(|error| format!("the rig cannot be started: {error}"))?;
        let lease = launcher.stdin.take();
        let ended = launcher.wait_with_output();
        let ended = ended.map_err(|error| format!("the rig: {error}"))?;
        match ended.status.success() {
            true => Ok(Self {
                folder,
                _lease: lease,
            }),
            false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
        }
    }

    /// Runs this program again in its network, with the same words and where the cluster is.
    pub(crate) fn again(&self) -> Result<bool, Error> {
        let pid = std::fs::read_to_string(self.folder.join("pid"));
        let pid = pid.map_err(|error| format!("the rig's process: {error}"))?;
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut enter = Command::new("nsenter");
        enter.args(["--net", "--target", pid.trim()]);
        if !rustix::process::getuid().is_root() {
            enter.args(["--user", "--preserve-credentials"]);
        }
        enter
            .args(["--", "setpriv", "--pdeathsig", "KILL"])
            .arg(own);
        enter.args(std::env::args_os().skip(1));
        let status = enter.arg("--inside").arg(&self.folder).status();
        let status = status.map_err(|error| format!("nsenter: {error}"))?;
        Ok(status.success())
    }
}

impl Inside {
    /// Makes the endpoints' addresses in the network that this process is in.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let made = Command::new("ip")
            .args(["route", "add", "local", ENDPOINTS, "dev", "lo"])
            .status();
        match made {
            Ok(status) if status.success() => Ok(Self {
                folder: folder.to_owned(),
            }),
            _ => Err(format!("no route to {ENDPOINTS}")),
        }
    }

    /// The administrator's, for processes in its network.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig-inside")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}
