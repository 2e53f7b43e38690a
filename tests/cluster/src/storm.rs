//! Changes and faults as a seed decides; and in the end, what is served is what a start finds.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use program_tests::certificate::Certificate;
use program_tests::load::{Kind, Load};
use serde_json::Value;

use crate::ingress::{addresses, class, ingress};
use crate::inside::NODE;
use crate::{Cluster, Inside, wait};

const ADDRESS: &str = "203.0.113.7";

/// The host that is asked for all the time.
const STEADY: &str = "steady.example.com";

/// How long a fault lasts.
const FAULT: std::ops::Range<u64> = 300..2000;

/// What goes wrong.
const FAULTS: [&str; 7] = [
    "killed",
    "hung",
    "slow",
    "cut once",
    "cut often",
    "leases",
    "conflict",
];

/// A small generator of numbers (Vigna's SplitMix64): the same for a seed on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        let at = usize::try_from(self.below(all.len() as u64));
        all[at.expect("a few")]
    }
}

/// What is changed at one time.
struct Changes<'a> {
    namespace: &'a str,
    chance: &'a mut Chance,
    certificates: &'a [Certificate],
    /// What is to go wrong before anything does again.
    faults: Vec<&'static str>,
}

impl Changes<'_> {
    fn some(&mut self) -> String {
        (0..3 + self.chance.below(8)).map(|_| self.one()).collect()
    }

    fn one(&mut self) -> String {
        match self.chance.below(8) {
            0..4 => self.ingress(),
            4 => self.service(),
            5 | 6 => self.slice(),
            _ => self.secret(),
        }
    }

    fn metadata(&mut self, name: &str, count: u64, more: &str) -> String {
        let namespace = self.namespace;
        let at = self.chance.below(count);
        format!("metadata: {{name: {name}{at}, namespace: {namespace}{more}}}")
    }

    fn ingress(&mut self) -> String {
        // Some are accepted by every API server, and by no proxy.
        let annotations = match self.chance.below(6) {
            0 => ", annotations: {narthex.dev/ssl-redirect: perhaps}",
            1 => ", annotations: {nginx.ingress.kubernetes.io/ssl-redirect: 'false'}",
            _ => ", annotations: {}",
        };
        let metadata = self.metadata("i", 10, annotations);
        let class = self
            .chance
            .of(&["narthex", "narthex", "narthex", "other", "none"]);
        let host = self.chance.below(6);
        let path = self.chance.of(&["/", "/a", "/a/b", "/c d"]);
        let kind = self
            .chance
            .of(&["Prefix", "Exact", "ImplementationSpecific"]);
        let service = self.chance.below(5);
        let port = self.chance.of(&["number: 80", "number: 81", "name: http"]);
        let secret = self.chance.below(5);
        let tls = match self.chance.one_in(2) {
            true => format!("[{{hosts: [h{host}.test], secretName: t{secret}}}]"),
            false => "[]".to_owned(),
        };
        format!(
            "
apiVersion: networking.k8s.io/v1
kind: Ingress
{metadata}
spec:
  ingressClassName: {class}
  tls: {tls}
  rules:
  - host: h{host}.test
    http: {{paths: [{{path: '{path}', pathType: {kind}, backend: {{service: {{name: s{service}, port: {{{port}}}}}}}}}]}}
---"
        )
    }

    fn service(&mut self) -> String {
        let balance = self.chance.of(&["p2c", "round-robin", "nonsense"]);
        let more = format!(", annotations: {{narthex.dev/balance: {balance}}}");
        let metadata = self.metadata("s", 4, &more);
        let port = 80 + self.chance.below(2);
        format!(
            "
apiVersion: v1
kind: Service
{metadata}
spec: {{ports: [{{name: http, port: {port}, targetPort: 3000}}]}}
---"
        )
    }

    fn slice(&mut self) -> String {
        let service = self.chance.below(5);
        let more = format!(", labels: {{kubernetes.io/service-name: s{service}}}");
        let metadata = self.metadata("e", 6, &more);
        let mut endpoints = String::new();
        for at in 0..self.chance.below(4) {
            let (last, ready) = (self.chance.below(200), !self.chance.one_in(4));
            let _ = write!(
                endpoints,
                "{{addresses: [10.99.{at}.{last}], conditions: {{ready: {ready}}}}}, "
            );
        }
        let port = 3000 + self.chance.below(2);
        format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
{metadata}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{endpoints}]
---"
        )
    }

    fn secret(&mut self) -> String {
        let metadata = self.metadata("t", 4, "");
        let at = self.chance.below(self.certificates.len() as u64 + 1);
        let certificate = usize::try_from(at).ok();
        let certificate = certificate.and_then(|at| self.certificates.get(at));
        let (chain, key) =
            certificate.map_or(("none", "none"), |it| (&*it.chain_pem, &*it.key_pem));
        format!(
            "
apiVersion: v1
kind: Secret
{metadata}
type: kubernetes.io/tls
stringData: {{tls.crt: {chain:?}, tls.key: {key:?}}}
---"
        )
    }

    /// The next: each once, in an order by chance, then each again.
    fn fault(&mut self) -> &'static str {
        if self.faults.is_empty() {
            self.faults = FAULTS.to_vec();
        }
        let at = usize::try_from(self.chance.below(self.faults.len() as u64));
        self.faults.swap_remove(at.expect("a few"))
    }

    /// A few that go.
    fn gone(&mut self) -> Vec<String> {
        let mut gone = Vec::new();
        for _ in 0..self.chance.below(3) {
            let (kind, count) = match self.chance.below(4) {
                0 | 1 => ("ingress/i", 10),
                2 => ("service/s", 4),
                _ => ("secret/t", 4),
            };
            gone.push(format!("{kind}{}", self.chance.below(count)));
        }
        if self.chance.one_in(2) {
            gone.push(format!("endpointslice/e{}", self.chance.below(6)));
        }
        gone
    }
}

