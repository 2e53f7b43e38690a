//! Real servers as backends, each with a parser of its own: nginx, Python's and Node's.

mod recorder;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;

use crate::http1::Conn;
use crate::{eventually, ports};

pub use recorder::{Message, Recorder};

/// A request as an origin understood it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Understood {
    pub method: String,
    pub target: String,
    /// Its bytes, each as one character.
    pub body: String,
}

/// A running origin; killed when dropped.
pub struct Origin {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Who is asked for what reached it.
    witness: SocketAddr,
    children: Vec<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Origin {
    /// Python's `http.server`.
    #[track_caller]
    pub fn python() -> Self {
        Self::scripted("python", "python3", "-c", include_str!("server.py"))
    }

    /// Node's `http`.
    #[track_caller]
    pub fn node() -> Self {
        Self::scripted("node", "node", "-e", include_str!("server.js"))
    }

    /// nginx, which hands on what it understood to Python's.
    #[track_caller]
    pub fn nginx() -> Self {
        let mut witness = Self::python();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let path = folder.path().join("nginx.conf");
        let text = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen {address};
    merge_slashes off;
    location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
  }}
}}
",
            witness.address
        );
        std::fs::write(&path, text).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&path);
        command.args(["-e", "stderr"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed: `cargo xtask test program` does it");
        let mut children = std::mem::take(&mut witness.children);
        children.push(child);
        let origin = Self {
            name: "nginx",
            address,
            witness: witness.address,
            children,
            _folder: Some(folder),
        };
        eventually("nginx accepts", || Conn::to(address).ok());
        origin
    }

    #[track_caller]
    fn scripted(name: &'static str, program: &str, flag: &str, script: &str) -> Self {
        let mut child = Command::new(program)
            .args([flag, script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program} is installed by `cargo xtask test program`: {error}")
            });
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it names its port");
        let port: u16 = line.trim().parse().expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            name,
            address,
            witness: address,
            children: vec![child],
            _folder: None,
        }
    }

    /// What it understood since the last call, asked directly.
    #[track_caller]
    pub fn take_seen(&self) -> Vec<Understood> {
        let mut conn = Conn::to(self.witness).expect("the origin accepts");
        conn.write_all(b"GET /__seen HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("it takes bytes");
        let answer = conn.response();
        serde_json::from_slice(&answer.body).expect("a list")
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
