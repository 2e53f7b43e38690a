//! What the tests need beside the Rust toolchain, and how it gets here.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{cargo, quietly, succeeds, target};

/// The version whose answers the configuration in deny.toml was written for.
const CARGO_DENY: &str = "0.20.2";

/// The last release of h2spec; Go's module proxy has it.
const H2SPEC: &str = "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible";

/// A client of image registries that is neither docker's nor skopeo's code.
const CRANE: &str = "github.com/google/go-containerregistry/cmd/crane@v0.20.6";

/// An S3 server on a folder: the bucket that a registry's tests keep images in.
const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const AZURITE: &str = "azurite@3.35.0";

/// A command that tests run, or a file by its whole path, and the Debian package that has it.
pub(crate) struct Tool {
    command: &'static str,
    package: &'static str,
}

impl Tool {
    /// A command, or a file by its whole path, and the package that has it.
    pub(crate) const fn new(command: &'static str, package: &'static str) -> Self {
        Self { command, package }
    }
}

/// What the whole-program tests run beside the program.
pub(crate) const CLIENTS: &[Tool] = &[
    Tool {
        command: "curl",
        package: "curl",
    },
    Tool {
        command: "nghttp",
        package: "nghttp2-client",
    },
    Tool {
        command: "h2load",
        package: "nghttp2-client",
    },
    Tool {
        command: "nginx",
        package: "nginx",
    },
    Tool {
        command: "python3",
        package: "python3",
    },
    Tool {
        command: "node",
        package: "nodejs",
    },
    Tool {
        command: "setpriv",
        package: "util-linux",
    },
    Tool {
        command: "named",
        package: "bind9",
    },
    Tool {
        command: "openssl",
        package: "openssl",
    },
    Tool {
        command: "fcgiwrap",
        package: "fcgiwrap",
    },
    Tool {
        command: "skopeo",
        package: "skopeo",
    },
    Tool {
        command: "docker-registry",
        package: "docker-registry",
    },
    Tool {
        command: "containerd",
        package: "containerd",
    },
    Tool {
        command: "strace",
        package: "strace",
    },
];

/// What counts instructions.
pub(crate) const CALLGRIND: &[Tool] = &[Tool {
    command: "callgrind_control",
    package: "valgrind",
}];

/// What the bench cannot do without: its loads and its backend.
pub(crate) const LOADS: &[Tool] = &[
    Tool {
        command: "wrk",
        package: "wrk",
    },
    Tool {
        command: "h2load",
        package: "nghttp2-client",
    },
    Tool {
        command: "nginx",
        package: "nginx-light",
    },
    Tool {
        command: "taskset",
        package: "util-linux",
    },
];

/// What Narthex is measured against; the bench does without one that is missing.
pub(crate) const PEERS: &[Tool] = &[
    Tool {
        command: "haproxy",
        package: "haproxy",
    },
    Tool {
        command: "/usr/lib/nginx/modules/ngx_stream_module.so",
        package: "libnginx-mod-stream",
    },
];

/// What programs of the tests are built with.
pub(crate) const GO: &[Tool] = &[Tool {
    command: "go",
    package: "golang-go",
}];

/// What installs programs of Node's.
const NPM: &[Tool] = &[
    Tool {
        command: "node",
        package: "nodejs",
    },
    Tool {
        command: "npm",
        package: "npm",
    },
];

/// What the cluster rig is built with and runs.
pub(crate) const CLUSTER: &[Tool] = &[
    Tool {
        command: "go",
        package: "golang-go",
    },
    Tool {
        command: "nft",
        package: "nftables",
    },
    Tool {
        command: "ip",
        package: "iproute2",
    },
    Tool {
        command: "nsenter",
        package: "util-linux",
    },
    Tool {
        command: "curl",
        package: "curl",
    },
    Tool {
        command: "python3",
        package: "python3",
    },
];

