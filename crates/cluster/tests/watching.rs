//! What becomes of a cluster's objects whatever its API server does.

mod disorder;
mod scripted;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use narthex_cluster::watch::Options;
use narthex_cluster::{Optional, Watches};
use objects::kinds::{Kind, ObjectKey};
use objects::{Problem, Store};
use scripted::{Answer, Asked, Server, end_of_list, event, list, page, service, status};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

/// Long enough for any machine.
const LONG: Duration = Duration::from_secs(40);

/// A store that is kept up to date.
struct Follower {
    watches: Watches,
    store: Store,
    problems: Arc<[Problem]>,
}

impl Follower {
    async fn start(server: &Server) -> Self {
        Self::start_with(server, &Options::default()).await
    }

    async fn start_with(server: &Server, options: &Options) -> Self {
        let watches = Watches::start(server.connection().await, options);
        Self {
            watches,
            store: Store::default(),
            problems: Arc::default(),
        }
    }

    fn take(&mut self) {
        let batch = self.watches.inbox().take();
        self.problems = Arc::clone(&batch.problems);
        batch.apply(&mut self.store);
    }

    fn services(&self) -> Vec<&str> {
        let services = self.store.services();
        services
            .map(|service| service.metadata.name.as_str())
            .collect()
    }

    async fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                self.take();
                if is_so(self) {
                    return;
                }
                self.watches.inbox().changed().await;
            }
        };
        let waited = timeout(LONG, waiting).await;
        assert!(
            waited.is_ok(),
            "not {what}: {:?} {:?}",
            self.services(),
            self.problems
        );
    }
}

/// Streams that a test feeds, one for each watch of Services in turn.
#[derive(Default)]
struct Streams(Mutex<Vec<UnboundedReceiver<Value>>>);

impl Streams {
    fn prepare(count: usize) -> (Arc<Self>, Vec<UnboundedSender<Value>>) {
        let (senders, mut receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| unbounded_channel()).unzip();
        receivers.reverse();
        (Arc::new(Self(Mutex::new(receivers))), senders)
    }

    fn next(&self) -> Option<Answer> {
        let mut streams = self.0.lock().expect("no test panics with it");
        streams.pop().map(Answer::Stream)
    }
}

fn is_services(asked: &Asked) -> bool {
    asked.path.ends_with("/services")
}

fn ports(asked: &Asked) -> bool {
    is_services(asked) && !asked.is_watch()
}

#[tokio::test]
async fn a_version_that_is_too_old_means_a_new_list_and_no_object_is_lost_or_kept() {
    let (streams, senders) = Streams::prepare(2);
    let lists = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        if ports(asked) {
            let items = match lists.fetch_add(1, Ordering::Relaxed) {
                0 => list("10", &[service("a", "1"), service("b", "2")]),
                _ => list("30", &[service("b", "2"), service("c", "25")]),
            };
            return Some(Answer::Json(200, items));
        }
        is_services(asked).then(|| streams.next()).flatten()
    })
    .await;
    let mut follower = Follower::start(&server).await;
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
    follower
        .until("listed", |follower| follower.services() == ["a", "b"])
        .await;

    let gone = status(410, "too old resource version");
    senders[0]
        .send(event("ERROR", &gone))
        .expect("the watch is there");
    follower
        .until("listed again", |follower| follower.services() == ["b", "c"])
        .await;
    senders[1]
        .send(event("ADDED", &service("d", "31")))
        .expect("the watch is there");
    follower
        .until("followed", |follower| {
            follower.services() == ["b", "c", "d"]
        })
        .await;

    let watched: Vec<_> = server
        .asked("services")
        .into_iter()
        .filter(|asked| asked.is_watch() && asked.parameter("sendInitialEvents").is_none())
        .collect();
    let versions: Vec<_> = watched
        .iter()
        .map(|asked| asked.parameter("resourceVersion"))
        .collect();
    assert_eq!(versions, [Some("10"), Some("30")]);
}

