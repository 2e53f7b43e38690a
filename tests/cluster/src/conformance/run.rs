//! A cluster with Narthex in it, and the suite's program in its network.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;

use super::content::{Content, Test};
use super::outcome::{Outcome, Results};
use super::report::in_order;
use crate::cluster::{Cluster, rig};
use crate::gateway::Channel;

/// The GatewayClass of the suite's Gateways.
const CLASS: &str = "narthex";

/// Addresses for a Gateway that asks for one: of the rig's load balancers, far from those that they
/// hand out by themselves; and one that no load balancer here can give (RFC 5737).
const USABLE: &str = "10.244.255.250";
const UNUSABLE: &str = "192.0.2.1";

/// Narthex's, as strict as Kubernetes has it.
const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata:
  name: narthex
  labels: {pod-security.kubernetes.io/enforce: restricted}
";

/// The class, when each of its Gateways is to have a data plane of its own.
const DEDICATED: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: own, namespace: narthex}
data: {data-plane: dedicated, replicas: '1'}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: narthex}
spec:
  controllerName: narthex.dev/gateway
  parametersRef: {group: '', kind: ConfigMap, name: own, namespace: narthex}
";

/// The suite has its time-outs; this is for a program that hangs.
const AT_MOST: &str = "-test.timeout=60m";

/// What to run, and where its results go.
#[derive(Debug)]
pub struct Options {
    /// Tests by name; none: all of Gateways.
    pub tests: Vec<String>,
    /// Those of these profiles; none: all.
    pub profiles: Vec<String>,
    /// A running cluster's folder, in place of one of our own.
    pub folder: Option<PathBuf>,
    /// Where tests' logs and the report go.
    pub into: PathBuf,
    /// In place of the suite's time-outs for what a status is waited for, in seconds: while failures
    /// are looked for.
    pub patience: Option<u32>,
    /// How many tests run beside each other that allow it.
    pub parallel: u32,
    /// Whether each Gateway has a data plane of its own.
    pub dedicated: bool,
    /// Only the suite's set-up.
    pub set_up: bool,
}

/// Runs the suite; what came of each test, and whether all is well.
///
/// # Errors
///
/// Why it could not be run at all.
pub fn run(content: &Content, options: &Options) -> Result<(Results, bool), String> {
    let wanted = wanted(content, options)?;
    prepare(&options.into)?;
    let cluster = match &options.folder {
        Some(folder) => Cluster::attached(folder),
        None => Cluster::start(),
    };
    let begun = Instant::now();
    let done = |what: &str| println!("{:>6.1} s  {what}", begun.elapsed().as_secs_f32());
    cluster.install_gateway_api(Channel::Experimental);
    done("Gateway API's kinds are served");
    let installed = cluster.get(&["-n", "narthex", "deployment/narthex"]);
    cluster.apply(NAMESPACE);
    let values: &[&str] = match options.dedicated {
        true => &[
            "gatewayAPI.dedicated.enabled=true",
            "gatewayAPI.dedicated.allSecrets=true",
        ],
        false => &[],
    };
    cluster.install("narthex", "narthex", values);
    if installed.is_ok() {
        // The program may have been built anew since its pods started.
        cluster.kubectl(&["-n", "narthex", "rollout", "restart", "deployment/narthex"]);
        cluster.rolled_out("narthex", "deployment/narthex");
    }
    match options.dedicated {
        true => cluster.apply(DEDICATED),
        false => cluster.gateway_class(CLASS),
    }
    done("Narthex is rolled out");
    let results = run_in(&cluster, content, options, &wanted)?;
    done("the suite has ended");
    let well = judge(&cluster, content, options, &wanted, &results);
    Ok((results, well))
}

