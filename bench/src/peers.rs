//! The proxies: where each is, and how it is started with one thread of work.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::backend::Kind;
use crate::cases::Case;
use crate::process::{PROXY, Server, Start, free_port, get};
use crate::template::{self, Values};
use crate::{Error, root};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Floor,
    Narthex,
    /// Narthex, with ten annotations on its routes.
    Annotated,
    Nginx,
    Haproxy,
    Envoy,
    Caddy,
}

impl Proxy {
    pub(crate) const ALL: [Self; 7] = [
        Self::Floor,
        Self::Narthex,
        Self::Annotated,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::Caddy,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Narthex => "narthex",
            Self::Annotated => "narthex-annotated",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
        }
    }

    /// Whether it is among those which a case compares.
    pub(crate) fn is_in(self, case: &Case) -> bool {
        match self {
            Self::Annotated => case.annotated,
            Self::Narthex => true,
            _ => !case.annotated,
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proxy| proxy.name() == name)
    }

    /// The argument that makes it tell its version.
    pub(crate) fn version_flag(self) -> Option<&'static str> {
        match self {
            Self::Floor => None,
            Self::Narthex | Self::Annotated | Self::Envoy => Some("--version"),
            Self::Nginx | Self::Haproxy => Some("-v"),
            Self::Caddy => Some("version"),
        }
    }
}

/// Where programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The load helper, which lies beside us.
    pub(crate) load: PathBuf,
    floor: PathBuf,
    narthex: PathBuf,
    peers: Option<PathBuf>,
}

impl Programs {
    pub(crate) fn find(narthex: &Path, peers: Option<&Path>) -> Result<Self, Error> {
        let ours = std::env::current_exe().map_err(|error| error.to_string())?;
        let narthex =
            fs::canonicalize(narthex).map_err(|error| format!("{}: {error}", narthex.display()))?;
        Ok(Self {
            load: ours.with_file_name("bench-load"),
            floor: ours.with_file_name("bench-floor"),
            narthex,
            peers: peers.map(Path::to_owned),
        })
    }

    /// A proxy's program, if it is here.
    pub(crate) fn path(&self, proxy: Proxy) -> Option<PathBuf> {
        match proxy {
            Proxy::Floor => Some(self.floor.clone()),
            Proxy::Narthex | Proxy::Annotated => Some(self.narthex.clone()),
            Proxy::Nginx | Proxy::Haproxy => on_path(proxy.name()),
            Proxy::Envoy => self.peer("envoy").or_else(|| on_path("envoy")),
            Proxy::Caddy => self.peer("bin/caddy").or_else(|| on_path("caddy")),
        }
    }

