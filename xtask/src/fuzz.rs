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
    in_registry(
        "registry-routes",
        "crates/registry/src/serve",
        "serve::fuzz::routes",
    ),
    in_registry(
        "registry-ranges",
        "crates/registry/src/serve",
        "serve::fuzz::ranges",
    ),
    in_registry(
        "registry-media-types",
        "crates/registry/src/serve",
        "serve::fuzz::media_types",
    ),
    in_registry(
        "registry-names",
        "crates/registry/src/store",
        "store::fuzz::names",
    ),
    in_registry(
        "registry-digests",
        "crates/registry/src/store",
        "store::fuzz::digests",
    ),
    in_registry(
        "registry-manifests",
        "crates/registry/src/store",
        "store::fuzz::manifests",
    ),
    in_registry(
        "registry-authorizations",
        "crates/registry/src/access",
        "access::fuzz::authorizations",
    ),
    in_registry(
        "registry-tokens",
        "crates/registry/src/access",
        "access::fuzz::tokens",
    ),
    in_registry(
        "registry-patterns",
        "crates/registry/src/access",
        "access::fuzz::patterns",
    ),
    in_registry(
        "registry-access-files",
        "crates/registry/src/access",
        "access::fuzz::access_files",
    ),
    in_registry(
        "registry-places",
        "crates/registry/src/access",
        "access::fuzz::places",
    ),
    in_registry(
        "registry-challenges",
        "crates/registry/src/client",
        "client::fuzz::challenges_of_registries",
    ),
    in_registry(
        "registry-links",
        "crates/registry/src/client",
        "client::fuzz::links",
    ),
    in_registry(
        "registry-urls",
        "crates/registry/src/client",
        "client::fuzz::urls",
    ),
    in_registry(
        "registry-answers",
        "crates/registry/src/client",
        "client::fuzz::answers",
    ),
    in_registry(
        "image-lists",
        "crates/registry/src/list",
        "list::fuzz::lists",
    ),
    in_registry(
        "image-references",
        "crates/registry/src/list",
        "list::fuzz::references",
    ),
    in_registry(
        "semver-ranges",
        "crates/registry/src/list",
        "list::fuzz::semver_ranges",
    ),
    in_registry(
        "platforms",
        "crates/registry/src/list",
        "list::fuzz::platforms",
    ),
    in_registry(
        "image-needs",
        "crates/registry/src/list",
        "list::fuzz::needs_of_objects",
    ),
    in_registry(
        "tar-files",
        "crates/registry/src/sync",
        "sync::fuzz::tar_files",
    ),
    in_registry(
        "image-archives",
        "crates/registry/src/sync",
        "sync::fuzz::archives",
    ),
    in_registry(
        "image-indexes",
        "crates/registry/src/sync",
        "sync::fuzz::indexes",
    ),
    in_registry(
        "docker-configs",
        "crates/registry/src/creds",
        "creds::fuzz::docker_configs",
    ),
    in_registry(
        "credential-answers",
        "crates/registry/src/creds",
        "creds::fuzz::providers",
    ),
    in_registry(
        "credential-documents",
        "crates/registry/src/creds",
        "creds::fuzz::documents",
    ),
];

const fn in_registry(name: &'static str, folder: &'static str, test: &'static str) -> Target {
    Target {
        name,
        package: "narthex-registry",
        folder,
        test,
    }
}

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
        // What is new goes to the first folder; the committed seeds stay as they are. Seeds that are
        // in the code, the target itself puts into the first one.
        let corpus = Some(self.inputs("corpus")).filter(|it| it.is_dir());
        let folders = [&grown].into_iter().chain(&corpus).chain([&crashes]);
        let folders: Vec<_> = folders.map(|it| it.display().to_string()).collect();
        let arguments = format!(
            "{} -artifact_prefix={}/ -max_total_time={seconds} -max_len={MAX_LEN} \
             -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1",
            folders.join(" "),
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
            .env("BOLERO_LIBFUZZER_ARGS", arguments)
            .env("NARTHEX_FUZZ_SEEDS", &grown);
        let clean = succeeds(&mut command)?;
        // Git keeps no empty folders, and nor do we.
        for folder in crashes.ancestors().take(3) {
            let _ = std::fs::remove_dir(folder);
        }
        Ok(clean)
    }

    fn inputs(&self, kind: &str) -> PathBuf {
        let folder = self.test.replace("::", "__");
        let inputs = Path::new(self.folder).join("__fuzz__").join(folder);
        root().join(inputs).join(kind)
    }
}
