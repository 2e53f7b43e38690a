//! What the proxies lead to.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use crate::peers::Programs;
use crate::process::{REST, Server, Start, free_port, get};
use crate::template::{self, Values};
use crate::{Error, root};

/// Which backend a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// nginx, with answers from memory and files.
    Nginx,
    /// `bench-load serve`, which reads bodies and speaks WebSocket.
    Own,
    /// `bench-load serve-h2c`, which speaks HTTP/2 and gRPC.
    H2c,
}

/// A running backend.
pub(crate) struct Backend {
    pub(crate) port: u16,
    _server: Server,
}

/// Starts one, with its files in `folder`.
pub(crate) fn start(kind: Kind, programs: &Programs, folder: &Path) -> Result<Backend, Error> {
    let port = free_port();
    let start = match kind {
        Kind::Nginx => nginx(port, folder)?,
        Kind::Own => Start::new(&programs.load)
            .arg("serve")
            .arg(format!("127.0.0.1:{port}")),
        Kind::H2c => Start::new(&programs.load)
            .arg("serve-h2c")
            .arg(format!("127.0.0.1:{port}")),
    };
    let mut server = Server::start("backend", &start, REST, folder)?;
    server.wait(|| match kind {
        Kind::H2c => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
        _ => get(port, "/").is_some(),
    })?;
    Ok(Backend {
        port,
        _server: server,
    })
}

fn nginx(port: u16, folder: &Path) -> Result<Start, Error> {
    let files = folder.join("files");
    let body = |length| {
        (0..length)
            .map(|at| b'a' + (at % 26) as u8)
            .collect::<Vec<_>>()
    };
    fs::create_dir_all(&files)
        .and_then(|()| fs::write(files.join("16k"), body(16 * 1024)))
        .and_then(|()| fs::write(files.join("1m"), body(1024 * 1024)))
        .map_err(|error| format!("{}: {error}", files.display()))?;
    let values = Values {
        named: vec![
            ("BACKEND", port.to_string()),
            ("DIR", folder.display().to_string()),
        ],
        log: false,
        routes: false,
        h2c: false,
    };
    template::folder(&root().join("backend"), &folder.join("backend"), &values)?;
    Ok(Start::new(Path::new("nginx"))
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(folder.join("backend/nginx.conf")))
}
