//! Thousands of routes at one Gateway: what gateway-api-bench measures of others, measured of
//! Narthex as its chart installs it, by writes that are counted and requests that must not fail.
//!
//! In comes a cluster with Gateway API and Narthex in it; out come figures. Only counts are
//! asserted: times are for people, who compare them with those of the same machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use program_tests::http1::Conn;
use program_tests::ports;
use serde_json::{Value, json};

use crate::kubectl::Background;
use crate::{Channel, Cluster, wait};

/// The GatewayClass, and the namespace and name of the Gateway.
const CLASS: &str = "narthex";
const NAMESPACE: &str = "crowd";
const GATEWAY: &str = "crowd";

/// Connections to the API server that create and delete.
const AT_ONCE: usize = 8;

/// How often a Gateway's status may be written while a thousand routes come.
const GATEWAY_WRITES: usize = 15;

/// How long the API server and Narthex may take for thousands of objects.
const LONG: Duration = Duration::from_secs(600);

/// A cluster with a Gateway that serves.
pub struct Crowd<'a> {
    cluster: &'a Cluster,
    /// Where the Gateway listens, inside.
    address: String,
    /// kubectl's proxy: the API server without TLS, from here.
    api: SocketAddr,
    _proxy: Background,
}

impl<'a> Crowd<'a> {
    /// Installs all of it; two Services of one pod each, `a` and `b`, are its backends.
    #[track_caller]
    pub fn start(cluster: &'a Cluster) -> Self {
        cluster.install_gateway_api(Channel::Experimental);
        cluster.namespace("narthex");
        cluster.install("narthex", "narthex", &[]);
        cluster.gateway_class(CLASS);
        cluster.namespace(NAMESPACE);
        cluster.echo(NAMESPACE, "a", 1);
        cluster.echo(NAMESPACE, "b", 1);
        cluster.apply(&format!(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: {GATEWAY}, namespace: {NAMESPACE}}}
spec: {{gatewayClassName: {CLASS}, listeners: [{{name: http, port: 80, protocol: HTTP}}]}}
"
        ));
        let what = format!("gateway/{GATEWAY}");
        let gateway = cluster.until(&["-n", NAMESPACE, &what], |gateway| {
            is_true(&gateway["status"]["conditions"], "Programmed")
                && gateway["status"]["addresses"][0]["value"].is_string()
        });
        let address = gateway["status"]["addresses"][0]["value"].as_str();
        let port = ports::free();
        let mut proxy = cluster.kubectl_command(&["proxy", &format!("--port={port}")]);
        let child = proxy.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let api = SocketAddr::from(([127, 0, 0, 1], port));
        let crowd = Self {
            cluster,
            address: format!("{}:80", address.unwrap_or_default()),
            api,
            _proxy: Background(child.expect("kubectl starts")),
        };
        wait::until("kubectl's proxy listens", || {
            TcpStream::connect(api).is_ok()
        });
        crowd
    }

    /// Routes come and go, all at once: how soon the Gateway counts them, and how often statuses are
    /// written.
    #[track_caller]
    pub fn attached(&self, routes: usize) -> String {
        self.create(&[route("first", "a")]);
        self.until_served("first");
        let gateways = self.follow("gateways", GATEWAY);
        let of_routes = self.follow("httproutes", "first");
        let all: Vec<_> = (0..routes)
            .map(|n| route(&format!("attached-{n}"), "a"))
            .collect();
        let begun = Instant::now();
        self.create(&all);
        let created = begun.elapsed();
        self.until_attached(routes + 1);
        let attached = begun.elapsed();
        let written = || {
            let writes = of_routes.changes("MODIFIED attached-");
            writes.len()
        };
        eventually_long("each route has a status", || match written() {
            count if count >= routes => Ok(()),
            count => Err(format!("{count} have")),
        });
        // What is written too often is written soon afterwards.
        std::thread::sleep(Duration::from_secs(3));
        let up = gateways.changes("MODIFIED").len();
        let most = most(&of_routes.changes("MODIFIED attached-"));
        let names: Vec<_> = (0..routes).map(|n| format!("attached-{n}")).collect();
        let begun = Instant::now();
        self.delete(&names);
        self.until_attached(1);
        let gone = begun.elapsed();
        std::thread::sleep(Duration::from_secs(3));
        let down = gateways.changes("MODIFIED").len() - up;
        self.delete(&["first".to_owned()]);
        assert!(
            up <= GATEWAY_WRITES && down <= GATEWAY_WRITES,
            "the Gateway's status was written {up} times as {routes} routes came, {down} times as they went"
        );
        assert_eq!(most, 1, "a route's status is written once");
        format!(
            "{routes} routes created in {created:.1?}, attached after {attached:.1?} with {up} writes of the Gateway's \
             status and one a route; gone after {gone:.1?} with {down}"
        )
    }

    /// Thousands of routes come while one is asked all the time; then some more, one at a time, each
    /// asked until it answers.
    #[track_caller]
    pub fn propagation(&self, routes: usize, probes: usize) -> String {
        self.create(&[route("steady", "a")]);
        self.until_served("steady");
        let steady = Steady::start(self.door(), "steady");
        let all: Vec<_> = (0..routes)
            .map(|n| route(&format!("many-{n}"), "b"))
            .collect();
        let begun = Instant::now();
        self.create(&all);
        self.until_attached(routes + 1);
        let filled = begun.elapsed();
        let mut times: Vec<_> = (0..probes)
            .map(|n| {
                let name = format!("probe-{n}");
                self.create(&[route(&name, "a")]);
                let begun = Instant::now();
                self.until_served(&name);
                begun.elapsed()
            })
            .collect();
        let (asked, failures) = steady.end();
        times.sort();
        let names = (0..routes).map(|n| format!("many-{n}"));
        let names = names.chain((0..probes).map(|n| format!("probe-{n}")));
        self.delete(&names.chain(["steady".to_owned()]).collect::<Vec<_>>());
        self.until_attached(0);
        assert!(failures.is_empty(), "of {asked} requests: {failures:#?}");
        let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
        format!(
            "{routes} routes attached after {filled:.1?}; one more of {probes} answers {median:.1?} after it was created \
             (median; {last:.1?} at most); {asked} requests of another route meanwhile, none failed"
        )
    }

    /// A route leads from one backend to the other and back, under load.
    #[track_caller]
    pub fn change(&self, times: usize) -> String {
        self.create(&[route("changing", "a")]);
        self.until_served("changing");
        let steady = Steady::start(self.door(), "changing");
        for turn in 0..times {
            let to = if turn % 2 == 0 { "b" } else { "a" };
            self.cluster.apply(&route("changing", to).to_string());
            wait::eventually("the route leads to its new backend", || {
                match self.served_by("changing")? {
                    by if by == to => Ok(()),
                    by => Err(by),
                }
            });
        }
        let (asked, failures) = steady.end();
        self.delete(&["changing".to_owned()]);
        assert!(failures.is_empty(), "of {asked} requests: {failures:#?}");
        format!("{times} changes of a route's backend among {asked} requests, none failed")
    }

    fn door(&self) -> SocketAddr {
        self.cluster.door(&self.address)
    }

    fn create(&self, objects: &[Value]) {
        self.all("POST", objects.len(), |n| {
            (String::new(), objects[n].to_string())
        });
    }

    fn delete(&self, names: &[String]) {
        self.all("DELETE", names.len(), |n| {
            (format!("/{}", names[n]), String::new())
        });
    }

    /// So many requests about HTTPRoutes, some at a time.
    fn all(&self, method: &str, count: usize, request: impl Fn(usize) -> (String, String) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(count) {
                scope.spawn(|| {
                    let mut conn = Conn::to(self.api).expect("kubectl's proxy listens");
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        let (path, body) = request(n);
                        let answer = conn.ask(&format!(
                            "{method} {ROUTES}{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        ));
                        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
                    }
                });
            }
        });
    }

    fn until_attached(&self, routes: usize) {
        let what = format!("gateway/{GATEWAY}");
        eventually_long("the Gateway counts its routes", || {
            let gateway = self.cluster.get(&["-n", NAMESPACE, &what])?;
            match gateway["status"]["listeners"][0]["attachedRoutes"].as_u64() {
                Some(count) if count == routes as u64 => Ok(()),
                other => Err(format!("{other:?} of {routes}")),
            }
        });
    }

    fn until_served(&self, route: &str) {
        // Not at the pace of `wait`: the time is measured.
        let deadline = Instant::now() + LONG;
        loop {
            let error = match self.served_by(route) {
                Ok(_) => return,
                Err(error) => error,
            };
            assert!(Instant::now() < deadline, "{route} is not served: {error}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Which Service answers for a route.
    fn served_by(&self, route: &str) -> Result<String, String> {
        let answer = self.cluster.ask(&self.address, &host(route), "/")?;
        let said: Value =
            serde_json::from_slice(&answer.body).map_err(|_| format!("it is {}", answer.status))?;
        match answer.status {
            200 => Ok(said["service"].as_str().unwrap_or_default().to_owned()),
            status => Err(format!("it is {status}")),
        }
    }

    /// Every event about a kind from now on; `there` is an object that is there already.
    fn follow(&self, kind: &str, there: &str) -> Events {
        let mut command = self.cluster.kubectl_command(&[
            "-n",
            NAMESPACE,
            "get",
            kind,
            "--watch",
            "--output-watch-events",
            "-o",
            "jsonpath={.type} {.object.metadata.name}{\"\\n\"}",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let stdout = child.stdout.take().expect("piped");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let events = Events {
            _kubectl: Background(child),
            seen,
        };
        wait::until("events are followed", || {
            !events.changes(&format!("ADDED {there}")).is_empty()
        });
        events
    }
}

/// Where HTTPRoutes are.
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/namespaces/crowd/httproutes";

fn host(route: &str) -> String {
    format!("{route}.example.com")
}

fn route(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "parentRefs": [{"name": GATEWAY}],
            "hostnames": [host(name)],
            "rules": [{"backendRefs": [{"name": service, "port": 80}]}],
        },
    })
}

fn is_true(conditions: &Value, kind: &str) -> bool {
    let all = conditions.as_array().into_iter().flatten();
    all.into_iter()
        .any(|one| one["type"] == kind && one["status"] == "True")
}

/// Events as kubectl tells them: `MODIFIED name`.
struct Events {
    _kubectl: Background,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Events {
    fn changes(&self, prefix: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.iter().filter(|line| line.starts_with(prefix));
        seen.cloned().collect()
    }
}

/// How often the most frequent one is among them.
fn most(events: &[String]) -> usize {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

/// Requests one after the other, until told to end.
struct Steady {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl Steady {
    fn start(door: SocketAddr, route: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ends, host) = (Arc::clone(&end), host(route));
        let thread = std::thread::spawn(move || {
            let (mut asked, mut failures) = (0, Vec::new());
            let mut conn = None;
            while !ends.load(Ordering::Relaxed) {
                asked += 1;
                if let Err(error) = ask(&mut conn, door, &host) {
                    failures.push(error);
                    conn = None;
                }
            }
            failures.truncate(10);
            (asked, failures)
        });
        Self { end, thread }
    }

    /// How many requests there were, and what went wrong.
    fn end(self) -> (usize, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn ask(conn: &mut Option<Conn>, door: SocketAddr, host: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let conn = match conn {
        Some(conn) => conn,
        none => none.insert(Conn::to(door).map_err(text)?),
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    conn.write_all(request.as_bytes()).map_err(text)?;
    match conn.try_response(false).map_err(text)?.status {
        200 => Ok(()),
        status => Err(format!("answered {status}")),
    }
}

/// As [`wait::eventually`], for what thousands of objects take.
#[track_caller]
fn eventually_long(what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + LONG;
    while let Err(error) = attempt() {
        assert!(
            Instant::now() < deadline,
            "not within {LONG:?}: {what}: {error}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}
