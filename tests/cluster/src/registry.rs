//! A registry of images as a process in the cluster's network.

use std::path::PathBuf;
use std::process::Command;

use crate::cluster::Cluster;
use crate::process::Process;
use crate::wait;

/// `narthex registry serve`; killed when dropped.
pub struct Registry<'a> {
    cluster: &'a Cluster,
    process: Process,
    port: u16,
}

impl<'a> Registry<'a> {
    /// Starts it, and waits until it answers; `kubeconfig` is whom it asks.
    #[track_caller]
    pub fn start(cluster: &'a Cluster, kubeconfig: PathBuf, arguments: &[&str]) -> Self {
        let port = program_tests::ports::free();
        let folder = cluster.folder().join(format!("registry-{port}"));
        std::fs::create_dir(&folder).expect("ours");
        let mut command = cluster.command(program_tests::program::binary());
        command
            .args(["registry", "serve"])
            .arg(format!("--address=127.0.0.1:{port}"))
            .arg("--storage")
            .arg(folder.join("images"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments);
        let registry = Self {
            cluster,
            process: Process::start(&mut command, folder.join("log")),
            port,
        };
        wait::eventually("the registry answers", || {
            match registry.status(&["/v2/"]) {
                0 => Err(registry.log()),
                _ => Ok(()),
            }
        });
        registry
    }

    /// Ends it as people do.
    #[track_caller]
    pub fn end(&mut self) {
        self.process.signal(rustix::process::Signal::TERM);
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// What a request is answered with: arguments of curl, and a path. 0 if it is not.
    pub fn status(&self, request: &[&str]) -> u16 {
        let (path, arguments) = request.split_last().expect("a path");
        let mut curl: Command = self.cluster.command("curl");
        curl.args(["-s", "--max-time", "60", "-o", "/dev/null"]);
        curl.args(["-w", "%{http_code}"]).args(arguments);
        curl.arg(format!("http://127.0.0.1:{}{path}", self.port));
        let said = curl.output().expect("curl runs");
        String::from_utf8_lossy(&said.stdout).parse().unwrap_or(0)
    }
}

impl Cluster {
    /// A kubeconfig of the administrator, who acts as a ServiceAccount; for processes in the cluster's network.
    #[track_caller]
    pub fn kubeconfig_as(&self, namespace: &str, account: &str) -> PathBuf {
        let user = format!("user: {{as: 'system:serviceaccount:{namespace}:{account}', ");
        let text = std::fs::read_to_string(self.kubeconfig_inside()).expect("a kubeconfig");
        let text = text.replacen("user: {", &user, 1);
        assert!(text.contains(&user), "{text}");
        let name = format!("kubeconfig-{namespace}-{account}");
        let path = self.folder().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }
}
