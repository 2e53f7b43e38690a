//! A DNS server that takes dynamic updates: BIND's `named`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::ports;

/// The zone that it is the primary of; each name in it is 127.0.0.1.
pub const ZONE: &str = "example.org";

/// The name of the key that may update the zone's texts, and the key in base64.
pub const KEY: &str = "update.example.org";
/// The same.
pub const SECRET: &str = "c2l4dGVlbiBieXRlcyBhbmQgc2l4dGVlbiBtb3JlLi4=";

/// A running server; killed when dropped.
pub struct Named {
    address: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

impl Named {
    /// One whose zone may be updated by whoever has [`KEY`].
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = ports::free();
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("a file");
        };
        write("named.conf", configuration(folder.path(), port));
        write("zone", zone());
        let log = File::create(folder.path().join("log")).expect("a file");
        // Debian has it where not everybody's path leads.
        let usual = Path::new("/usr/sbin/named");
        let program = if usual.exists() {
            usual
        } else {
            Path::new("named")
        };
        let child = Command::new(program)
            .args(["-g", "-4", "-n", "1", "-c"])
            .arg(folder.path().join("named.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("named, of Debian's bind9");
        let mut server = Self {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            folder,
            child,
        };
        crate::wait::until(&format!("named listens on {port}"), || {
            if let Some(status) = server.child.try_wait().expect("our child") {
                panic!("named ended: {status}\n{}", server.log());
            }
            std::net::TcpStream::connect(server.address).is_ok()
        });
        server
    }

    /// Where it answers, by UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it says of each update.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- named\n{}", self.log());
        }
    }
}

fn configuration(folder: &Path, port: u16) -> String {
    format!(
        r#"options {{
    directory "{}";
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    pid-file none;
    lock-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    notify no;
}};
controls {{ }};
key "{KEY}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};
zone "{ZONE}" {{
    type primary;
    file "zone";
    update-policy {{ grant {KEY} zonesub TXT; }};
}};
"#,
        folder.display()
    )
}

fn zone() -> String {
    "$TTL 60
@ IN SOA ns hostmaster 1 3600 600 86400 60
@ IN NS ns
@ IN A 127.0.0.1
* IN A 127.0.0.1
ns IN A 127.0.0.1
_acme-challenge.alias IN CNAME elsewhere.challenges
"
    .to_owned()
}
