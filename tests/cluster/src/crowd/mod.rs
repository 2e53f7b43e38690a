//! Thousands of routes at one Gateway: what gateway-api-bench measures of others, measured of
//! Narthex as its chart installs it, by writes that are counted and requests that must not fail.
//!
//! In comes a cluster with Gateway API and Narthex in it; out come figures. Only counts are
//! asserted: times are for people, who compare them with those of the same machine.

mod api;
mod objects;
mod steady;

use std::net::{SocketAddr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use program_tests::ports;
use serde_json::{Value, json};

use self::api::most;
use self::objects::{host, listener_set, of_team, route, route_of_set, suffix, team};
use self::steady::Steady;
use crate::kubectl::Background;
use crate::{Channel, Cluster, wait};

/// The GatewayClass, and the namespace and name of the Gateway.
const CLASS: &str = "narthex";
const NAMESPACE: &str = "crowd";
const GATEWAY: &str = "crowd";

/// How often a Gateway's status may be written while a thousand routes come.
const GATEWAY_WRITES: usize = 15;

/// How many series of metrics a replica may export, and the port of its pods where it does.
const SERIES: usize = 1_000;
const METRICS: u16 = 10254;

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
spec:
  gatewayClassName: {CLASS}
  listeners: [{{name: http, port: 80, protocol: HTTP}}]
  allowedListeners: {{namespaces: {{from: All}}}}
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
        self.create_routes(&[route("first", "a")]);
        self.until_served("first");
        let gateways = self.follow("gateways", GATEWAY);
        let of_routes = self.follow("httproutes", "first");
        let all: Vec<_> = (0..routes)
            .map(|n| route(&format!("attached-{n}"), "a"))
            .collect();
        let begun = Instant::now();
        self.create_routes(&all);
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
        self.delete_routes(&names);
        self.until_attached(1);
        let gone = begun.elapsed();
        std::thread::sleep(Duration::from_secs(3));
        let down = gateways.changes("MODIFIED").len() - up;
        self.delete_routes(&["first".to_owned()]);
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
        self.create_routes(&[route("steady", "a")]);
        self.until_served("steady");
        let steady = Steady::start(self.door(), "steady");
        let all: Vec<_> = (0..routes)
            .map(|n| route(&format!("many-{n}"), "b"))
            .collect();
        let begun = Instant::now();
        self.create_routes(&all);
        self.until_attached(routes + 1);
        let filled = begun.elapsed();
        let mut times: Vec<_> = (0..probes)
            .map(|n| {
                let name = format!("probe-{n}");
                self.create_routes(&[route(&name, "a")]);
                let begun = Instant::now();
                self.until_served(&name);
                begun.elapsed()
            })
            .collect();
        let (asked, failures) = steady.end();
        let series = self.series();
        times.sort();
        let names = (0..routes).map(|n| format!("many-{n}"));
        let names = names.chain((0..probes).map(|n| format!("probe-{n}")));
        self.delete_routes(&names.chain(["steady".to_owned()]).collect::<Vec<_>>());
        self.until_attached(0);
        assert!(failures.is_empty(), "of {asked} requests: {failures:#?}");
        let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
        format!(
            "{routes} routes attached after {filled:.1?}; one more of {probes} answers {median:.1?} after it was created \
             (median; {last:.1?} at most); {asked} requests of another route meanwhile, none failed; {series} series of metrics"
        )
    }

    /// Teams have listeners and routes of their own at the one Gateway: until the last route of each
    /// namespace answers.
    #[track_caller]
    pub fn listener_sets(&self, namespaces: usize, sets: usize, routes: usize) -> String {
        let begun = Instant::now();
        let all = (0..namespaces).flat_map(|ns| (0..sets).map(move |set| (ns, set)));
        let all: Vec<_> = all.collect();
        let of_namespace = |ns| {
            let object = json!({"metadata": {"name": team(ns)}});
            ("/api/v1/namespaces".to_owned(), object)
        };
        self.create(&(0..namespaces).map(of_namespace).collect::<Vec<_>>());
        let of_set =
            |&(ns, set): &(usize, usize)| (of_team(ns, "listenersets"), listener_set(ns, set));
        self.create(&all.iter().map(of_set).collect::<Vec<_>>());
        let of_route = |&(ns, set): &(usize, usize)| {
            (0..routes).map(move |n| (of_team(ns, "httproutes"), route_of_set(ns, set, n)))
        };
        self.create(&all.iter().flat_map(of_route).collect::<Vec<_>>());
        let created = begun.elapsed();
        for ns in 0..namespaces {
            let last = format!("{}.{}", routes - 1, suffix(ns, sets - 1));
            self.until_answered(&last, "/", 302);
        }
        let served = begun.elapsed();
        let series = self.series();
        let names = (0..namespaces).map(team);
        let mut delete = vec!["namespaces".to_owned(), "--wait=false".to_owned()];
        delete.extend(names);
        self.cluster
            .delete(&delete.iter().map(String::as_str).collect::<Vec<_>>());
        let count = namespaces * sets * routes;
        format!(
            "{namespaces} namespaces of {sets} ListenerSets with {routes} routes each: {count} routes created in \
             {created:.1?}, the last of each namespace served after {served:.1?}; {series} series of metrics"
        )
    }

    /// Series that a replica exports: not one a route.
    fn series(&self) -> usize {
        let pods = self
            .cluster
            .pod_addresses("narthex", "app.kubernetes.io/instance=narthex");
        let count = |pod: &String| {
            let answer = self
                .cluster
                .ask(format!("{pod}:{METRICS}"), pod, "/metrics");
            let text = answer.expect("a ready pod answers").text();
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        let most = pods.iter().map(count).max().expect("it is installed");
        assert!(most < SERIES, "{most} series of metrics");
        most
    }

    /// A route leads from one backend to the other and back, under load.
    #[track_caller]
    pub fn change(&self, times: usize) -> String {
        self.cluster.apply(&route("changing", "a").to_string());
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
        self.delete_routes(&["changing".to_owned()]);
        assert!(failures.is_empty(), "of {asked} requests: {failures:#?}");
        format!("{times} changes of a route's backend among {asked} requests, none failed")
    }

    fn door(&self) -> SocketAddr {
        self.cluster.door(&self.address)
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
            let Err(error) = self.served_by(route) else {
                return;
            };
            assert!(Instant::now() < deadline, "{route} is not served: {error}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn until_answered(&self, host: &str, path: &str, status: u16) {
        eventually_long(host, || {
            match self.cluster.ask(&self.address, host, path)?.status {
                got if got == status => Ok(()),
                got => Err(format!("it is {got}")),
            }
        });
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
}

fn is_true(conditions: &Value, kind: &str) -> bool {
    let all = conditions.as_array().into_iter().flatten();
    all.into_iter()
        .any(|one| one["type"] == kind && one["status"] == "True")
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
