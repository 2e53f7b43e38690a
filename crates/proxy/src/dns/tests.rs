use std::collections::HashSet;
use std::sync::Mutex;

use hickory_resolver::Hosts;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

/// What the server says of a name.
#[derive(Clone)]
enum Say {
    Addresses(Vec<IpAddr>, u32),
    Fail,
    /// Nothing to questions for AAAA.
    SilentForV6(IpAddr),
}

/// A DNS server that knows what it was told, and notes what it was asked.
#[derive(Clone)]
struct Server {
    known: Arc<Mutex<HashMap<String, Say>>>,
    asked: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            known: Arc::default(),
            asked: Arc::default(),
            address: socket.local_addr().unwrap(),
        };
        tokio::spawn(server.clone().serve(socket));
        server
    }

    fn say(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        self.say_this(name, Say::Addresses(addresses, ttl));
    }

    fn say_this(&self, name: &str, say: Say) {
        self.known.lock().unwrap().insert(name.to_owned(), say);
    }

    fn asked_for(&self, name: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| *asked == name).count()
    }

    async fn serve(self, socket: UdpSocket) {
        let mut buffer = [0; 1500];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
            if let Some(answer) = self.answer(&buffer[..len]) {
                socket.send_to(&answer, peer).await.unwrap();
            }
        }
    }

    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let question = Message::from_vec(question).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_ascii().to_lowercase();
        self.asked.lock().unwrap().push(name.clone());
        let say = self.known.lock().unwrap().get(&name).cloned();
        let v6 = query.query_type() == RecordType::AAAA;
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        match say {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(Say::Fail) => answer.metadata.response_code = ResponseCode::ServFail,
            Some(Say::SilentForV6(_)) if v6 => return None,
            Some(Say::SilentForV6(ip)) => {
                answer.add_answer(Record::from_rdata(query.name().clone(), 60, ip.into()));
            }
            Some(Say::Addresses(addresses, ttl)) => {
                for ip in addresses.into_iter().filter(|ip| ip.is_ipv6() == v6) {
                    let data = RData::from(ip);
                    answer.add_answer(Record::from_rdata(query.name().clone(), ttl, data));
                }
            }
        }
        answer.add_query(query);
        Some(answer.to_vec().unwrap())
    }

    fn client(&self, search: &[&str], hosts: Hosts) -> Client {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.address.port();
        let mut server = NameServerConfig::udp(self.address.ip());
        server.connections = vec![connection];
        let search = search.iter().map(|name| Name::from_ascii(name).unwrap());
        let config = ResolverConfig::from_parts(None, search.collect(), vec![server]);
        let mut options = ResolverOpts::default();
        options.timeout = Duration::from_secs(3);
        options.attempts = 1;
        Client::fixed(config, options, hosts)
    }
}

fn backend(host: &str) -> Arc<Backend> {
    Arc::new(Backend::new(
        "default/outside:80",
        Discovery::Dns {
            host: host.into(),
            port: 80,
        },
        unresolved(),
    ))
}

fn unresolved() -> EndpointSet {
    EndpointSet::none(Unavailable::Unresolved)
}

/// Follows backends until the sender is dropped.
fn follow(
    client: Client,
    allow_local: bool,
    backends: &[&Arc<Backend>],
) -> watch::Sender<Vec<Arc<Backend>>> {
    let backends = backends.iter().map(|&backend| Arc::clone(backend));
    let (sender, receiver) = watch::channel(backends.collect());
    tokio::spawn(Resolver::with_client(client, allow_local, |_| true).run(receiver));
    sender
}

fn addresses(backend: &Backend) -> Vec<String> {
    let endpoints = backend.endpoints();
    let addresses = endpoints.ready.iter();
    addresses
        .map(|endpoint| endpoint.address.to_string())
        .collect()
}

