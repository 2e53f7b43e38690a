//! An outage of the API server from one end to the other, under load.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use program_tests::load::{Kind, Load};
use program_tests::ports;
use serde_json::Value;

use crate::ingress::{class, ingress};
use crate::inside::NODE;
use crate::kubectl::Background;
use crate::{Cluster, Inside, rig, wait};

/// Ingresses that have their address before the outage.
const INGRESSES: usize = 100;

const ADDRESS: &str = "203.0.113.7";

/// What the memory may grow by during an outage, whatever its length.
const MEMORY: u64 = 12 << 20;

/// What two replicas may ask of one kind when the API server is back, beside what its own
/// controllers ask: each has a watch that serves and, if it leads, one for status, and each may have
/// to ask twice.
const QUESTIONS: u64 = 24;

/// A backend that is no pod, so that it lives and dies without an API server.
struct Outside {
    port: u16,
    _process: Background,
}

fn backend(cluster: &Cluster, name: &str, port: u16) -> Outside {
    let mut command = cluster.command(rig().join("echo-basic"));
    let process = command
        .env("HTTP_PORT", port.to_string())
        .env("H2C_PORT", ports::free().to_string())
        .env("HTTPS_PORT", ports::free().to_string())
        .env("POD_NAME", name)
        .env("NAMESPACE", "default")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let process = Background(process.expect("nsenter starts"));
    wait::eventually("the backend answers", || {
        cluster.ask(format!("{NODE}:{port}"), "echo.test", "/")
    });
    Outside {
        port,
        _process: process,
    }
}

fn slice(name: &str, port: u16) -> String {
    format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{name}, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: {port}}}]
endpoints: [{{addresses: [{NODE}], conditions: {{ready: true}}}}]
---"
    )
}

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: default
  annotations: {narthex.dev/balance: round-robin, narthex.dev/eject-for: 1s}
spec: {ports: [{name: http, port: 80}]}
---";

/// Every replica's sum of a metric.
fn metric(replicas: &[Inside<'_>], name: &str) -> u64 {
    let of = |text: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(name));
        // Some are written with a point.
        let whole = |line: &str| {
            line.rsplit(' ')
                .next()?
                .split('.')
                .next()?
                .parse::<u64>()
                .ok()
        };
        lines.filter_map(whole).sum()
    };
    let texts = replicas.iter().map(|it| it.admin("/metrics"));
    texts.map(|it| of(&it.expect("answers").text())).sum()
}

fn api(narthex: &Inside<'_>, path: &str) -> Value {
    let response = narthex.admin(path).expect("answers");
    serde_json::from_slice(&response.body).expect("JSON")
}

/// Which configuration each serves, and since when.
fn generations(replicas: &[Inside<'_>]) -> Vec<Value> {
    let of = |it: &Inside<'_>| {
        let status = api(it, "/api/status");
        serde_json::json!([status["generation"], status["last_applied"]])
    };
    replicas.iter().map(of).collect()
}

/// Every Ingress's version.
fn versions(cluster: &Cluster) -> Vec<(String, String)> {
    let all = cluster.get(&["-n", "default", "ingress"]).expect("a list");
    let all = all["items"].as_array().expect("a list").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|it| {
        let metadata = &it["metadata"];
        (text(&metadata["name"]), text(&metadata["resourceVersion"]))
    })
    .collect()
}

