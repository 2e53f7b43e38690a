//! `cargo xtask audit tls`: what others' tools say of TLS at the front, testssl.sh and sslyze.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checks::release_binary;
use crate::process::{quietly, succeeds, target};
use crate::tools::{self, Tool};

/// The version whose answers are read here.
const SSLYZE: &str = "sslyze==6.3.1";

const TOOLS: &[Tool] = &[
    Tool::new("testssl", "testssl.sh"),
    Tool::new("python3", "python3"),
    Tool::new("/usr/share/doc/python3-venv/README.Debian", "python3-venv"),
];

/// What testssl.sh may say above LOW, each with why. Nothing that is a test CA's is among what is
/// asked for: protocols, ciphers, forward secrecy, the server's preferences and vulnerabilities.
const ACCEPTED: &[(&str, &str)] = &[];

/// How long the program may take to open its port.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs one of the words after `cargo xtask audit`.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, String> {
    let ["tls"] = words else {
        return Err("audit tls".to_owned());
    };
    tools::provide(TOOLS)?;
    let folder = target()?.join("audit");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let sslyze = sslyze(&folder)?;
    // One that is built already, as with the tests.
    let given = std::env::var_os("NARTHEX_BIN").map(PathBuf::from);
    let binary = given.map_or_else(release_binary, Ok)?;
    let served = Served::start(&binary)?;
    let address = format!("127.0.0.1:{}", served.https);
    let mut findings = of_testssl(&address, &folder.join("testssl.json"))?;
    findings.extend(of_sslyze(&sslyze, &address, &folder.join("sslyze.json"))?);
    drop(served);
    for finding in &findings {
        println!("{finding}");
    }
    println!("{} findings above LOW", findings.len());
    Ok(match findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The example that Narthex comes with, over TLS; ends when dropped.
struct Served {
    child: Child,
    https: u16,
}

impl Served {
    fn start(binary: &Path) -> Result<Self, String> {
        let [http, https, admin] = free_ports()?;
        let child = Command::new(binary)
            .args(["quickstart", "--http-port", &http.to_string()])
            .args(["--https-port", &https.to_string()])
            .args(["--admin-address", &format!("127.0.0.1:{admin}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.map_err(|error| format!("{}: {error}", binary.display()))?;
        let mut served = Self { child, https };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", https)).is_err() {
            let ended = served.child.try_wait().is_ok_and(|status| status.is_some());
            if ended || Instant::now() > until {
                return Err("the quickstart does not serve".to_owned());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(served)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_ports() -> Result<[u16; 3], String> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).map_err(|error| error.to_string());
    // Held together, so that no two are the same.
    let held = [bind()?, bind()?, bind()?];
    let mut ports = [0; 3];
    for (port, socket) in ports.iter_mut().zip(&held) {
        *port = socket
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
    }
    Ok(ports)
}

/// The path of sslyze, in an environment of its own below the target folder.
fn sslyze(folder: &Path) -> Result<PathBuf, String> {
    let environment = folder.join("venv");
    let path = environment.join("bin/sslyze");
    let pip = environment.join("bin/pip");
    let (_, known) = quietly(Command::new(&pip).args(["freeze"])).unwrap_or_default();
    if path.is_file() && known.lines().any(|line| line == SSLYZE) {
        return Ok(path);
    }
    let made = succeeds(
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(&environment),
    )? && succeeds(Command::new(&pip).args(["install", "--quiet", SSLYZE]))?;
    match made {
        true => Ok(path),
        false => Err(format!("{SSLYZE} cannot be installed")),
    }
}

fn of_testssl(address: &str, out: &Path) -> Result<Vec<String>, String> {
    // What is there is not written over.
    let _ = std::fs::remove_file(out);
    let mut command = Command::new("testssl");
    command
        .args([
            "--quiet",
            "--warnings",
            "off",
            "--color",
            "0",
            "--ip",
            "one",
        ])
        .args(["-p", "-s", "-f", "-P", "-U", "--jsonfile"])
        .arg(out)
        .arg(address);
    // Its status counts findings.
    succeeds(&mut command)?;
    let said = json(out)?;
    let all: Vec<_> = said.as_array().into_iter().flatten().collect();
    for asked in [
        "TLS1_3",
        "cipherlist_STRONG",
        "cipher_order",
        "heartbleed",
        "ROBOT",
    ] {
        if !all.iter().any(|one| one["id"] == asked) {
            return Err(format!("testssl.sh has not looked at {asked}"));
        }
    }
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let found = all.into_iter().filter(|one| {
        let harmless = ["OK", "INFO", "LOW", "DEBUG"].contains(&&*text(one, "severity"));
        !harmless && !ACCEPTED.iter().any(|(id, _)| one["id"] == *id)
    });
    Ok(found
        .map(|one| {
            let [id, severity, finding] = ["id", "severity", "finding"].map(|key| text(one, key));
            format!("testssl.sh: {severity} {id}: {finding}")
        })
        .collect())
}

/// Each scan, where in its result it stands, and what is right.
type Scan = (&'static str, &'static str, fn(&Value) -> bool);

/// All that is asked for.
const SCANS: &[Scan] = &[
    ("ssl_2_0_cipher_suites", "accepted_cipher_suites", is_empty),
    ("ssl_3_0_cipher_suites", "accepted_cipher_suites", is_empty),
    ("tls_1_0_cipher_suites", "accepted_cipher_suites", is_empty),
    ("tls_1_1_cipher_suites", "accepted_cipher_suites", is_empty),
    ("tls_1_2_cipher_suites", "accepted_cipher_suites", is_any),
    ("tls_1_3_cipher_suites", "accepted_cipher_suites", is_any),
    ("tls_compression", "supports_compression", is_false),
    ("tls_1_3_early_data", "supports_early_data", is_false),
    (
        "openssl_ccs_injection",
        "is_vulnerable_to_ccs_injection",
        is_false,
    ),
    ("heartbleed", "is_vulnerable_to_heartbleed", is_false),
    ("robot", "robot_result", is_no_robot),
    (
        "session_renegotiation",
        "is_vulnerable_to_client_renegotiation_dos",
        is_false,
    ),
    (
        "session_renegotiation",
        "supports_secure_renegotiation",
        is_true,
    ),
    (
        "tls_extended_master_secret",
        "supports_ems_extension",
        is_true,
    ),
];

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_any(value: &Value) -> bool {
    value.as_array().is_some_and(|all| !all.is_empty())
}

fn is_false(value: &Value) -> bool {
    *value == false
}

fn is_true(value: &Value) -> bool {
    *value == true
}

fn is_no_robot(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.starts_with("NOT_VULNERABLE")
}

fn of_sslyze(sslyze: &Path, address: &str, out: &Path) -> Result<Vec<String>, String> {
    let mut command = Command::new(sslyze);
    command
        .args([
            "--sslv2",
            "--sslv3",
            "--tlsv1",
            "--tlsv1_1",
            "--tlsv1_2",
            "--tlsv1_3",
        ])
        .args([
            "--compression",
            "--early_data",
            "--openssl_ccs",
            "--heartbleed",
        ])
        .args(["--robot", "--reneg", "--ems", "--mozilla_config", "disable"])
        .arg(format!("--json_out={}", out.display()))
        .arg(address);
    let (ran, said) = quietly(&mut command)?;
    if !ran {
        return Err(format!("sslyze:\n{said}"));
    }
    let said = json(out)?;
    let scans = &said["server_scan_results"][0]["scan_result"];
    let found = SCANS.iter().filter_map(|(scan, field, is_right)| {
        let result = &scans[scan];
        let value = &result["result"][field];
        // What was not looked at is a finding, too.
        let right = result["status"] == "COMPLETED" && is_right(value);
        (!right).then(|| format!("sslyze: {scan}: {field} is {value} ({})", result["status"]))
    });
    Ok(found.collect())
}

fn json(path: &Path) -> Result<Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_never_right() {
        for (scan, field, is_right) in SCANS {
            assert!(!is_right(&Value::Null), "{scan} {field}");
        }
    }
}
