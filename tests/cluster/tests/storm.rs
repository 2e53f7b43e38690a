//! Changes and faults in any order: in the end, what is served is what a fresh start finds.
//!
//! `NARTHEX_SEED=N` repeats one; more of them, and longer: `cargo xtask soak faults`.

use cluster_tests::Cluster;
use cluster_tests::storm::{storm, storm_with_wipe};

fn seed(otherwise: u64) -> u64 {
    let given = std::env::var("NARTHEX_SEED").ok();
    given.map_or(otherwise, |seed| seed.parse().expect("a number"))
}

#[test]
fn after_changes_and_faults_what_is_served_is_what_a_fresh_start_finds() {
    println!("{}", storm(&Cluster::start(), seed(1), 7));
}

#[test]
fn after_all_data_was_lost_under_changes_and_faults_what_is_served_is_what_there_is() {
    println!("{}", storm_with_wipe(&Cluster::start(), seed(2), 3));
}
