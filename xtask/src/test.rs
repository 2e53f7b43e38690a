//! `cargo xtask test`: the kinds of tests, what each may take, and how they run together.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use crate::checks;
use crate::conformance;
use crate::tally::Tally;

/// A kind of test, as people name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lint,
    Deny,
    Unit,
    Program,
    H2spec,
    Instructions,
    Cluster,
    Conformance,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Lint,
        Self::Deny,
        Self::Unit,
        Self::Program,
        Self::H2spec,
        Self::Instructions,
        Self::Cluster,
        Self::Conformance,
    ];

    pub(crate) fn parse(word: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|kind| kind.name() == word);
        found.ok_or_else(|| format!("`{word}` is no kind of test; there are: {}", known()))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Deny => "deny",
            Self::Unit => "unit",
            Self::Program => "program",
            Self::H2spec => "h2spec",
            Self::Instructions => "instructions",
            Self::Cluster => "cluster",
            Self::Conformance => "conformance",
        }
    }

    /// What it may take on two cores, builds and installations from nothing included.
    fn budget(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lint => 360,
            Self::Deny => 360,
            Self::Unit => 600,
            Self::Program => 1500,
            Self::H2spec => 300,
            Self::Instructions => 300,
            // The rig from nothing is 13 minutes of these.
            Self::Cluster => 1800,
            // The suite's program is a minute of these, the rig's is counted above.
            Self::Conformance => 900,
        })
    }

    fn run(self) -> Outcome {
        let started = Instant::now();
        let result = match self {
            Self::Lint => checks::lint(),
            Self::Deny => checks::deny(),
            Self::Unit => checks::unit(),
            Self::Program => checks::program(),
            Self::H2spec => checks::h2spec(),
            Self::Instructions => checks::instructions(&[]),
            Self::Cluster => checks::cluster(),
            Self::Conformance => conformance::all(),
        };
        Outcome {
            kind: self,
            result,
            used: started.elapsed(),
        }
    }
}

/// What came of one kind.
struct Outcome {
    kind: Kind,
    /// The error says why the kind could not be run.
    result: Result<Tally, String>,
    used: Duration,
}

/// Runs `named` but not `skipped`, then says what came of it.
pub(crate) fn run(named: &[Kind], skipped: &[Kind]) -> ExitCode {
    let wanted = |kind: &Kind| named.contains(kind) && !skipped.contains(kind);
    // deny compiles its tool in a folder of its own, so it goes on beside lint and unit. The
    // program tests measure times and memory: they have the machine to themselves.
    let deny = wanted(&Kind::Deny).then(|| thread::spawn(|| Kind::Deny.run()));
    let mut outcomes: Vec<Outcome> = [Kind::Lint, Kind::Unit]
        .into_iter()
        .filter(wanted)
        .map(Kind::run)
        .collect();
    outcomes.extend(deny.map(|thread| thread.join().expect("a kind never panics")));
    let alone = [
        Kind::Program,
        Kind::H2spec,
        Kind::Instructions,
        Kind::Cluster,
        Kind::Conformance,
    ];
    outcomes.extend(alone.into_iter().filter(wanted).map(Kind::run));
    let left_out: Vec<Kind> = skipped
        .iter()
        .filter(|kind| named.contains(kind))
        .copied()
        .collect();
    report(&outcomes, &left_out)
}

/// Accepts the instruction counts as they are now.
pub(crate) fn accept_instructions() -> ExitCode {
    ended(checks::instructions(&["--accept"]))
}

/// Runs what takes too long for every change.
pub(crate) fn soak(parts: &[&str]) -> ExitCode {
    ended(checks::soak(parts))
}

fn ended(result: Result<Tally, String>) -> ExitCode {
    match result {
        Ok(tally) if tally.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn report(outcomes: &[Outcome], left_out: &[Kind]) -> ExitCode {
    let mut total = Tally {
        skipped: left_out.len(),
        ..Tally::default()
    };
    println!("\n{:<12} {:>8} {:>8}", "kind", "planned", "used");
    for outcome in outcomes {
        let (planned, used) = (outcome.kind.budget().as_secs(), outcome.used.as_secs());
        let over = if used > planned {
            "  over its budget"
        } else {
            ""
        };
        let said = match &outcome.result {
            Ok(tally) => tally.to_string(),
            Err(error) => error.clone(),
        };
        println!(
            "{:<12} {planned:>7}s {used:>7}s  {said}{over}",
            outcome.kind.name()
        );
        match &outcome.result {
            Ok(tally) => total += *tally,
            Err(_) => total.failed += 1,
        }
    }
    for kind in left_out {
        println!("{:<12} {:>8} {:>8}  skipped, as asked", kind.name(), "", "");
    }
    println!("\n{total}");
    if total.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