/// Nothing of an earlier run is taken for this one's.
fn prepare(into: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", into.display());
    std::fs::create_dir_all(into).map_err(failed)?;
    for entry in std::fs::read_dir(into).map_err(failed)?.flatten() {
        let path = entry.path();
        let is_log = path.extension().is_some_and(|it| it == "log");
        if is_log || path == report(into) {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

fn wanted<'a>(content: &'a Content, options: &Options) -> Result<Vec<&'a Test>, String> {
    for name in &options.tests {
        if content.of_gateways().all(|test| test.name != *name) {
            return Err(format!("the suite has no test {name} of Gateways"));
        }
    }
    let profiles = content.profiles.iter();
    let profiles: Vec<_> = profiles
        .filter(|it| options.profiles.contains(&it.name))
        .collect();
    if profiles.len() < options.profiles.len() {
        let names: Vec<_> = content.profiles.iter().map(|it| it.name.as_str()).collect();
        return Err(format!("the profiles are {}", names.join(", ")));
    }
    let of_profile = |test: &&Test| {
        profiles.is_empty() || profiles.iter().any(|profile| profile.level(test).is_some())
    };
    let named = |test: &&Test| options.tests.is_empty() || options.tests.contains(&test.name);
    Ok(content
        .of_gateways()
        .filter(of_profile)
        .filter(named)
        .collect())
}

fn run_in(
    cluster: &Cluster,
    content: &Content,
    options: &Options,
    wanted: &[&Test],
) -> Result<Results, String> {
    let mut suite = cluster.command(rig().join("conformance.test"));
    suite
        .env("KUBECONFIG", cluster.kubeconfig_inside())
        .args(arguments(content, options, wanted))
        .current_dir(&options.into)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = suite
        .spawn()
        .map_err(|error| format!("the suite: {error}"))?;
    let stdout = child.stdout.take().expect("piped");
    let mut results = Results::default();
    let mut count = 0;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|error| format!("the suite: {error}"))?;
        let Some((name, outcome, seconds)) = results.line(&String::from_utf8_lossy(&line)) else {
            continue;
        };
        // Tests of meshes are skipped, each with a line.
        if wanted.iter().any(|test| test.name == name) {
            count += 1;
            let all = wanted.len();
            let word = match outcome {
                Outcome::Passed => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "SKIPPED",
            };
            println!("{word:<8} {count:>3}/{all} {name} {seconds:.1} s");
        }
    }
    child
        .wait()
        .map_err(|error| format!("the suite: {error}"))?;
    put_in_order(&report(&options.into))?;
    Ok(results)
}