/// How often the API server was asked for Ingresses since it started, by whomever: what it has
/// answered, and the watches that are under way.
fn questions(cluster: &Cluster) -> u64 {
    let text = cluster.kubectl(&["get", "--raw", "/metrics"]);
    let counters = [
        "apiserver_request_total{",
        "apiserver_longrunning_requests{",
    ];
    let lines = text.lines().filter(|line| {
        let is_counter = counters.iter().any(|name| line.starts_with(name));
        is_counter && line.contains("resource=\"ingresses\"")
    });
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

/// Two replicas, an outage of this length, and the time after it; `think` is between two requests
/// of a client. The figures, for people.
///
/// # Panics
///
/// If anything is noticed of it by clients, or the API server is asked for more than it takes.
#[track_caller]
pub fn outage(length: Duration) -> String {
    let cluster = &Cluster::start();
    let one = backend(cluster, "one", ports::free());
    let two = backend(cluster, "two", ports::free());
    cluster.apply(
        &[
            class("narthex", "narthex.dev/ingress"),
            SERVICE.to_owned(),
            slice("one", one.port),
            slice("two", two.port),
        ]
        .concat(),
    );
    let many: String = (0..INGRESSES)
        .map(|at| ingress("default", &format!("web-{at}"), "narthex"))
        .collect();
    cluster.apply(&many);
    let serve = || {
        let serve = cluster.serve().args(&["--publish-status-address", ADDRESS]);
        serve.arg("--ssl-redirect=false").start()
    };
    let replicas = [serve(), serve()];
    wait::until("every Ingress has its address", || {
        metric(&replicas, "narthex_status_writes_total{") >= INGRESSES as u64
    });
    let written = metric(&replicas, "narthex_status_writes_total{");
    let before = (versions(cluster), generations(&replicas));

    let doors = [&replicas[0], &replicas[1]].map(|it| cluster.door(format!("{NODE}:{}", it.http)));
    let load: Vec<_> = doors
        .iter()
        .flat_map(|door| [Kind::Kept, Kind::Fresh].map(|kind| (door, kind)))
        .map(|(door, kind)| Load::of_thinking(kind, door.port(), 1, "web-7.example.com", THINK))
        .collect();
    load.iter().for_each(|load| load.until_more(50));
    let memory = || metric(&replicas, "process_resident_memory_bytes");
    let at_first = memory();
    assert!(at_first > 0, "no memory is told");
    let mut most = at_first;

    cluster.kill_apiserver();
    let begun = Instant::now();
    let told = |replica: &Inside<'_>| {
        let response = replica.admin("/readyz").expect("answers");
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    };
    for replica in &replicas {
        wait::until("it is told", || told(replica).contains("not followed for"));
    }
    // Passive health works without an API server, both ways.
    let mut look = |until: Duration| {
        loop {
            most = most.max(memory());
            for replica in &replicas {
                let said = told(replica);
                assert!(said.contains("not followed for"), "{said}");
            }
            let left = until.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left.min(Duration::from_secs(1)));
        }
    };
    look(length / 3);
    let port = two.port;
    drop(two);
    wait::until("a backend that died is left out", || {
        replicas
            .iter()
            .all(|it| metric(std::slice::from_ref(it), EJECTIONS) > 0)
    });
    look(length * 2 / 3);
    let _two = backend(cluster, "two again", port);
    for replica in &replicas {
        wait::until("a backend that came back is used", || {
            let answer = replica.get("web-7.example.com", "/");
            answer.is_ok_and(|answer| answer.text().contains("two again"))
        });
    }
    look(length);
    let lasted = begun.elapsed();
    cluster.start_apiserver();
    for replica in &replicas {
        wait::until("all is well again", || told(replica) == "ok\n");
    }
    wait::until("one leads", || {
        replicas.iter().filter(|it| it.leads()).count() == 1
    });
    // For as long as a controller that would write everything again would take.
    sleep(Duration::from_secs(5));
    let asked = questions(cluster);
    let at_last = memory();
    let after = (versions(cluster), generations(&replicas));
    assert_eq!(before, after, "something was written or compiled");
    assert_eq!(metric(&replicas, "narthex_status_writes_total{"), written);
    assert!(asked <= QUESTIONS, "{asked} questions for Ingresses");
    assert!(
        most.max(at_last) <= at_first + MEMORY,
        "{at_first} B of memory became {most} B, and {at_last} B afterwards"
    );
    // And it goes on.
    cluster.apply(&ingress("default", "after", "narthex"));
    for replica in &replicas {
        replica.until_status("after.example.com", "/", 200);
    }
    cluster.until_addresses("default", "after", ADDRESS);
    let mut requests = 0;
    for load in load {
        let outcome = load.stop();
        outcome.assert_perfect();
        requests += outcome.good;
    }
    let mib = |bytes: u64| bytes >> 20;
    format!(
        "{requests} requests and none failed in {:.0} s without an API server; both replicas together \
         had {} MiB before, {} MiB at most, {} MiB afterwards; {asked} questions for Ingresses \
         afterwards, no write and no new configuration",
        lasted.as_secs_f32(),
        mib(at_first),
        mib(most),
        mib(at_last)
    )
}

const EJECTIONS: &str = "narthex_endpoint_ejections_total";

/// Between two requests of a client, so that there is room for everything else.
const THINK: Duration = Duration::from_millis(10);