#[tokio::test]
async fn a_list_that_breaks_off_takes_nothing_away() {
    let (streams, senders) = Streams::prepare(2);
    let lists = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let lists = Arc::clone(&lists);
        move |asked| {
            if ports(asked) {
                return Some(match lists.fetch_add(1, Ordering::Relaxed) {
                    0 => Answer::Json(200, list("10", &[service("a", "1"), service("b", "2")])),
                    1 => Answer::Json(200, page("20", &[service("c", "15")], "more")),
                    2..5 => Answer::Json(500, status(500, "etcd is away")),
                    5 => Answer::Json(200, page("30", &[service("c", "15")], "more")),
                    6 => Answer::Nothing,
                    7 => Answer::Json(200, page("40", &[service("c", "15")], "more")),
                    _ => Answer::Json(200, list("40", &[service("b", "2")])),
                });
            }
            is_services(asked).then(|| streams.next()).flatten()
        }
    })
    .await;
    let mut follower = Follower::start(&server).await;
    follower
        .until("listed", |follower| follower.services() == ["a", "b"])
        .await;
    let gone = status(410, "too old resource version");
    senders[0]
        .send(event("ERROR", &gone))
        .expect("the watch is there");
    // What is seen on the way: nothing goes before a list has come to its end.
    let mut complete = false;
    while !complete {
        timeout(LONG, follower.watches.inbox().changed())
            .await
            .expect("goes on");
        let done = lists.load(Ordering::Relaxed) >= 9;
        follower.take();
        let services = follower.services();
        assert!(services.contains(&"b"));
        assert!(services.contains(&"a") || done, "{services:?}");
        complete = services == ["b", "c"];
    }
}

#[tokio::test]
async fn a_malformed_object_is_one_problem_and_all_others_go_on() {
    let (streams, senders) = Streams::prepare(1);
    let server = Server::start(move |asked| {
        if ports(asked) {
            let items = [service("a", "1"), service("b", "2")];
            return Some(Answer::Json(200, list("10", &items)));
        }
        is_services(asked).then(|| streams.next()).flatten()
    })
    .await;
    let mut follower = Follower::start(&server).await;
    follower
        .until("listed", |follower| follower.services() == ["a", "b"])
        .await;
    let good = follower.store.service("shop", "a").cloned();

    let mut bad = service("a", "11");
    bad["spec"]["ports"] = json!([{"port": "http"}]);
    senders[0]
        .send(event("MODIFIED", &bad))
        .expect("the watch is there");
    senders[0]
        .send(event("ADDED", &service("c", "12")))
        .expect("the watch is there");
    follower
        .until("followed", |follower| {
            follower.services() == ["a", "b", "c"]
        })
        .await;
    let problems = &follower.problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(
        problems[0].object,
        Some(ObjectKey::new(Kind::Service, "shop", "a"))
    );
    assert_eq!(problems[0].field, "spec.ports[0].port");
    assert_eq!(follower.store.service("shop", "a").cloned(), good);

    senders[0]
        .send(event("MODIFIED", &service("a", "13")))
        .expect("the watch is there");
    follower
        .until("mended", |follower| follower.problems.is_empty())
        .await;
}

#[tokio::test]
async fn a_cut_stream_goes_on_where_the_last_bookmark_was() {
    let (streams, mut senders) = Streams::prepare(2);
    let server = Server::start(move |asked| {
        if ports(asked) {
            let version = match asked.parameter("limit") {
                Some("1") => "57",
                _ => "10",
            };
            return Some(Answer::Json(200, list(version, &[service("a", "1")])));
        }
        is_services(asked).then(|| streams.next()).flatten()
    })
    .await;
    let mut follower = Follower::start(&server).await;
    follower
        .until("listed", |follower| follower.services() == ["a"])
        .await;
    let first = senders.remove(0);
    first
        .send(event("ADDED", &service("b", "40")))
        .expect("the watch is there");
    let bookmark =
        json!({"kind": "Service", "apiVersion": "v1", "metadata": {"resourceVersion": "50"}});
    first
        .send(event("BOOKMARK", &bookmark))
        .expect("the watch is there");
    follower
        .until("followed", |follower| follower.services() == ["a", "b"])
        .await;
    drop(first);
    senders[0]
        .send(event("DELETED", &service("a", "51")))
        .expect("the watch is there");
    follower
        .until("followed on", |follower| follower.services() == ["b"])
        .await;

    let asked = server.asked("services");
    let lists = asked
        .iter()
        .filter(|asked| asked.parameter("limit") == Some("500"));
    assert_eq!(lists.count(), 1, "{asked:?}");
    let last = asked
        .last()
        .and_then(|asked| asked.parameter("resourceVersion"));
    assert_eq!(last, Some("50"));
}