/// What a process serves, without what is its own.
fn served(narthex: &Inside<'_>) -> Result<Value, String> {
    let read = |path: &str| -> Result<Value, String> {
        let response = narthex.admin(path)?;
        serde_json::from_slice(&response.body).map_err(|error| error.to_string())
    };
    let mut routes = read("/api/routes")?;
    for listener in routes.as_array_mut().into_iter().flatten() {
        listener["port"] = Value::Null;
    }
    let text = routes
        .to_string()
        // Where clients are sent to.
        .replace(&format!("port {} ", narthex.https), "port ");
    Ok(serde_json::json!({
        "routes": serde_json::from_str::<Value>(&text).map_err(|error| error.to_string())?,
        "problems": read("/api/problems")?,
        "certificates": of_secrets(read("/api/certificates")?),
    }))
}

/// The certificate of last resort is each process's own.
fn of_secrets(certificates: Value) -> Vec<Value> {
    let all = certificates.as_array().cloned().unwrap_or_default();
    let is_shared = |it: &Value| it["source"].to_string().contains('/');
    all.into_iter().filter(is_shared).collect()
}

/// The Ingresses of a namespace that a configuration forwards requests for.
fn routed(served: &Value, namespace: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for listener in served["routes"].as_array().into_iter().flatten() {
        for host in listener["hosts"].as_array().into_iter().flatten() {
            for rule in host["rules"].as_array().into_iter().flatten() {
                let route = rule["route"].as_str().unwrap_or_default();
                if let Some((of, name)) = route.split_once('/')
                    && of == namespace
                {
                    found.insert(name.to_owned());
                }
            }
        }
    }
    found
}

fn prepare(cluster: &Cluster, namespace: &str) {
    // What it was told before it was ready may have failed.
    wait::until("there is a namespace", || {
        let _ = cluster.try_kubectl(&["create", "namespace", namespace], "");
        cluster.get(&["namespace", namespace]).is_ok()
    });
    let classes = class("narthex", "narthex.dev/ingress") + &class("other", "example.com/other");
    cluster.apply(&classes);
}

