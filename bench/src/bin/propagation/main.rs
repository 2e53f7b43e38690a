//! From the event to the socket: routes are added one at a time to a cluster that has thousands,
//! and each is asked for until it answers.
//!
//! In come the built Narthex and the rig of `tests/cluster`; out go a table and `results.json`. The
//! API server is a real one. The probe has a watch, a client and a backend of its own in this
//! process, and its clock starts when its own watch tells of the new Ingress: what the API server
//! takes until it tells is no part of the figure, and is reported beside it.

mod api;
mod backend;
mod churn;
mod figures;
mod narthex;
mod objects;
mod probe;
mod report;
mod rig;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use api::Api;
use narthex::Narthex;
use probe::Phase;
use rig::{Inside, Rig};

/// What cannot be measured, in words.
type Error = String;

/// Measures how soon a change of a cluster is served, and what serving so many routes takes.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench propagation")]
struct Cli {
    /// Ingresses, each with a Service and two endpoints.
    #[arg(long, default_value_t = 5_000)]
    routes: usize,
    /// Routes that are added one at a time; in each half, with and without churn.
    #[arg(long, default_value_t = 300)]
    probes: usize,
    /// Changes of endpoints a second in the second half.
    #[arg(long, default_value_t = 100)]
    churn: u32,
    /// How often Narthex is started, for the time until it is ready.
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// How long memory may settle before it is read.
    #[arg(long, default_value_t = 30)]
    settle: u64,
    /// Writes results here.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The Narthex to measure.
    #[arg(long, env = "NARTHEX_BIN")]
    narthex: PathBuf,
    /// Where the programs of the rig are.
    #[arg(long, env = "RIG_BIN")]
    rig: PathBuf,
    /// Where the cluster is in whose network this process runs.
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

/// All that was measured.
struct Run {
    machine: serde_json::Value,
    routes: usize,
    filled: Duration,
    /// Milliseconds from the start of the process to its readiness.
    ready: Vec<f64>,
    memory: Vec<(&'static str, narthex::Memory)>,
    phases: Vec<Phase>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("propagation: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), Error> {
    let Some(folder) = &cli.inside else {
        let rig = Rig::start(&cli.rig, &cli.narthex)?;
        // What went wrong there has been said there.
        return match rig.again()? {
            true => Ok(()),
            false => Err("not measured".to_owned()),
        };
    };
    let inside = Inside::open(folder)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime: {error}"))?;
    let run = runtime.block_on(measure(cli, &inside))?;
    println!("{}", report::table(&run));
    match &cli.out {
        Some(out) => write(&run, out),
        None => Ok(()),
    }
}

async fn measure(cli: &Cli, rig: &Inside) -> Result<Run, Error> {
    let mut run = Run {
        machine: report::machine(),
        routes: cli.routes,
        filled: Duration::ZERO,
        ready: Vec::new(),
        memory: Vec::new(),
        phases: Vec::new(),
    };
    backend::start().await?;
    let api = Api::open(&rig.kubeconfig()).await?;
    println!("creating {} routes …", cli.routes);
    run.filled = objects::fill(&api, cli.routes, cli.probes).await?;
    println!("created after {:.0?}", run.filled);
    for _ in 1..cli.starts {
        let narthex = Narthex::start(&cli.narthex, rig).await?;
        run.ready.push(narthex.ready_ms);
        println!(
            "ready after {:.0} ms, {}",
            narthex.ready_ms,
            narthex.memory()?
        );
    }
    let narthex = Narthex::start(&cli.narthex, rig).await?;
    run.ready.push(narthex.ready_ms);
    let mut note = |when, narthex: &Narthex| -> Result<(), Error> {
        let memory = narthex.memory()?;
        println!("{when}: {memory}");
        run.memory.push((when, memory));
        Ok(())
    };
    note("ready", &narthex)?;
    narthex.until_status_is_written(cli.routes).await?;
    tokio::time::sleep(Duration::from_secs(cli.settle)).await;
    note("at rest, status written", &narthex)?;
    let quiet = probe::phase("no other changes", &api, &narthex, 0, cli.probes).await?;
    note("after the probes", &narthex)?;
    let churn = churn::Churn::start(api.clone(), cli.routes, cli.churn);
    let name = format!("{} endpoints change a second", cli.churn);
    let mut busy = probe::phase(&name, &api, &narthex, cli.probes, cli.probes).await?;
    busy.churn_per_second = Some(churn.end().await?);
    note("after the probes with churn", &narthex)?;
    run.phases = vec![quiet, busy];
    Ok(run)
}

fn write(run: &Run, out: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    std::fs::create_dir_all(out).map_err(failed)?;
    let json = serde_json::to_string_pretty(&report::json(run)).expect("no keys but strings");
    std::fs::write(out.join("results.json"), json + "\n").map_err(failed)?;
    std::fs::write(out.join("table.md"), report::table(run)).map_err(failed)?;
    println!("written to {}", out.display());
    Ok(())
}