#[track_caller]
fn wait(what: impl Fn() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !what() {
            assert!(start.elapsed() < Duration::from_secs(60), "at {caller}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn both_families_are_used_and_changes_are_seen_when_the_ttl_ends() {
    let server = Server::start().await;
    server.say("x.example.", &["192.0.2.2", "192.0.2.1", "2001:db8::1"], 1);
    let x = backend("X.example");
    let _sender = follow(server.client(&[], Hosts::default()), false, &[&x]);
    wait(|| addresses(&x) == ["192.0.2.1:80", "192.0.2.2:80", "[2001:db8::1]:80"]).await;
    let before = Arc::clone(&x.endpoints());
    server.say("x.example.", &["192.0.2.3", "192.0.2.2"], 1);
    wait(|| addresses(&x) == ["192.0.2.2:80", "192.0.2.3:80"]).await;
    let after = Arc::clone(&x.endpoints());
    assert!(
        Arc::ptr_eq(&before.ready[1], &after.ready[0]),
        "what stayed is the same endpoint, so that its connections are kept"
    );
    server.say("x.example.", &["192.0.2.2", "192.0.2.3"], 60);
    let asked = server.asked_for("x.example.");
    wait(|| server.asked_for("x.example.") >= asked + 2).await;
    // With the TTL of a second that it had, it would be asked for again and again. The question that
    // was under way as the answer changed may have been told the old one.
    let start = Instant::now();
    loop {
        let asked = server.asked_for("x.example.");
        tokio::time::sleep(Duration::from_millis(2500)).await;
        if server.asked_for("x.example.") == asked {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(50), "the TTL holds");
    }
    assert!(
        Arc::ptr_eq(&after, &x.endpoints()),
        "another order is no change"
    );
}

#[tokio::test]
async fn forbidden_addresses_are_never_used() {
    let server = Server::start().await;
    server.say("all.example.", &["127.0.0.1", "::ffff:169.254.169.254"], 60);
    server.say("some.example.", &["127.0.0.1", "192.0.2.1"], 60);
    let names = ["all.example", "some.example", "localhost", "a.localhost."];
    let backends = names.map(backend);
    let [all, some, localhost, below] = &backends;
    let list = backends.each_ref();
    let _sender = follow(server.client(&[], Hosts::default()), false, &list);
    for backend in [all, localhost, below] {
        wait(|| backend.endpoints().unavailable == Some(Unavailable::ForbiddenAddress)).await;
        assert!(addresses(backend).is_empty());
    }
    wait(|| addresses(some) == ["192.0.2.1:80"]).await;
    assert_eq!(some.endpoints().unavailable, None);
}

#[tokio::test]
async fn a_name_that_turns_to_forbidden_addresses_loses_the_good_ones() {
    let server = Server::start().await;
    server.say("x.example.", &["192.0.2.1"], 1);
    let x = backend("x.example");
    let _sender = follow(server.client(&[], Hosts::default()), false, &[&x]);
    wait(|| addresses(&x) == ["192.0.2.1:80"]).await;
    server.say("x.example.", &["127.0.0.1"], 1);
    wait(|| x.endpoints().unavailable == Some(Unavailable::ForbiddenAddress)).await;
    assert!(addresses(&x).is_empty());
}

#[tokio::test]
async fn local_addresses_are_used_where_that_is_allowed() {
    let server = Server::start().await;
    server.say("x.example.", &["127.0.0.1", "::ffff:127.0.0.2"], 60);
    let backends = ["x.example", "127.0.0.9", "localhost"].map(backend);
    let list = backends.each_ref();
    let _sender = follow(server.client(&[], Hosts::default()), true, &list);
    let [x, literal, localhost] = &backends;
    wait(|| addresses(x) == ["127.0.0.1:80", "127.0.0.2:80"]).await;
    wait(|| addresses(literal) == ["127.0.0.9:80"]).await;
    wait(|| addresses(localhost) == ["127.0.0.1:80", "[::1]:80"]).await;
}

#[tokio::test]
async fn literal_addresses_need_no_dns() {
    let server = Server::start().await;
    let backends = ["192.0.2.1", "[2001:db8::1]", "169.254.169.254"].map(backend);
    let list = backends.each_ref();
    let _sender = follow(server.client(&[], Hosts::default()), false, &list);
    let [v4, v6, metadata] = &backends;
    wait(|| addresses(v4) == ["192.0.2.1:80"]).await;
    wait(|| addresses(v6) == ["[2001:db8::1]:80"]).await;
    wait(|| metadata.endpoints().unavailable == Some(Unavailable::ForbiddenAddress)).await;
    assert!(server.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_last_good_addresses_outlive_a_failing_server() {
    let server = Server::start().await;
    server.say("x.example.", &["192.0.2.1"], 1);
    let x = backend("x.example");
    let _sender = follow(server.client(&[], Hosts::default()), false, &[&x]);
    wait(|| addresses(&x) == ["192.0.2.1:80"]).await;
    server.say_this("x.example.", Say::Fail);
    let asked = server.asked_for("x.example.");
    wait(|| server.asked_for("x.example.") >= asked + 4).await;
    assert_eq!(addresses(&x), ["192.0.2.1:80"]);
    server.say("x.example.", &["192.0.2.2"], 60);
    wait(|| addresses(&x) == ["192.0.2.2:80"]).await;
}

#[test]
fn the_last_good_addresses_are_given_up_in_the_end() {
    let x = backend("x.example");
    let mut followed = Followed::new(Arc::clone(&x), "x.example".into(), 80);
    let endpoint = Arc::new(Endpoint::new("192.0.2.1:80".parse().unwrap()));
    let policy = model::Policy::shared_default();
    x.set_endpoints(EndpointSet::new(vec![endpoint.into()], policy));
    let start = Instant::now();
    let mut waits = Vec::new();
    for seconds in [0, 1, 3, 7, 15, 30, 60, 599] {
        let now = start + Duration::from_secs(seconds);
        waits.push(followed.failed(&NetError::Timeout, now));
        assert_eq!(addresses(&x), ["192.0.2.1:80"], "after {seconds} s");
    }
    followed.failed(&NetError::Timeout, start + KEEP_STALE);
    assert_eq!(**x.endpoints(), unresolved());
    for (attempt, wait) in waits.iter().enumerate() {
        let whole = (1_u64 << attempt).min(30) as f64;
        let wait = wait.as_secs_f64();
        assert!((0.75 * whole..=1.25 * whole).contains(&wait), "{waits:?}");
    }
}

#[tokio::test]
async fn a_name_that_comes_into_being_is_found() {
    let server = Server::start().await;
    let x = backend("x.example");
    let _sender = follow(server.client(&[], Hosts::default()), false, &[&x]);
    wait(|| server.asked_for("x.example.") >= 2).await;
    assert_eq!(**x.endpoints(), unresolved());
    server.say("x.example.", &["192.0.2.1"], 60);
    wait(|| addresses(&x) == ["192.0.2.1:80"]).await;
}

#[tokio::test]
async fn a_backend_that_is_gone_is_not_asked_for_any_more() {
    let server = Server::start().await;
    server.say("gone.example.", &["192.0.2.1"], 1);
    server.say("kept.example.", &["192.0.2.2"], 1);
    server.say("new.example.", &["192.0.2.3"], 1);
    let [gone, kept, new] = ["gone.example", "kept.example", "new.example"].map(backend);
    let client = server.client(&[], Hosts::default());
    let sender = follow(client, false, &[&gone, &kept]);
    wait(|| !addresses(&gone).is_empty() && !addresses(&kept).is_empty()).await;
    sender
        .send(vec![Arc::clone(&kept), Arc::clone(&new)])
        .unwrap();
    wait(|| addresses(&new) == ["192.0.2.3:80"]).await;
    let asked = server.asked_for("gone.example.");
    let kept = server.asked_for("kept.example.");
    wait(|| server.asked_for("kept.example.") > kept + 2).await;
    assert_eq!(server.asked_for("gone.example."), asked);
    assert_eq!(Arc::strong_count(&gone), 1, "nobody keeps it");
}

#[tokio::test]
async fn search_domains_are_for_names_that_do_not_exist_otherwise() {
    let server = Server::start().await;
    server.say("a.b.", &["192.0.2.1"], 60);
    server.say("a.b.cluster.local.", &["192.0.2.9"], 60);
    server.say("web.ns.cluster.local.", &["192.0.2.2", "2001:db8::2"], 60);
    server.say_this("broken.example.", Say::Fail);
    server.say("broken.example.cluster.local.", &["192.0.2.9"], 60);
    let client = server.client(&["svc.local.", "cluster.local."], Hosts::default());
    let found = async |host: &str| client.lookup(host).await.map(|answer| answer.addresses);
    let ip = |ip: &str| ip.parse::<IpAddr>().unwrap();
    assert_eq!(found("a.b").await.unwrap(), [ip("192.0.2.1")]);
    let mut both = found("web.ns").await.unwrap();
    both.sort_unstable();
    assert_eq!(both, [ip("192.0.2.2"), ip("2001:db8::2")]);
    assert!(
        found("web.ns.").await.is_err(),
        "a final dot says: as it is"
    );
    assert!(found("broken.example").await.is_err());
    assert!(found("no such name").await.is_err());
    assert!(found(&"a".repeat(64)).await.is_err());
    assert_eq!(server.asked_for("a.b.cluster.local."), 0);
}

#[tokio::test]
async fn a_server_that_never_speaks_of_ipv6_costs_a_second() {
    let server = Server::start().await;
    let ip: IpAddr = "192.0.2.1".parse().unwrap();
    server.say_this("x.example.", Say::SilentForV6(ip));
    let mut client = server.client(&[], Hosts::default());
    let start = Instant::now();
    let answer = client.lookup("x.example").await.unwrap();
    assert_eq!(answer.addresses, [ip]);
    // Where it cost all that a lookup may take, it would be twenty.
    assert!(start.elapsed() < Duration::from_secs(15));
    let hosts = "192.0.2.7 x.example other\n127.0.0.1 localhost\n";
    let mut file = Hosts::default();
    file.read_hosts_conf(hosts.as_bytes()).unwrap();
    client = server.client(&[], file);
    let asked = server.asked_for("x.example.");
    let answer = client.lookup("x.example").await.unwrap();
    assert_eq!(answer.addresses, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(
        asked,
        server.asked_for("x.example."),
        "the hosts file is enough"
    );
}

#[tokio::test]
async fn without_any_server_names_do_not_resolve() {
    let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
    let client = Client::fixed(nobody, ResolverOpts::default(), Hosts::default());
    let start = Instant::now();
    assert!(client.lookup("x.example").await.is_err());
    assert!(start.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn addresses_without_a_route_are_left_out_if_others_have_one() {
    let shared = |reachable| {
        let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
        let client = Client::fixed(nobody, ResolverOpts::default(), Hosts::default());
        Resolver::with_client(client, false, reachable).shared
    };
    let both = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let x = backend("x.example");
    let mut followed = Followed::new(Arc::clone(&x), "x.example".into(), 80);
    followed.found(&shared(|address| address.is_ipv4()), both.to_vec());
    assert_eq!(addresses(&x), ["192.0.2.1:80"]);
    followed.found(&shared(|_| false), both.to_vec());
    let all: HashSet<_> = addresses(&x).into_iter().collect();
    assert_eq!(all.len(), 2, "better one that may fail than none");
}