    /// A program among the peers: `bin/caddy`, or Envoy, whose package hides the binary behind a
    /// script that would be measured instead.
    fn peer(&self, name: &str) -> Option<PathBuf> {
        let peers = self.peers.as_ref()?;
        let file = match name {
            "envoy" => {
                let versions = fs::read_dir(peers.join("lib")).ok()?;
                let site =
                    |version: fs::DirEntry| version.path().join("site-packages/envoy/_bin/envoy");
                versions.flatten().map(site).find(|file| file.is_file())?
            }
            name => peers.join(name),
        };
        file.is_file().then_some(file)
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        // Where Debian has its daemons, which is not on everybody's path.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A certificate for all, in the forms that they want.
pub(crate) struct Certificate {
    chain: String,
    key: String,
}

impl Certificate {
    pub(crate) fn make() -> Result<Self, Error> {
        let names = ["bench.example".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        Ok(Self {
            chain: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }

    /// Writes it as files.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let both = format!("{}{}", self.chain, self.key);
        [("cert", &self.chain), ("key", &self.key), ("both", &both)]
            .into_iter()
            .try_for_each(|(name, text)| fs::write(folder.join(format!("{name}.pem")), text))
            .map_err(|error| error.to_string())
    }
}

/// A proxy in a case: running, and paused while others have their turn.
pub(crate) struct Peer {
    pub(crate) server: Server,
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) h2c: u16,
}

/// nginx's module for TCP, where Debian has it.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// Starts a proxy for a case.
pub(crate) fn start(
    proxy: Proxy,
    case: &Case,
    backend: u16,
    certificate: &Certificate,
    programs: &Programs,
    folder: &Path,
) -> Result<Peer, Error> {
    let (http, https) = (free_port(), free_port());
    // nginx 1.22 and HAProxy decide by the port; the others see it from the first bytes.
    let h2c = match proxy {
        Proxy::Nginx | Proxy::Haproxy => free_port(),
        _ => http,
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let values = Values {
        named: vec![
            ("HTTP", http.to_string()),
            ("HTTPS", https.to_string()),
            ("H2C", h2c.to_string()),
            ("BACKEND", backend.to_string()),
            ("DIR", folder.display().to_string()),
            ("CERT", file("cert.pem")),
            ("KEY", file("key.pem")),
            ("PEM", file("both.pem")),
            ("NGINX_STREAM", NGINX_STREAM.to_owned()),
            ("CERT_BASE64", BASE64.encode(&certificate.chain)),
            ("KEY_BASE64", BASE64.encode(&certificate.key)),
        ],
        log: case.log,
        routes: case.routes,
        h2c: case.backend == Kind::H2c,
    };
    if proxy != Proxy::Floor {
        let kind = if case.tcp { "-tcp" } else { "" };
        let from = root().join("peers").join(format!("{}{kind}", proxy.name()));
        template::folder(&from, &folder.join(proxy.name()), &values)?;
    }
    let program = programs
        .path(proxy)
        .ok_or_else(|| format!("{} is not here", proxy.name()))?;
    let start = command(proxy, &program, case, folder, [http, https, backend]);
    let mut server = Server::start(proxy.name(), &start, PROXY, folder)?;
    server.wait(|| get(http, "/").is_some())?;
    Ok(Peer {
        server,
        http,
        https,
        h2c,
    })
}

/// One thread of work for each.
fn command(
    proxy: Proxy,
    program: &Path,
    case: &Case,
    folder: &Path,
    [http, https, backend]: [u16; 3],
) -> Start {
    let own = folder.join(proxy.name());
    let start = Start::new(program);
    match proxy {
        Proxy::Floor => start
            .arg(format!("127.0.0.1:{http}"))
            .arg(format!("127.0.0.1:{backend}")),
        Proxy::Narthex if case.tcp => start
            .arg("serve")
            .arg(own)
            .args(&["--workers", "1", "--bind-address", "127.0.0.1"])
            .args(&["--gateway-address", "127.0.0.1"])
            .args(&["--http-port", &free_port().to_string()])
            .args(&["--https-port", &https.to_string()])
            .args(&["--endpoint", &format!("default/web=127.0.0.1:{backend}")])
            .args(&["--access-log-format", "off"])
            .args(&["--admin-address", &format!("127.0.0.1:{}", free_port())]),
        Proxy::Narthex | Proxy::Annotated => start
            .arg("serve")
            .arg(own)
            .args(&["--workers", "1", "--bind-address", "127.0.0.1"])
            .args(&["--http-port", &http.to_string()])
            .args(&["--https-port", &https.to_string()])
            .args(&["--endpoint", &format!("default/web=127.0.0.1:{backend}")])
            .args(&["--default-ssl-certificate", "default/bench"])
            .args(&["--access-log-format", if case.log { "json" } else { "off" }])
            .args(&["--max-idle-upstream", "1024", "--ssl-redirect=false"])
            .args(&["--admin-address", &format!("127.0.0.1:{}", free_port())]),
        Proxy::Nginx => start
            .arg("-p")
            .arg(folder)
            .arg("-c")
            .arg(own.join("nginx.conf")),
        Proxy::Haproxy => start.arg("-db").arg("-f").arg(own.join("haproxy.cfg")),
        Proxy::Envoy => start
            .args(&["--concurrency", "1", "--disable-hot-restart"])
            .args(&["--log-level", "error", "-c"])
            .arg(own.join("envoy.yaml")),
        Proxy::Caddy => start
            .args(&["run", "--adapter", "caddyfile", "--config"])
            .arg(own.join("Caddyfile"))
            .env("GOMAXPROCS", "1")
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder),
    }
}

/// What of the common header fields a proxy does not send to the backend. All have to send all:
/// the work is to be the same.
pub(crate) fn missing_fields(peer: &Peer) -> Result<Vec<String>, Error> {
    let said = get(peer.http, "/said").ok_or("no answer about header fields")?;
    let lines = said.lines().filter_map(|line| line.split_once('='));
    let missing: Vec<_> = lines
        .filter(|(_, value)| value.is_empty())
        .map(|(name, _)| name.to_owned())
        .collect();
    Ok(missing)
}
