//! What takes too long for every change, against a real Kubernetes: `cargo xtask soak [PART…]`.
//!
//! Each part prints its figures and fails where one is beyond what is promised.

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cluster_tests::Cluster;
use cluster_tests::outage::outage;
use cluster_tests::storm::{storm, storm_with_wipe};

/// The name of a part, and what it does.
type Part = (&'static str, fn());

const PARTS: &[Part] = &[("outage", ten_minutes), ("faults", many_seeds)];

/// How long changes and faults go on.
const FAULTS: Duration = Duration::from_secs(15 * 60);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, part) in PARTS {
        if !wanted.is_empty() && !wanted.iter().any(|word| word == name) {
            continue;
        }
        println!("{name} …");
        let started = Instant::now();
        // What went wrong has been printed by then.
        let word = match catch_unwind(part) {
            Ok(()) => {
                passed += 1;
                "ok"
            }
            Err(_) => {
                failed += 1;
                "FAILED"
            }
        };
        println!("{name} {word} in {:.0?}", started.elapsed());
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored;");
    ExitCode::from(u8::from(failed > 0))
}

/// Ten minutes without an API server.
fn ten_minutes() {
    println!("{}", outage(Duration::from_secs(600)));
}

/// Changes and faults with one seed after the other; `NARTHEX_SEED` is the first.
fn many_seeds() {
    let given = std::env::var("NARTHEX_SEED").ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let first = match given {
        Some(seed) => seed.parse().expect("a number"),
        None => now.unwrap_or_default().as_secs(),
    };
    let begun = Instant::now();
    let cluster = Cluster::start();
    for seed in first.. {
        let namespace = match seed % 4 {
            0 => {
                println!("{}", storm_with_wipe(&cluster, seed, 5));
                format!("wiped-{seed}")
            }
            _ => {
                println!("{}", storm(&cluster, seed, 15));
                format!("storm-{seed}")
            }
        };
        // The next one's hosts are the same, and an older Ingress keeps them.
        cluster.delete(&["namespace", &namespace]);
        if begun.elapsed() > FAULTS {
            return;
        }
    }
}
