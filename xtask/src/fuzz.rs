//! `cargo xtask fuzz`: the crates' fuzz targets under libFuzzer, on the pinned stable toolchain.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::process::{cargo, root, succeeds, target};

/// A fuzz target, which is a test of its crate's library.
struct Target {
    name: &'static str,
    package: &'static str,
    /// The folder of the test's source.
    folder: &'static str,
    test: &'static str,
}

const TARGETS: &[Target] = &[
    Target {
        name: "request-heads",
        package: "narthex-proxy",
        folder: "crates/proxy/src",
        test: "fuzz::request_heads",
    },
    Target {
        name: "response-heads",
        package: "narthex-proxy",
        folder: "crates/proxy/src",
        test: "fuzz::response_heads",
    },
    Target {
        name: "chunked-bodies",
        package: "narthex-proxy",
        folder: "crates/proxy/src",
        test: "fuzz::chunked_bodies",
    },
    Target {
        name: "proxy-headers",
        package: "narthex-proxy",
        folder: "crates/proxy/src",
        test: "fuzz::proxy_headers",
    },
    Target {
        name: "client-hellos",
        package: "narthex-proxy",
        folder: "crates/proxy/src",
        test: "fuzz::client_hellos",
    },
    Target {
        name: "paths",
        package: "narthex-model",
        folder: "crates/model/src",
        test: "fuzz::paths",
    },
    Target {
        name: "hosts",
        package: "narthex-model",
        folder: "crates/model/src",
        test: "fuzz::hosts",
    },
    Target {
        name: "manifests",
        package: "narthex-objects",
        folder: "crates/objects/src/manifests",
        test: "manifests::fuzz::manifests",
    },
];

/// What has the compiler count edges and show compared values to libFuzzer. Its sanitizers would
/// need a nightly toolchain, and have little to find in code without `unsafe`.
const RUSTFLAGS: &str = "--cfg fuzzing --cfg fuzzing_libfuzzer -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-sanitizer-coverage-stack-depth";

/// Flags are for the target only, so that build scripts and macros stay as they are.
fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// The longest input.
const MAX_LEN: usize = 8 * 1024;

/// Runs the targets that `words` name, or all, for the seconds that they say.
///
/// # Errors
/// Words that are neither.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, String> {
    let (mut wanted, mut seconds) = (Vec::new(), 60u64);
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "--seconds" {
            let number = words.next().and_then(|number| number.parse().ok());
            seconds = number.ok_or("--seconds needs a number")?;
        } else {
            let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>();
            let found = TARGETS.iter().find(|target| target.name == word);
            wanted.push(found.ok_or_else(|| {
                format!(
                    "`{word}` is no fuzz target; there are: {}",
                    names().join(", ")
                )
            })?);
        }
    }
    if wanted.is_empty() {
        wanted.extend(TARGETS);
    }
    let mut failed = Vec::new();
    for target in wanted {
        println!("\n{} for {seconds} s", target.name);
        if !target.fuzz(seconds)? {
            failed.push(target.name);
        }
    }
    if failed.is_empty() {
        println!("\nnothing found");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nfound something: {}", failed.join(", "));
    println!("the inputs are in __fuzz__/…/crashes; commit them with what mends them");
    Ok(ExitCode::FAILURE)
}

impl Target {
    /// Whether nothing was found.
    fn fuzz(&self, seconds: u64) -> Result<bool, String> {
        let built = target()?.join("fuzz");
        let grown = built.join("corpus").join(self.name);
        let crashes = self.inputs("crashes");
        for folder in [&grown, &crashes] {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        // What is new goes to the first folder; the committed seeds stay as they are.
        let arguments = format!(
            "{} {} {} -artifact_prefix={}/ -max_total_time={seconds} -max_len={MAX_LEN} \
             -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1",
            grown.display(),
            self.inputs("corpus").display(),
            crashes.display(),
            crashes.display(),
        );
        let mut command = cargo();
        command
            .args(["test", "--quiet", "--profile", "fuzz", "--target"])
            .arg(triple())
            .args(["--package", self.package, "--lib", self.test])
            .args(["--", "--exact", "--nocapture", "--test-threads=1"])
            .env("CARGO_TARGET_DIR", &built)
            .env("RUSTFLAGS", RUSTFLAGS)
            .env("BOLERO_FUZZER", "libfuzzer")
            .env("BOLERO_LIBTEST_HARNESS", "1")
            .env("BOLERO_LIBFUZZER_ARGS", arguments);
        let clean = succeeds(&mut command)?;
        // Git keeps no empty folders, and nor do we.
        let _ = std::fs::remove_dir(&crashes);
        Ok(clean)
    }

    fn inputs(&self, kind: &str) -> PathBuf {
        let folder = self.test.replace("::", "__");
        let inputs = Path::new(self.folder).join("__fuzz__").join(folder);
        root().join(inputs).join(kind)
    }
}
