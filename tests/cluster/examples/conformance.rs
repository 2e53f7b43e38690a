//! `cargo xtask conformance`: Gateway API's conformance suite against a real Kubernetes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cluster_tests::chart::root;
use cluster_tests::conformance::{Content, Options, run};

fn main() -> ExitCode {
    match conform() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn conform() -> Result<bool, String> {
    let (options, accept) = options()?;
    let content = Content::of_suite()?;
    if accept {
        return write_table(&content).map(|()| true);
    }
    let known = table_is_current(&content)?;
    let (results, well) = run(&content, &options)?;
    let count = results.count(content.of_gateways());
    let well = well && known;
    println!("logs and report: {}", options.into.display());
    println!(
        "test result: {}. {} passed; {} failed; {} ignored; of {}",
        if well { "ok" } else { "FAILED" },
        count.passed,
        // What did not run where all was wanted, and what is missing, fails too.
        count.failed + usize::from(!well && count.failed == 0),
        count.skipped,
        content.version,
    );
    Ok(well)
}

/// The words after the example's name; `cargo xtask help` explains them.
fn options() -> Result<(Options, bool), String> {
    let mut options = Options {
        tests: Vec::new(),
        profiles: Vec::new(),
        folder: None,
        into: PathBuf::from("target/conformance"),
        patience: None,
        parallel: 4,
        dedicated: false,
        set_up: false,
    };
    let mut accept = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{word} {text}: a number"));
        match word.as_str() {
            "--run" => options.tests.extend(value()?.split(',').map(str::to_owned)),
            "--profile" => options
                .profiles
                .extend(value()?.split(',').map(str::to_owned)),
            "--cluster" => options.folder = Some(value()?.into()),
            "--into" => options.into = value()?.into(),
            "--patience" => options.patience = Some(number(value()?)?),
            "--parallel" => options.parallel = number(value()?)?,
            "--dedicated" => options.dedicated = true,
            "--set-up" => options.set_up = true,
            "--accept" => accept = true,
            _ => return Err(format!("conformance has no {word}; see `cargo xtask help`")),
        }
    }
    Ok((options, accept))
}

/// Where the list of all tests is for people to read.
fn readme() -> PathBuf {
    root().join("tests/conformance/README.md")
}

const BEGIN: &str = "<!-- The suite's own list: cargo xtask conformance --accept -->\n\n";

fn parts(path: &Path) -> Result<(String, String), String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    let (head, table) = text
        .split_once(BEGIN)
        .ok_or_else(|| format!("{} has no list", path.display()))?;
    Ok((head.to_owned(), table.to_owned()))
}

fn write_table(content: &Content) -> Result<(), String> {
    let path = readme();
    let (head, _) = parts(&path)?;
    std::fs::write(&path, head + BEGIN + &content.table())
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// A test that is new or gone is seen by people before it counts.
fn table_is_current(content: &Content) -> Result<bool, String> {
    let path = readme();
    let (_, table) = parts(&path)?;
    let current = table == content.table();
    if !current {
        println!(
            "{} lists other tests than {} of the suite has: `cargo xtask conformance --accept`, and look at the difference",
            path.display(),
            content.version
        );
    }
    Ok(current)
}