/// Sees to it that all `tools` are here: installs them as root, says what is missing otherwise.
pub(crate) fn provide(tools: &[Tool]) -> Result<(), String> {
    let mut missing: Vec<_> = tools
        .iter()
        .filter(|tool| find(tool.command).is_none())
        .map(|tool| tool.package)
        .collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let by_hand = format!("Debian packages are missing: apt-get install {packages}");
    if !is_root() || find("apt-get").is_none() {
        return Err(by_hand);
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        // Services are installed and not started.
        command.env("RUNLEVEL", "1");
        command
    };
    let install = ["install", "--yes", "--no-install-recommends"];
    let installed = succeeds(apt().args(["update", "--quiet"]))?
        && succeeds(apt().args(install).args(&missing))?;
    if installed { Ok(()) } else { Err(by_hand) }
}

/// The path of a cargo-deny of the right version; built into the target folder if there is none.
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    let tools = target()?.join("tools");
    let own = tools.join("bin/cargo-deny");
    let candidates = [Some(own.clone()), find("cargo-deny")];
    if let Some(found) = candidates
        .into_iter()
        .flatten()
        .find(|path| is_wanted(path))
    {
        return Ok(found);
    }
    println!("cargo-deny {CARGO_DENY} is built beside the other kinds, this takes some minutes");
    let build = tools.join("build");
    let mut install = cargo();
    // A debug build: it runs for seconds, and builds in half the time.
    install.args([
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "cargo-deny",
        "--version",
        CARGO_DENY,
    ]);
    install
        .arg("--root")
        .arg(&tools)
        .env("CARGO_TARGET_DIR", &build);
    let (installed, said) = quietly(&mut install)?;
    // Only room on the disk is lost if this fails.
    let _ = std::fs::remove_dir_all(&build);
    if installed {
        Ok(own)
    } else {
        Err(format!("cargo-deny cannot be installed:\n{said}"))
    }
}

/// The path of h2spec; built into the target folder if it is not there.
pub(crate) fn h2spec() -> Result<PathBuf, String> {
    go_tool("h2spec", H2SPEC)
}

/// The path of crane; built into the target folder if it is not there.
pub(crate) fn crane() -> Result<PathBuf, String> {
    go_tool("crane", CRANE)
}

/// The path of versitygw; built into the target folder if it is not there.
pub(crate) fn versitygw() -> Result<PathBuf, String> {
    go_tool("versitygw", VERSITYGW)
}

/// The path of Azurite; installed into the target folder if it is not there.
pub(crate) fn azurite() -> Result<PathBuf, String> {
    let folder = target()?.join("tools/azurite");
    let path = folder.join("node_modules/.bin/azurite-blob");
    if path.is_file() {
        return Ok(path);
    }
    provide(NPM)?;
    let mut install = Command::new("npm");
    install
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-save",
            "--prefix",
        ])
        .arg(&folder)
        .arg(AZURITE);
    let (installed, said) = quietly(&mut install)?;
    if installed {
        Ok(path)
    } else {
        Err(format!("Azurite cannot be installed:\n{said}"))
    }
}

/// The path of a command of a Go module.
fn go_tool(command: &str, module: &str) -> Result<PathBuf, String> {
    let folder = target()?.join("tools/bin");
    let path = folder.join(command);
    if path.is_file() {
        return Ok(path);
    }
    provide(GO)?;
    let mut install = Command::new("go");
    install
        .args(["install", module])
        .env("GOBIN", &folder)
        .env("CGO_ENABLED", "0");
    let (installed, said) = quietly(&mut install)?;
    if installed {
        Ok(path)
    } else {
        Err(format!("{command} cannot be installed:\n{said}"))
    }
}

/// The path of the gRPC peer of the whole-program tests, built from its source beside them.
pub(crate) fn grpc_peer() -> Result<PathBuf, String> {
    let path = target()?.join("tools/bin/grpc-peer");
    provide(GO)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/program/go/grpc-peer");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&path).arg(".");
    let (built, said) = quietly(build.current_dir(source))?;
    if built {
        Ok(path)
    } else {
        Err(format!("the gRPC peer does not build:\n{said}"))
    }
}

fn is_wanted(path: &Path) -> bool {
    let said = quietly(Command::new(path).arg("--version"));
    said.is_ok_and(|(success, said)| success && said.trim().ends_with(CARGO_DENY))
}

/// Where on the PATH a command is.
fn find(command: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        // Where Debian has its daemons, which is not on everybody's path.
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join(command))
        .find(|file| file.is_file())
}

/// Whether we may install packages. The effective user id is the second of four.
pub(crate) fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