#[tokio::test]
async fn an_api_server_that_has_lost_its_memory_is_read_anew() {
    let (streams, mut senders) = Streams::prepare(2);
    let lists = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        if ports(asked) {
            let items = match lists.fetch_add(1, Ordering::Relaxed) {
                0 => list("9000", &[service("a", "1"), service("b", "2")]),
                _ => list("7", &[service("b", "5")]),
            };
            return Some(Answer::Json(200, items));
        }
        is_services(asked).then(|| streams.next()).flatten()
    })
    .await;
    let mut follower = Follower::start(&server).await;
    follower
        .until("listed", |follower| follower.services() == ["a", "b"])
        .await;
    drop(senders.remove(0));
    follower
        .until("read anew", |follower| follower.services() == ["b"])
        .await;
    senders[0]
        .send(event("ADDED", &service("c", "8")))
        .expect("the watch is there");
    follower
        .until("followed", |follower| follower.services() == ["b", "c"])
        .await;
}

#[tokio::test]
async fn an_api_server_that_cuts_every_stream_is_not_asked_without_end() {
    let server = Server::start(|asked| {
        let cut = is_services(asked) && asked.is_watch();
        cut.then(|| Answer::Stream(unbounded_channel().1))
    })
    .await;
    let follower = Follower::start(&server).await;
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
    let again = async {
        while server.asked("services").len() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, again).await.expect("asked again");
    sleep(Duration::from_secs(2)).await;
    let asked = server.asked("services").len();
    // One list, and twice as many requests as doubled waits of at least 50 ms have room in 2 s.
    assert!(asked < 16, "{asked} requests");
}

#[tokio::test]
async fn a_refusal_names_the_rule_that_is_missing_and_ends_with_it() {
    let refused = Arc::new(AtomicUsize::new(1));
    let server = Server::start({
        let refused = Arc::clone(&refused);
        move |asked| {
            let refuse = is_services(asked) && refused.load(Ordering::Relaxed) > 0;
            refuse.then(|| Answer::Json(403, status(403, "services is forbidden")))
        }
    })
    .await;
    let mut follower = Follower::start(&server).await;
    follower
        .until("refused", |follower| !follower.problems.is_empty())
        .await;
    let problem = follower.problems[0].clone();
    assert!(
        problem.message.contains("Service: may not be read (403)"),
        "{problem:?}"
    );
    assert!(
        problem
            .hint
            .contains("resources: [services], verbs: [list, watch]"),
        "{problem:?}"
    );
    let one_is_missing = |follower: &Follower| {
        let missing = follower.watches.inbox().missing();
        missing.len() == 1 && missing[0].starts_with("Service (refused")
    };
    follower.until("told of", one_is_missing).await;

    refused.store(0, Ordering::Relaxed);
    follower
        .until("allowed", |follower| follower.problems.is_empty())
        .await;
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
}

#[tokio::test]
async fn without_rights_to_read_classes_all_else_is_read() {
    let server = Server::start(|asked| {
        let classes = asked.path.ends_with("/ingressclasses");
        classes.then(|| Answer::Json(403, status(403, "forbidden")))
    })
    .await;
    let mut follower = Follower::start(&server).await;
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
    follower
        .until("told", |follower| follower.problems.len() == 1)
        .await;
    assert!(follower.problems[0].message.contains("--ingress-class"));
}

fn secret(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": "shop", "resourceVersion": version},
        "type": "Opaque", "data": {"key": "dmFsdWU="}
    })
}