/// Lets something go wrong while things change; all is well afterwards. What went wrong.
fn go_wrong(cluster: &Cluster, changes: &mut Changes<'_>) -> &'static str {
    let namespace = changes.namespace;
    let fault = changes.fault();
    let seed = changes.chance.next();
    let length = Duration::from_millis(FAULT.start + changes.chance.below(FAULT.end - FAULT.start));
    match fault {
        "killed" => cluster.kill_apiserver(),
        "hung" => cluster.stop_apiserver(),
        "slow" => cluster.delay_apiserver(length / 8),
        "cut once" => drop(cluster.cut_watches(seed, 0.7)),
        "cut often" => cluster.cut_watches_every(length / 8, seed),
        "leases" => {
            // As if nobody had ever led; our own is made anew.
            cluster.try_kubectl(&["delete", "lease", "--all", "--wait=false"], "");
        }
        "conflict" => {
            let ingress = format!("ingress/i{}", changes.chance.below(10));
            let other = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"198.51.100.9"}]}}}"#;
            let patch = [
                "patch",
                &ingress,
                "--subresource=status",
                "--type=merge",
                "-p",
                other,
            ];
            cluster.try_kubectl(&[&["-n", namespace], &patch[..]].concat(), "");
        }
        _ => {}
    }
    if matches!(fault, "killed" | "hung") {
        // Nobody could be told of changes.
        std::thread::sleep(length);
    } else {
        change(cluster, changes);
    }
    match fault {
        "killed" => cluster.start_apiserver(),
        "hung" => cluster.resume_apiserver(),
        "slow" => cluster.delay_apiserver(Duration::ZERO),
        "cut often" => cluster.cut_watches_every(Duration::ZERO, 0),
        _ => {}
    }
    fault
}

fn change(cluster: &Cluster, changes: &mut Changes<'_>) {
    let namespace = changes.namespace;
    let some = changes.some();
    // Some are refused, and are not there then: what counts is what the API server has.
    let head = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=test",
    ];
    match changes.chance.one_in(3) {
        // Others of the same names, at once.
        true => cluster.try_kubectl(
            &["replace", "--force", "--grace-period=0", "-f", "-"],
            &some,
        ),
        false => cluster.try_kubectl(&[&head[..], &["-f", "-"]].concat(), &some),
    };
    let gone = changes.gone();
    if !gone.is_empty() {
        let gone: Vec<_> = gone.iter().map(String::as_str).collect();
        let head = [
            "-n",
            namespace,
            "delete",
            "--ignore-not-found",
            "--wait=false",
        ];
        cluster.try_kubectl(&[&head[..], &gone].concat(), "");
    }
}

/// So many rounds of changes and faults on a cluster that others do not use at this time, and where
/// nobody else has these hosts. What happened, for people.
///
/// # Panics
///
/// If a request failed, or something else is served in the end than by one that starts then; with
/// the seed.
pub fn storm(cluster: &Cluster, seed: u64, rounds: u32) -> String {
    // So that whoever fails says it.
    println!("storm: seed {seed}, {rounds} rounds (NARTHEX_SEED={seed} repeats it)");
    let begun = Instant::now();
    let chance = &mut Chance(seed);
    let namespace = format!("storm-{seed}");
    prepare(cluster, &namespace);
    // Behind it are pods, which stay whatever becomes of the API server.
    cluster.echo(&namespace, "web", 2);
    cluster.apply(&ingress(&namespace, "steady", "narthex"));
    let serve = || {
        let serve = cluster.serve().arg("--ssl-redirect=false");
        serve.args(&["--publish-status-address", ADDRESS])
    };
    let narthex = serve().start();
    narthex.until_status(STEADY, "/", 200);
    let door = cluster.door(format!("{NODE}:{}", narthex.http));
    let think = Duration::from_millis(20);
    let load = [Kind::Kept, Kind::Fresh]
        .map(|kind| Load::of_thinking(kind, door.port(), 1, STEADY, think));

    let certificates: Vec<_> = (0..3)
        .map(|at| Certificate::of(&[&format!("h{at}.test"), &format!("h{}.test", at + 3)]))
        .collect();
    let mut changes = Changes {
        namespace: &namespace,
        chance,
        certificates: &certificates,
        faults: Vec::new(),
    };
    for _ in 0..4 {
        change(cluster, &mut changes);
    }
    let mut said = Vec::new();
    for _ in 0..rounds {
        said.push(go_wrong(cluster, &mut changes));
        change(cluster, &mut changes);
    }
    let mut requests = 0;
    for load in load {
        let outcome = load.stop();
        outcome.assert_perfect();
        requests += outcome.good;
    }
    agree(&narthex, serve().start(), seed);
    let routed = told(cluster, &narthex, &namespace);
    assert!(routed > 0, "not even the steady one is served");
    format!(
        "seed {seed}: {requests} requests and none failed, {routed} Ingresses served in the end, \
         after {} in {:.0} s",
        said.join(", "),
        begun.elapsed().as_secs_f32()
    )
}

