//! Side-by-side benchmark: proxies under the same loads on the same machine in the same minutes.
//!
//! In come the built programs and the configurations in `peers/`; out go a table, a chart and a
//! folder of results. What is measured and how is in `README.md`. `cargo xtask bench` builds and
//! installs what is needed and starts this.

mod backend;
mod cases;
mod chart;
mod load;
mod machine;
mod measure;
mod peers;
mod process;
mod report;
mod results;
mod template;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::cases::Case;
use crate::measure::Plan;
use crate::peers::{Programs, Proxy};

/// What cannot be measured, in words.
type Error = String;

/// Measures proxies side by side.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench")]
struct Cli {
    /// The cases; all if none is named.
    #[arg(value_name = "CASE")]
    cases: Vec<String>,
    /// How often each proxy has its turn in a case.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Requests a second, at which latency is measured.
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// Connections of a load.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Only these proxies.
    #[arg(long, value_delimiter = ',')]
    proxies: Vec<String>,
    /// A quick look whether the bench works: two short rounds, Narthex and the floor.
    #[arg(long)]
    smoke: bool,
    /// Writes results here. [default: bench/results/<date>, nothing for --smoke]
    #[arg(long)]
    out: Option<PathBuf>,
    /// The Narthex to measure.
    #[arg(long, env = "NARTHEX_BIN")]
    narthex: PathBuf,
    /// Where peers that are no packages of the system are installed.
    #[arg(long)]
    peers: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Error> {
    let programs = Programs::find(&cli.narthex, cli.peers.as_deref())?;
    let proxies = proxies(&cli, &programs)?;
    let cases = cases(&cli)?;
    let plan = Plan {
        rounds: if cli.smoke { 2 } else { cli.rounds.max(1) },
        seconds: if cli.smoke { 0.3 } else { cli.seconds },
        rate: if cli.smoke { 200.0 } else { cli.rate },
        connections: if cli.smoke { 8 } else { cli.connections },
    };
    let mut run = results::Run::new(&plan, machine::describe(&programs, &proxies));
    for case in cases {
        println!("{}: {}", case.name, case.about);
        let mut proxies = proxies.clone();
        proxies.retain(|proxy| proxy.is_in(case));
        let outcome = measure::case(case, &proxies, &programs, &plan)?;
        println!("{}", report::case(&outcome));
        run.cases.push(outcome);
    }
    let out = match (cli.out, cli.smoke) {
        (Some(out), _) => Some(out),
        (None, true) => None,
        (None, false) => Some(root().join("results").join(machine::date())),
    };
    println!("{}", report::overview(&run));
    if let Some(out) = out {
        results::write(&run, &out)?;
    }
    match run.failures().as_slice() {
        [] => Ok(()),
        failures => Err(format!("not measured:\n{}", failures.join("\n"))),
    }
}

/// The proxies that are asked for and here. The others are named.
fn proxies(cli: &Cli, programs: &Programs) -> Result<Vec<Proxy>, Error> {
    let named = |proxy: &Proxy| match (cli.proxies.is_empty(), cli.smoke) {
        (false, _) => cli.proxies.iter().any(|name| name == proxy.name()),
        (true, true) => matches!(proxy, Proxy::Floor | Proxy::Narthex | Proxy::Annotated),
        (true, false) => true,
    };
    if let Some(odd) = cli.proxies.iter().find(|name| Proxy::parse(name).is_none()) {
        return Err(format!("there is no proxy `{odd}`"));
    }
    let (here, missing): (Vec<_>, Vec<_>) = Proxy::ALL
        .into_iter()
        .filter(named)
        .partition(|proxy| programs.path(*proxy).is_some());
    for proxy in missing {
        eprintln!("\n*** {} IS MISSING and left out ***\n", proxy.name());
    }
    Ok(here)
}

/// The cases that are asked for.
fn cases(cli: &Cli) -> Result<Vec<&'static Case>, Error> {
    if cli.cases.is_empty() {
        let wanted = |case: &&Case| !cli.smoke || case.smoke;
        return Ok(cases::ALL.iter().filter(wanted).collect());
    }
    let find = |name: &String| {
        let found = cases::ALL.iter().find(|case| case.name == name);
        found.ok_or_else(|| format!("there is no case `{name}`; there are: {}", cases::names()))
    };
    cli.cases.iter().map(find).collect()
}

/// The folder of this crate, which has the configurations and the results.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
