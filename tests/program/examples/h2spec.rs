//! h2spec against the program, over TLS and over cleartext with prior knowledge.
//!
//! `cargo xtask test h2spec` installs h2spec and runs this. `H2SPEC` is h2spec's path; what it
//! prints is passed on, with a line at the end that counts as cargo's tests do.

use std::ffi::OsStr;
use std::process::{Command, ExitCode, Stdio};

use program_tests::certificate::Authority;
use program_tests::{Backend, Folder, Ingress, Narthex, class, secret, service};

fn main() -> ExitCode {
    let Some(tool) = std::env::var_os("H2SPEC") else {
        eprintln!("H2SPEC is not set: run `cargo xtask test h2spec`");
        return ExitCode::from(2);
    };
    let web = Backend::named("web");
    let certificate = Authority::new().ecdsa(&["localhost"]);
    // h2spec names no host that a rule could have.
    let ingress = Ingress::named("web")
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false")
        .any_host()
        .prefix("/", "web");
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("web-tls", &certificate),
        ingress.yaml(),
    ]);
    let narthex = Narthex::on(&folder)
        .args(&["--default-ssl-certificate", "default/web-tls"])
        .start();
    let tls = run(&tool, narthex.https, &["--tls", "--insecure"], &[]);
    let cleartext = run(&tool, narthex.http, &[], EXPLAINED_OVER_CLEARTEXT);
    let count = |pick: fn(&Counted) -> usize| pick(&tls) + pick(&cleartext);
    let failed = count(|counted| counted.failed);
    println!(
        "test result: {}. {} passed; {failed} failed; {} ignored;",
        if failed == 0 { "ok" } else { "FAILED" },
        count(|counted| counted.passed),
        count(|counted| counted.explained),
    );
    ExitCode::from(u8::from(failed > 0))
}

/// What a port that speaks HTTP/1 as well answers otherwise: bytes that do not begin HTTP/2 are an
/// HTTP/1 request, and this one is answered with 400 before the connection ends.
const EXPLAINED_OVER_CLEARTEXT: &[&str] = &["2: Sends invalid connection preface"];

#[derive(Default)]
struct Counted {
    passed: usize,
    failed: usize,
    explained: usize,
}

fn run(tool: &OsStr, port: u16, over: &[&str], explained: &[&str]) -> Counted {
    let mut command = Command::new(tool);
    command.args(["--host", "127.0.0.1", "--timeout", "5", "--port"]);
    command.arg(port.to_string()).args(over);
    let output = command.stdin(Stdio::null()).output().expect("h2spec runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("h2spec {over:?}\n{text}");
    let mut counted = Counted::default();
    // The failures are listed again behind this line.
    let run = text.split("\nFailures:").next().unwrap_or_default();
    for line in run.lines() {
        // A progress mark may stand before the final one on the same line.
        let of = |mark: char| line.rsplit_once(mark).map(|(_, case)| case.trim());
        if of('✔').is_some() {
            counted.passed += 1;
        } else if let Some(case) = of('×') {
            if explained.contains(&case) {
                counted.explained += 1;
            } else {
                counted.failed += 1;
            }
        }
    }
    if counted.passed < 100 {
        println!("h2spec ran {} cases only", counted.passed);
        counted.failed += 1;
    }
    counted
}