/// The same, with all data of the cluster lost between.
///
/// # Panics
///
/// As [`storm`].
pub fn storm_with_wipe(cluster: &Cluster, seed: u64, rounds: u32) -> String {
    println!("storm with wipe: seed {seed}, {rounds} rounds");
    let chance = &mut Chance(seed);
    let namespace = format!("wiped-{seed}");
    let serve = || {
        let serve = cluster.serve().arg("--ssl-redirect=false");
        serve.args(&["--publish-status-address", ADDRESS])
    };
    prepare(cluster, &namespace);
    let narthex = serve().start();
    let certificates = [Certificate::of(&["h1.test"]), Certificate::of(&["h2.test"])];
    let mut changes = Changes {
        namespace: &namespace,
        chance,
        certificates: &certificates,
        faults: Vec::new(),
    };
    for _ in 0..rounds {
        go_wrong(cluster, &mut changes);
        change(cluster, &mut changes);
    }
    wait::until("it leads", || narthex.leads());
    // So that versions afterwards are behind those of before for as long as the test takes.
    let many: String = (0..400)
        .map(|at| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c{at}}}}}\n---\n"))
        .collect();
    let said = cluster.try_kubectl(&["-n", &namespace, "create", "-f", "-"], &many);
    assert!(said.success, "{}", said.stderr);
    cluster.wipe();
    prepare(cluster, &namespace);
    for _ in 0..rounds {
        go_wrong(cluster, &mut changes);
        change(cluster, &mut changes);
    }
    cluster.apply(&ingress(&namespace, "last", "narthex"));
    narthex.until_status("last.example.com", "/", 503);
    agree(&narthex, serve().start(), seed);
    let routed = told(cluster, &narthex, &namespace);
    format!("seed {seed}: {routed} Ingresses served after all data was lost")
}

/// Waits until one that went through it all serves what a fresh one does.
fn agree(narthex: &Inside<'_>, fresh: Inside<'_>, seed: u64) {
    wait::eventually(&format!("as a fresh start, seed {seed}"), || {
        let readiness = narthex.admin("/readyz")?.text();
        if readiness != "ok\n" {
            return Err(readiness);
        }
        let (old, new) = (served(narthex)?, served(&fresh)?);
        match old == new {
            true => Ok(()),
            false => Err(format!("{old:#}\nand not\n{new:#}")),
        }
    });
}

/// Waits until those that are served have our address, and no others do; how many are served.
fn told(cluster: &Cluster, narthex: &Inside<'_>, namespace: &str) -> usize {
    wait::eventually("the Ingresses that are served have their address", || {
        let routed = routed(&served(narthex)?, namespace);
        let all = cluster.get(&["-n", namespace, "ingress"])?;
        for one in all["items"].as_array().into_iter().flatten() {
            let name = one["metadata"]["name"].as_str().unwrap_or_default();
            let (is, ours) = (addresses(one), one["spec"]["ingressClassName"] == "narthex");
            if routed.contains(name) && is != ADDRESS || !ours && is == ADDRESS {
                return Err(format!("{name} has {is:?}"));
            }
        }
        Ok(routed.len())
    })
}