#[tokio::test]
async fn a_secret_that_is_referred_to_is_watched_alone_and_never_listed() {
    let (streams, senders) = Streams::prepare(1);
    let server = Server::start(move |asked| {
        if !asked.path.contains("/secrets") {
            return None;
        }
        let of = |name: &str| {
            asked.parameter("fieldSelector") == Some(&format!("metadata.name%3D{name}"))
        };
        match asked.path.as_str() {
            "/api/v1/namespaces/shop/secrets/late" => Some(Answer::Json(404, status(404, "no"))),
            "/api/v1/namespaces/shop/secrets/here" => Some(Answer::Json(200, secret("here", "3"))),
            "/api/v1/namespaces/shop/secrets" if of("late") => streams.next(),
            "/api/v1/namespaces/shop/secrets" if of("mine") => {
                Some(Answer::Json(403, status(403, "forbidden")))
            }
            "/api/v1/namespaces/shop/secrets" if asked.is_watch() => None,
            _ => Some(Answer::Json(500, status(500, "not asked for"))),
        }
    })
    .await;
    let mut follower = Follower::start(&server).await;
    let key = |name: &str| ObjectKey::new(Kind::Secret, "shop", name);
    let references: Arc<[ObjectKey]> = ["here", "late", "mine"].map(key).into();
    assert!(follower.watches.refer(&references));
    assert!(!follower.watches.refer(&references));
    // Three answers: it is there, there is none, and that we may not know.
    timeout(LONG, follower.watches.referred(LONG * 2))
        .await
        .expect("answered");
    follower.take();
    assert!(follower.store.secret("shop", "here").is_some());
    assert_eq!(follower.store.secrets().count(), 1);
    let hint = &follower.problems[0].hint;
    assert!(
        hint.contains("resources: [secrets], verbs: [get, watch]"),
        "{hint}"
    );

    senders[0]
        .send(event("ADDED", &secret("late", "9")))
        .expect("the watch is there");
    follower
        .until("there", |follower| {
            follower.store.secret("shop", "late").is_some()
        })
        .await;
    senders[0]
        .send(event("DELETED", &secret("late", "10")))
        .expect("the watch is there");
    follower
        .until("gone", |follower| {
            follower.store.secret("shop", "late").is_none()
        })
        .await;

    assert!(!follower.watches.refer(&[key("late")].into()));
    follower
        .until("dropped", |follower| follower.store.secrets().count() == 0)
        .await;
    assert!(follower.problems.is_empty(), "{:?}", follower.problems);
    for asked in server.asked("secrets") {
        let alone = asked.parameter("fieldSelector").is_some();
        assert!(
            alone || asked.path.starts_with("/api/v1/namespaces/shop/secrets/"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_streamed_list_takes_nothing_away_before_it_is_complete() {
    let (streams, mut senders) = Streams::prepare(4);
    let server = Server::start_streaming(move |asked| {
        if ports(asked) {
            return Some(Answer::Json(500, status(500, "no pages")));
        }
        is_services(asked).then(|| streams.next()).flatten()
    })
    .await;
    let mut follower = Follower::start(&server).await;
    let first = senders.remove(0);
    let send = |to: &UnboundedSender<Value>, what| to.send(what).expect("the watch is there");
    send(&first, event("ADDED", &service("a", "1")));
    send(&first, event("ADDED", &service("b", "2")));
    let unlisted = timeout(Duration::from_millis(200), follower.watches.listed());
    assert!(unlisted.await.is_err());
    send(&first, end_of_list("10"));
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
    send(&first, event("ADDED", &service("c", "11")));
    let all = |follower: &Follower| follower.services() == ["a", "b", "c"];
    follower.until("followed", all).await;

    let gone = status(410, "too old resource version");
    send(&first, event("ERROR", &gone));
    // The next one is refused in its middle, the one after it is whole.
    let second = senders.remove(0);
    send(&second, event("ADDED", &service("d", "20")));
    send(&second, event("ERROR", &status(500, "etcd is away")));
    let third = senders.remove(0);
    send(&third, event("ADDED", &service("e", "30")));
    sleep(Duration::from_millis(500)).await;
    follower.take();
    let services = follower.services();
    let kept = ["a", "b", "c"].iter().all(|name| services.contains(name));
    assert!(kept, "{services:?}");
    send(&third, end_of_list("31"));
    let anew = |follower: &Follower| follower.services() == ["e"];
    follower.until("listed again", anew).await;
}

/// The answer of an API server that has Gateway API as far as `stage` says: not, an old release,
/// or a newer one.
fn gateway_api(stage: usize, asked: &Asked) -> Option<Answer> {
    let resources = |kinds: &[&str]| {
        let resource = |name: &&str| json!({"name": name, "verbs": ["get", "list", "watch"]});
        let status = json!({"name": "gateways/status", "verbs": ["get", "patch"]});
        let all = kinds.iter().map(resource).chain([status]);
        json!({"resources": all.collect::<Vec<_>>()})
    };
    let group = |versions: &[&str]| {
        let versions = versions.iter().map(|version| json!({"version": version}));
        json!({"versions": versions.collect::<Vec<_>>()})
    };
    let path = asked.path.strip_prefix("/apis/gateway.networking.k8s.io")?;
    let found = match (stage, path) {
        (3, _) => return Some(Answer::Json(503, status(503, "etcd is away"))),
        (1, "") => group(&["v1", "v1beta1", "v1alpha2"]),
        (2, "") => group(&["v1", "v1beta1"]),
        (1, "/v1") => resources(&["gateways", "httproutes"]),
        (2, "/v1") => resources(&["gateways", "httproutes", "tcproutes"]),
        (1 | 2, "/v1beta1") => resources(&["gateways", "referencegrants"]),
        (1, "/v1alpha2") => resources(&["tcproutes"]),
        (1, "/v1alpha2/tcproutes") | (2, "/v1/tcproutes") if !asked.is_watch() => {
            list("5", &[service("stream", "1")])
        }
        (1 | 2, "/v1beta1/referencegrants") if !asked.is_watch() => {
            list("5", &[service("grant", "1")])
        }
        (0, _) => return Some(Answer::Json(404, status(404, "not found"))),
        _ => return None,
    };
    Some(Answer::Json(200, found))
}

#[tokio::test]
async fn each_kind_of_an_optional_api_is_read_in_the_best_version_while_it_is_there() {
    let stage = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let stage = Arc::clone(&stage);
        move |asked| gateway_api(stage.load(Ordering::Relaxed), asked)
    })
    .await;
    let options = Options {
        optional: vec![Optional::known().swap_remove(0)],
        ..Options::default()
    };
    let mut follower = Follower::start_with(&server, &options).await;
    timeout(LONG, follower.watches.listed())
        .await
        .expect("listed");
    follower.take();
    let routes = |follower: &Follower| follower.store.count(Kind::TcpRoute);
    assert_eq!(routes(&follower), 0);
    assert!(server.asked("tcproutes").is_empty());
    assert!(server.asked("namespaces").is_empty());

    stage.store(1, Ordering::Relaxed);
    let is_read = |follower: &Follower| {
        routes(follower) == 1 && follower.store.count(Kind::ReferenceGrant) == 1
    };
    follower.until("read", is_read).await;
    let served = follower.watches.inbox().offers().swap_remove(0).kinds;
    let group = "gateway.networking.k8s.io";
    let served: Vec<_> = served
        .iter()
        .map(|(kind, version)| format!("{kind} {}", version.trim_start_matches(group)))
        .collect();
    let expected = [
        "Gateway /v1",
        "HTTPRoute /v1",
        "ReferenceGrant /v1beta1",
        "TCPRoute /v1alpha2",
    ];
    assert_eq!(served, expected);
    assert!(!server.asked("namespaces").is_empty());

    // A kind that moves to another version never seems to go.
    stage.store(2, Ordering::Relaxed);
    let moved = async {
        let of_v1 = |asked: &Asked| asked.path.ends_with("/v1/tcproutes") && asked.is_watch();
        while !server.asked("tcproutes").iter().any(of_v1) {
            follower.take();
            assert_eq!(routes(&follower), 1);
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, moved).await.expect("watched");

    // That nobody answers does not mean that it is gone.
    stage.store(3, Ordering::Relaxed);
    let asked = server.asked(group).len();
    while server.asked(group).len() == asked {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(300)).await;
    follower.take();
    assert!(is_read(&follower));
    stage.store(0, Ordering::Relaxed);
    follower
        .until("gone", |follower| routes(follower) == 0)
        .await;
    assert!(!follower.watches.inbox().offers()[0].is_read());
    let kinds = follower.watches.inbox().conditions();
    let is_optional = |kind: Kind| kind.is_custom() || kind == Kind::Namespace;
    assert!(kinds.iter().all(|condition| !is_optional(condition.kind)));
}

#[tokio::test]
async fn of_very_many_secrets_some_are_watched_and_the_others_asked_for() {
    let server = Server::start(|asked| {
        let name = asked
            .path
            .strip_prefix("/api/v1/namespaces/shop/secrets/")?;
        Some(Answer::Json(200, secret(name, "3")))
    })
    .await;
    let options = Options {
        max_references: 2,
        ..Options::default()
    };
    let mut follower = Follower::start_with(&server, &options).await;
    let key = |name: &str| ObjectKey::new(Kind::Secret, "shop", name);
    follower
        .watches
        .refer(&["a", "b", "c", "d"].map(key).into());
    let all = |follower: &Follower| follower.store.secrets().count() == 4;
    follower.until("read", all).await;
    let watched = server.asked("secrets").into_iter().filter(Asked::is_watch);
    assert_eq!(watched.count(), 2);
    let message = &follower.problems[0].message;
    assert!(
        message.contains("4 Secrets and ConfigMaps are referred to; the changes of 2"),
        "{message}"
    );

    follower.watches.refer(&["a", "c"].map(key).into());
    let fewer = |follower: &Follower| follower.store.secrets().count() == 2;
    follower.until("dropped", fewer).await;
    follower.watches.refer(&["a", "c", "e"].map(key).into());
    let more = |follower: &Follower| follower.store.secret("shop", "e").is_some();
    follower.until("read", more).await;
    let watches = || {
        let asked = server.asked("secrets").into_iter();
        asked.filter(Asked::is_watch).count()
    };
    let third = async {
        while watches() < 3 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let third = timeout(LONG, third).await;
    assert!(third.is_ok(), "c does not have the place of b");
    assert_eq!(watches(), 3, "there is no place for e");
}
