//! `cargo xtask bench gateway`: thousands of routes at one Gateway of a real cluster.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use cluster_tests::Cluster;
use cluster_tests::crowd::Crowd;

/// As gateway-api-bench has them.
const ATTACHED: usize = 1_000;
const ROUTES: usize = 3_000;
const PROBES: usize = 100;
const CHANGES: usize = 20;

/// Namespaces, ListenerSets in each, and routes of each.
const SETS: [usize; 3] = [50, 50, 16];

const PARTS: [&str; 4] = ["attached", "propagation", "change", "listener-sets"];

fn main() -> ExitCode {
    let named: Vec<_> = std::env::args().skip(1).collect();
    if let Some(odd) = named.iter().find(|name| !PARTS.contains(&name.as_str())) {
        eprintln!("there is no part {odd}; there are {}", PARTS.join(", "));
        return ExitCode::from(2);
    }
    let cluster = Cluster::start();
    let crowd = Crowd::start(&cluster);
    let mut failed = 0;
    for part in PARTS {
        if !named.is_empty() && !named.iter().any(|name| name == part) {
            continue;
        }
        let run = AssertUnwindSafe(|| match part {
            "attached" => crowd.attached(ATTACHED),
            "propagation" => crowd.propagation(ROUTES, PROBES),
            "change" => crowd.change(CHANGES),
            _ => crowd.listener_sets(SETS[0], SETS[1], SETS[2]),
        });
        match catch_unwind(run) {
            Ok(figures) => println!("{part}: {figures}"),
            Err(_) => {
                failed += 1;
                println!("{part}: FAILED");
            }
        }
    }
    ExitCode::from(u8::from(failed > 0))
}
