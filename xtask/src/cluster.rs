//! `cargo xtask cluster`: a Kubernetes on this machine, from `tests/cluster/rig`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::acme;
use crate::process::{cargo, quietly, root, succeeds, target};
use crate::tools;

/// The version that the parts of the control plane say they are.
const VERSION: &str = "v1.36.3";

/// About how many packages a build from nothing compiles.
const PACKAGES: usize = 2_800;
const HELM_PACKAGES: usize = 1_300;

/// Runs one of the words after `cargo xtask cluster`.
pub(crate) fn run(words: &[&str]) -> Result<ExitCode, String> {
    match words {
        ["build"] => {
            let bin = build()?;
            build_helm()?;
            acme::build()?;
            println!("{}", bin.display());
        }
        ["up", rest @ ..] => up(rest)?,
        ["down", rest @ ..] => down(&name(rest)?)?,
        ["list"] => list()?,
        ["exec", name, "--", command @ ..] if !command.is_empty() => return exec(name, command),
        _ => {
            return Err("cluster build, up, down, list, or exec NAME -- COMMAND".to_owned());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the rig and gives the folder of its programs. What is up to date is Go's to know.
pub(crate) fn build() -> Result<PathBuf, String> {
    tools::provide(tools::CLUSTER)?;
    let bin = folder()?.join("bin");
    std::fs::create_dir_all(&bin).map_err(|error| format!("{}: {error}", bin.display()))?;
    let version = format!("-s -w -X k8s.io/component-base/version.gitVersion={VERSION}");
    let arguments = ["-ldflags", &version, "-o"];
    let what = [
        "./cmd/...",
        "sigs.k8s.io/gateway-api/conformance/echo-basic",
    ];
    let mut go = go("rig");
    go.arg("build")
        .arg("-v")
        .args(arguments)
        .arg(&bin)
        .args(what);
    followed(&mut go, "the cluster rig", PACKAGES)?;
    link(Path::new("kube"), &bin.join("kubectl"))?;
    // The kinds of Gateway API are files of its module.
    let mut list = self::go("rig");
    list.args(["list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api"]);
    match quietly(&mut list)? {
        (true, folder) => link(Path::new(folder.trim()), &bin.join("gateway-api"))?,
        (false, said) => return Err(format!("Gateway API's module: {said}")),
    }
    Ok(bin)
}

/// Builds Gateway API's conformance suite beside the rig.
pub(crate) fn build_suite() -> Result<(), String> {
    let mut go = go("rig");
    go.args(["test", "-c", "-o"])
        .arg(folder()?.join("bin/conformance.test"))
        .arg("./conformance");
    match quietly(&mut go)? {
        (true, _) => Ok(()),
        (false, said) => Err(format!("the conformance suite does not build:\n{said}")),
    }
}

fn link(to: &Path, at: &Path) -> Result<(), String> {
    if std::fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    // What an older release left, or nothing.
    let _ = std::fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).map_err(|error| format!("{}: {error}", at.display()))
}

/// Builds helm beside the rig; its module is its own, as it wants other versions of Kubernetes.
pub(crate) fn build_helm() -> Result<PathBuf, String> {
    let helm = folder()?.join("bin/helm");
    let mut go = go("helm");
    go.args(["build", "-v", "-o"]).arg(&helm);
    followed(go.arg("helm.sh/helm/v3/cmd/helm"), "helm", HELM_PACKAGES)?;
    Ok(helm)
}

/// Renders the chart into `deploy/manifests`.
pub(crate) fn manifests() -> Result<ExitCode, String> {
    build_helm()?;
    let mut run = cargo();
    run.args(["run", "--package", "cluster-tests"])
        .args(["--example", "manifests"])
        .env("RIG_BIN", folder()?.join("bin"));
    Ok(match succeeds(&mut run)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// What clippy and rustfmt are for Rust. The other program is a few lines, and to check it means to
/// check all of Kubernetes.
pub(crate) fn lint() -> Result<bool, String> {
    let vetted = succeeds(go("rig").args([
        "vet",
        "./cmd/rig",
        "./cmd/whoami",
        "./conformance",
        "./internal/...",
    ]))?;
    let mut gofmt = Command::new("gofmt");
    gofmt.args(["-l", "."]).current_dir(folder_of_go("rig"));
    let (ran, unformatted) = quietly(&mut gofmt)?;
    if !unformatted.is_empty() {
        println!("not formatted as gofmt does:\n{unformatted}");
    }
    Ok(vetted && ran && unformatted.is_empty())
}

fn folder_of_go(module: &str) -> PathBuf {
    root().join("tests/cluster").join(module)
}

/// Go in one of the modules beside the tests, with the flags that its cache is filled with: others
/// would compile everything twice.
fn go(module: &str) -> Command {
    go_in(&folder_of_go(module))
}

/// The same in any folder of the repository.
pub(crate) fn go_in(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -trimpath")
        .env("GOGC", "400");
    go
}

/// Runs a build that names packages as it compiles them, and says how far it is.
pub(crate) fn followed(go: &mut Command, what: &str, all: usize) -> Result<(), String> {
    let begun = Instant::now();
    let cannot = |error: std::io::Error| format!("{what} cannot be built: {error}");
    let mut child = go.stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let stderr = child.stderr.take().expect("piped just above");
    let (mut count, mut errors, mut said) = (0, String::new(), begun);
    for line in BufReader::new(stderr).lines() {
        let line = line.map_err(cannot)?;
        if line.contains(' ') {
            errors.push_str(&line);
            errors.push('\n');
            continue;
        }
        count += 1;
        if said.elapsed() > Duration::from_secs(15) {
            said = Instant::now();
            println!(
                "building {what}: {count} of up to {all} packages, {} s",
                begun.elapsed().as_secs()
            );
        }
    }
    match child.wait().map_err(cannot)?.success() {
        true => Ok(()),
        false => Err(format!("{what} does not build:\n{errors}")),
    }
}

fn up(words: &[&str]) -> Result<(), String> {
    let (mut name, mut nodes) = ("default", "1");
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let value = words
            .next()
            .ok_or_else(|| format!("{word} needs a value"))?;
        match *word {
            "--name" => name = value,
            "--nodes" => nodes = value,
            _ => return Err(format!("cluster up has no {word}; --name and --nodes")),
        }
    }
    let bin = build()?;
    if !succeeds(cargo().args(["build", "--package", "narthex"]))? {
        return Err("narthex does not build".to_owned());
    }
    let folder = folder_of(name)?;
    let begun = Instant::now();
    start(&bin, &folder, nodes, &target()?.join("debug/narthex"))?;
    let kubeconfig = folder.join("kubeconfig");
    println!("up after {:.1} s", begun.elapsed().as_secs_f32());
    println!("kubeconfig: {}", kubeconfig.display());
    println!(
        "try: KUBECONFIG={} {} get nodes",
        kubeconfig.display(),
        bin.join("kubectl").display()
    );
    Ok(())
}

/// Starts a cluster that goes on after us.
fn start(bin: &Path, folder: &Path, nodes: &str, narthex: &Path) -> Result<(), String> {
    let mut start = Command::new(bin.join("rig"));
    start
        .args(["start", "--nodes", nodes, "--folder"])
        .arg(folder)
        .arg("--narthex")
        .arg(narthex);
    match succeeds(&mut start)? {
        true => Ok(()),
        false => Err("the cluster did not start".to_owned()),
    }
}

/// The folder of a cluster that goes on after us; it is started unless it runs.
pub(crate) fn kept(name: &str, narthex: &Path) -> Result<PathBuf, String> {
    let folder = folder_of(name)?;
    let runs = pid(&folder).is_some_and(|pid| Path::new("/proc").join(pid).exists());
    if !runs {
        start(&build()?, &folder, "1", narthex)?;
    }
    Ok(folder)
}

fn down(name: &str) -> Result<(), String> {
    let mut stop = Command::new(folder()?.join("bin/rig"));
    stop.args(["stop", "--folder"]).arg(folder_of(name)?);
    match succeeds(&mut stop)? {
        true => Ok(()),
        false => Err("it did not end".to_owned()),
    }
}

fn list() -> Result<(), String> {
    let entries = std::fs::read_dir(folder()?).into_iter().flatten().flatten();
    for entry in entries {
        if let Some(pid) = pid(&entry.path()) {
            let runs = Path::new("/proc").join(&pid).exists();
            let state = if runs { "runs" } else { "died" };
            println!(
                "{:<20} {state}, process {pid}, {}",
                entry.file_name().to_string_lossy(),
                entry.path().join("kubeconfig").display()
            );
        }
    }
    Ok(())
}

/// Runs a command in the cluster's network, with our files.
fn exec(name: &str, command: &[&str]) -> Result<ExitCode, String> {
    let folder = folder_of(name)?;
    let pid = pid(&folder).ok_or_else(|| format!("there is no cluster {name}"))?;
    let mut enter = Command::new("nsenter");
    enter.args(["--net", "--target", &pid]);
    if !tools::is_root() {
        enter.args(["--user", "--preserve-credentials"]);
    }
    enter
        .arg("--")
        .args(command)
        .env("KUBECONFIG", folder.join("kubeconfig-inside"));
    let status = enter
        .status()
        .map_err(|error| format!("nsenter: {error}"))?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn name(words: &[&str]) -> Result<String, String> {
    match words {
        [] => Ok("default".to_owned()),
        ["--name", name] => Ok((*name).to_owned()),
        [name] if !name.starts_with('-') => Ok((*name).to_owned()),
        _ => Err("which cluster: NAME, or nothing for `default`".to_owned()),
    }
}

fn pid(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join("pid")).ok()?;
    Some(text.trim().to_owned())
}

fn folder_of(name: &str) -> Result<PathBuf, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if name == "bin" || name.is_empty() || !name.bytes().all(plain) {
        return Err(format!(
            "`{name}` is no name for a cluster: letters, digits and -"
        ));
    }
    Ok(folder()?.join(name))
}

fn folder() -> Result<PathBuf, String> {
    Ok(target()?.join("cluster"))
}
