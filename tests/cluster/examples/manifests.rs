//! `cargo xtask manifests`: makes `deploy/manifests` from the chart.

use std::process::ExitCode;

use cluster_tests::chart::{MANIFESTS, manifest, manifests};

fn main() -> ExitCode {
    for (name, values) in MANIFESTS {
        let path = manifests().join(name);
        let made = manifest(values);
        let written = made.and_then(|text| {
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        });
        if let Err(error) = written {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
        println!("deploy/manifests/{name}");
    }
    ExitCode::SUCCESS
}
