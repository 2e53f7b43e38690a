//! Everything that people do here. `cargo xtask help` lists it.

mod acme;
mod audit;
mod bench;
mod checks;
mod cluster;
mod conformance;
mod fuzz;
mod process;
mod tally;
mod test;
mod tools;

use std::process::ExitCode;

use test::Kind;

const HELP: &str = "\
cargo xtask help                          this list
cargo xtask test [KIND…] [--skip KIND]…   run the tests: all kinds, or the ones named
                                            lint     formatting and clippy
                                            deny     licences, sources and duplicates of dependencies
                                            unit     unit, property and documentation tests
                                            program  the built binary, over real sockets
                                            h2spec   HTTP/2's conformance suite
                                            instructions  what a request costs, under callgrind
                                            cluster  a real Kubernetes (tests/cluster/README.md)
                                            conformance  Gateway API's own suite (tests/conformance/README.md)
cargo xtask lint                          formatting, clippy and cargo-deny, nothing run
cargo xtask instructions [--accept]       the counts beside those accepted; or accept them
cargo xtask cluster up [--name NAME] [--nodes N]  a Kubernetes on this machine, pods as processes
cargo xtask cluster down [NAME]           ends it; `list` names those there are
cargo xtask cluster exec NAME -- COMMAND  runs a command in its network; `build` only builds
cargo xtask acme up                       an ACME server to try things with; `build` only builds
cargo xtask audit tls                     testssl.sh and sslyze against the quickstart
cargo xtask conformance [OPTION]…         Gateway API's suite and its report: tests/conformance/report.yaml
                                            --run NAME,…      only these tests
                                            --profile NAME,…  only the tests of GATEWAY-HTTP, -GRPC, -TLS, -TCP, -UDP
                                            --keep            leave the cluster up, and use it if it is up
                                            --debug           a debug build of Narthex
                                            --patience N      wait N seconds for a status, not the suite's one to three minutes
                                            --parallel N      so many tests at once, of those that allow it (4)
                                            --set-up          the suite's base objects, and no test
                                            --dedicated       each Gateway with a Deployment of its own
                                            --accept          list the suite's tests in tests/conformance/README.md
cargo xtask manifests                     makes deploy/manifests from the Helm chart
cargo xtask soak [PART…]                  what takes too long for every change: download, upload (10 GiB),
                                            routes (40,000 in files), cluster (40,000 in a cluster),
                                            outage (10 minutes), faults, registry-blob (1 GiB)
cargo xtask fuzz [TARGET…] [--seconds N]  fuzz the parsers, guided by coverage: 60 seconds each, or N
cargo xtask bench [CASE…] [OPTION]…       Narthex beside nginx, HAProxy, Envoy and Caddy (bench/README.md)
                                            keepalive, body-16k, body-1m, post, no-keepalive,
                                            tls-keepalive, tls-handshake, tls-resume, h2, h2-tls, h2-h2c, grpc,
                                            routes-5000, log-on, idle-1000, idle-10000, websocket,
                                            tcp, tcp-connect, tcp-1m
                                            propagation  from a cluster's event to the socket, alone
                                            gateway [attached|propagation|change|listener-sets]  thousands of routes at a Gateway
                                            --smoke    20 seconds: does the bench itself work?
                                            --rounds N, --seconds S, --proxies A,B, --out DIR: see --help
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        [command, rest @ ..] if asks_for_help(rest) && !help_of(command).is_empty() => {
            print!("{}", help_of(command));
            ExitCode::SUCCESS
        }
        ["test", rest @ ..] => match kinds(rest) {
            Ok((kinds, skipped)) => test::run(&kinds, &skipped),
            Err(error) => usage(&error),
        },
        ["instructions"] => test::run(&[Kind::Instructions], &[]),
        ["instructions", "--accept"] => test::accept_instructions(),
        ["soak", parts @ ..] => test::soak(parts),
        ["fuzz", rest @ ..] => fuzz::run(rest).unwrap_or_else(|error| usage(&error)),
        ["bench", rest @ ..] => bench::run(rest),
        ["cluster", rest @ ..] => cluster::run(rest).unwrap_or_else(|error| failed(&error)),
        ["audit", rest @ ..] => audit::run(rest).unwrap_or_else(|error| failed(&error)),
        ["acme", rest @ ..] => acme::run(rest).unwrap_or_else(|error| failed(&error)),
        ["conformance", rest @ ..] => conformance::run(rest).unwrap_or_else(|error| failed(&error)),
        ["manifests"] => cluster::manifests().unwrap_or_else(|error| failed(&error)),
        ["lint"] => test::run(&[Kind::Lint, Kind::Deny], &[]),
        [other, ..] => usage(&format!("there is no `{other}` with these arguments")),
    }
}

/// Whether these words of a command ask what it does. What follows `--` is another command's.
fn asks_for_help(words: &[&str]) -> bool {
    let mut own = words.iter().take_while(|word| **word != "--");
    own.any(|word| ["--help", "-h"].contains(word))
}

/// The part of the help that is about a command; nothing of one that has help of its own.
fn help_of(command: &str) -> String {
    let mut is_its = false;
    let lines = HELP.lines().filter(|line| {
        if let Some(known) = line.strip_prefix("cargo xtask ") {
            is_its = known.split_whitespace().next() == Some(command);
        }
        is_its
    });
    match command {
        "bench" => String::new(),
        _ => lines.flat_map(|line| [line, "\n"]).collect(),
    }
}

fn failed(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn usage(error: &str) -> ExitCode {
    eprint!("{error}\n\n{HELP}");
    ExitCode::from(2)
}

/// The kinds to run and the kinds to skip.
fn kinds(words: &[&str]) -> Result<(Vec<Kind>, Vec<Kind>), String> {
    let (mut named, mut skipped) = (Vec::new(), Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--skip" {
            skipped.push(Kind::parse(words.next().ok_or("--skip needs a kind")?)?);
        } else if let Some(kind) = word.strip_prefix("--skip=") {
            skipped.push(Kind::parse(kind)?);
        } else {
            named.push(Kind::parse(word)?);
        }
    }
    if named.is_empty() {
        named.extend(Kind::ALL);
    }
    Ok((named, skipped))
}

#[cfg(test)]
mod tests {
    use super::{asks_for_help, help_of};

    #[test]
    fn a_command_that_is_asked_for_help_runs_nothing() {
        assert!(asks_for_help(&["--profile", "GATEWAY-TCP", "--help"]));
        assert!(!asks_for_help(&["exec", "a", "--", "kubectl", "--help"]));
        let help = help_of("conformance");
        assert!(help.starts_with("cargo xtask conformance "), "{help}");
        assert!(
            help.contains("--profile") && !help.contains("manifests"),
            "{help}"
        );
        assert_eq!((help_of("bench"), help_of("nothing")), Default::default());
    }
}