/// Of two runs with the same results, the reports are the same but for the date.
fn put_in_order(report: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", report.display());
    match std::fs::read_to_string(report) {
        Ok(text) => std::fs::write(report, in_order(&text)).map_err(failed),
        // The suite writes none where it could not begin.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Upstream's own flags, but for `-only`.
fn arguments(content: &Content, options: &Options, wanted: &[&Test]) -> Vec<String> {
    let join = |names: Vec<&str>| names.join(",");
    let profiles = content.profiles.iter().map(|it| it.name.as_str());
    let profiles = profiles
        .filter(|name| options.profiles.is_empty() || options.profiles.iter().any(|it| it == name));
    let mut arguments = vec![
        "-test.run=^TestConformance$".to_owned(),
        "-test.v=test2json".to_owned(),
        AT_MOST.to_owned(),
        format!("-test.parallel={}", options.parallel),
        format!("-gateway-class={CLASS}"),
        "-all-features".to_owned(),
        format!("-exempt-features={}", join(content.of_mesh().collect())),
        format!("-conformance-profiles={}", join(profiles.collect())),
        format!("-usable-address={USABLE}"),
        format!("-unusable-address={UNUSABLE}"),
        // The cluster goes, or is to be looked at.
        "-cleanup-base-resources=false".to_owned(),
        format!("-report-output={}", report(&options.into).display()),
        "-organization=narthex".to_owned(),
        "-project=narthex".to_owned(),
        "-url=https://narthex.dev".to_owned(),
        "-contact=https://narthex.dev".to_owned(),
        format!("-version=v{}", env!("CARGO_PKG_VERSION")),
    ];
    if !options.tests.is_empty() || !options.profiles.is_empty() {
        let names = wanted.iter().map(|test| test.name.as_str()).collect();
        arguments.push(format!("-only={}", join(names)));
    }
    if options.set_up {
        arguments.push("-only=the set-up alone".to_owned());
    }
    if let Some(seconds) = options.patience {
        let overrides: Vec<_> = WAITS
            .iter()
            .map(|name| format!("{name}:{seconds}"))
            .collect();
        arguments.push(format!("-timeout-config-overrides={}", overrides.join(";")));
    }
    arguments
}

/// The suite's time-outs that are used up where Narthex does not do what is waited for.
const WAITS: [&str; 17] = [
    "GatewayMustHaveAddress",
    "GatewayMustHaveCondition",
    "GatewayStatusMustHaveListeners",
    "GatewayListenersMustHaveConditions",
    "ListenerSetMustHaveCondition",
    "ListenerSetListenersMustHaveConditions",
    "GWCMustBeAccepted",
    "HTTPRouteMustNotHaveParents",
    "HTTPRouteMustHaveCondition",
    "TLSRouteMustHaveCondition",
    "TCPRouteMustHaveCondition",
    "UDPRouteMustHaveCondition",
    "RouteMustHaveParents",
    "MaxTimeToConsistency",
    "NamespacesMustBeReady",
    "LatestObservedGenerationSet",
    "DefaultTestTimeout",
];

/// Upstream's report in a folder of results.
fn report(into: &Path) -> PathBuf {
    into.join("report.yaml")
}

/// Says what came of it and what is missing.
fn judge(
    cluster: &Cluster,
    content: &Content,
    options: &Options,
    wanted: &[&Test],
    results: &Results,
) -> bool {
    keep_logs(cluster, options, wanted, results);
    let set_up = results.log("");
    if set_up.contains(ERROR) {
        println!("\nthe set-up failed:\n{}", reasons(set_up));
    }
    if options.set_up {
        return !set_up.contains(ERROR) && set_up.contains(ALL_READY);
    }
    for test in wanted {
        if results.of(test) == Some(Outcome::Failed) {
            println!("\n{}\n{}", test.name, reasons(results.log(&test.name)));
        }
    }
    let count = results.count(wanted.iter().copied());
    let profiles = options.profiles.as_slice();
    println!("\n{}", results.summary(content, wanted, profiles));
    let missing = missing_features(cluster, content);
    if !missing.is_empty() {
        println!("the GatewayClass does not name {}", missing.join(", "));
    }
    count.is_complete() && missing.is_empty() && !wanted.is_empty()
}

/// What the suite has, and the GatewayClass does not say that it can.
fn missing_features(cluster: &Cluster, content: &Content) -> Vec<String> {
    let class = cluster.get(&[&format!("gatewayclass/{CLASS}")]);
    let class = class.unwrap_or_default();
    let named: Vec<_> = class["status"]["supportedFeatures"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|feature| feature["name"].as_str())
        .collect();
    let missing = content.features().filter(|name| !named.contains(name));
    missing.map(str::to_owned).collect()
}

/// Files for whoever looks into failures: a log a test, the Gateways as they are, what Narthex said.
fn keep_logs(cluster: &Cluster, options: &Options, wanted: &[&Test], results: &Results) {
    let write = |name: &str, text: &str| {
        let path = options.into.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            println!("{}: {error}", path.display());
        }
    };
    write("suite.log", results.log(""));
    for test in wanted.iter().filter(|test| results.of(test).is_some()) {
        write(&format!("{}.log", test.name), results.log(&test.name));
    }
    let label = "app.kubernetes.io/instance=narthex";
    let said = [
        "-n",
        "narthex",
        "logs",
        "--tail=-1",
        "--prefix",
        "-l",
        label,
    ];
    write("narthex.log", &cluster.try_kubectl(&said, "").stdout);
    let objects = "gatewayclasses,gateways,listenersets,httproutes,grpcroutes,tlsroutes,tcproutes,udproutes,services";
    let all = ["get", objects, "-A", "-o", "yaml"];
    write("objects.yaml", &cluster.try_kubectl(&all, "").stdout);
    let pods: Value = cluster.get(&["-A", "pods"]).unwrap_or_default();
    write("pods.json", &format!("{pods:#}"));
}

/// What the suite begins its errors with, in what it says of one, and at the end of its set-up.
const ERROR: &str = "Error:";
const ALL_READY: &str = "namespaces ready";

/// The errors of a log, each with what belongs to it; the end of one that has none.
fn reasons(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut reasons = Vec::new();
    let mut within = false;
    for line in &lines {
        // A line of the log begins with where it was said; what an error says is indented further.
        within = line.contains(ERROR) || within && line.starts_with("        ");
        if within {
            reasons.push(*line);
        }
    }
    if reasons.is_empty() {
        reasons = lines[lines.len().saturating_sub(12)..].to_vec();
    }
    reasons.truncate(40);
    reasons.join("\n")
}
