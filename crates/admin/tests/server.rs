//! The admin address over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use admin::{AdminServer, AdminState, Exposition, Pages, view};
use narthex_admin as admin;

#[derive(Default)]
struct State {
    ready: AtomicBool,
}

impl AdminState for State {
    fn readiness(&self) -> Result<String, String> {
        if self.ready.load(Ordering::Relaxed) {
            Ok("ok".to_owned())
        } else {
            Err("the first configuration is not served yet".to_owned())
        }
    }

    fn metrics(&self) -> Exposition {
        Exposition::OpenMetrics("a_total 1\n# EOF\n".to_owned())
    }

    fn status(&self) -> view::Status {
        view::Status {
            version: "1.2.3",
            ready: false,
            uptime_seconds: 7,
            generation: 0,
            last_applied: None,
            counts: view::Counts::default(),
            problems: view::ProblemCounts::default(),
            listening: Vec::new(),
            sources: Vec::new(),
            apis: Vec::new(),
            cluster: None,
        }
    }

    fn problems(&self) -> Vec<view::Problem> {
        Vec::new()
    }

    fn objects(&self, wanted: &view::Wanted) -> Result<view::Objects, String> {
        if wanted.kind.as_deref() == Some("Teapot") {
            return Err("there is no kind Teapot".to_owned());
        }
        Ok(view::Objects {
            said_by: "a test",
            items: Vec::new(),
            remaining: wanted.limit,
            next: wanted.after.clone(),
        })
    }

    fn certificates(&self) -> Vec<view::Certificate> {
        Vec::new()
    }

    fn obtained(&self) -> Vec<view::ObtainedCertificate> {
        Vec::new()
    }

    fn order(&self, order: &view::Order, token: Option<&str>) -> Result<String, view::Refusal> {
        match token {
            Some("right") => Ok(format!("{:?} {} {}", order.kind, order.secret, order.body)),
            _ => Err(view::Refusal::Forbidden("no".to_owned())),
        }
    }

    fn explain(&self, url: &str, as_text: bool) -> Result<view::Explained, String> {
        match as_text {
            true => Ok(view::Explained::Text(format!("about {url}"))),
            false => Err(format!("{url} is none")),
        }
    }

    fn routes(&self, _: Option<&str>, _: usize) -> Vec<view::Listener> {
        Vec::new()
    }
}

/// Serves on a thread for the rest of the test.
fn start() -> (SocketAddr, Arc<State>) {
    start_with(Pages::All)
}

fn start_with(pages: Pages) -> (SocketAddr, Arc<State>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = AdminServer::bind(any, pages).expect("a free port");
    let address = server.address();
    let state = Arc::new(State::default());
    let shared = Arc::clone(&state);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(server.serve(shared)).expect("serves");
    });
    (address, state)
}

/// Everything that the server says to `request` until it closes.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("connects");
    stream.write_all(request.as_bytes()).expect("sends");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answers");
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).expect("a status line")
}

#[test]
fn the_health_address_has_health_and_metrics_by_any_name_and_no_api() {
    let (address, state) = start_with(Pages::Health);
    state.ready.store(true, Ordering::Relaxed);
    let get = |path: &str| {
        let head = "HTTP/1.1\r\nHost: narthex-metrics.narthex.svc:10254\r\nConnection: close";
        ask(address, &format!("GET {path} {head}\r\n\r\n"))
    };
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&get(path)), "200", "{path}");
    }
    for path in ["/api/status", "/api/problems", "/api/routes"] {
        assert_eq!(status(&get(path)), "403", "{path}");
    }
    assert!(!get("/").contains("/api/"));
}

#[test]
fn probes_are_answered() {
    let (address, state) = start();
    assert!(get(address, "/healthz").ends_with("\r\n\r\nok\n"));
    let waiting = get(address, "/readyz");
    assert_eq!(status(&waiting), "503");
    assert!(waiting.contains("not served yet"), "{waiting}");
    state.ready.store(true, Ordering::Relaxed);
    assert_eq!(status(&get(address, "/readyz")), "200");
}

#[test]
fn metrics_say_their_format() {
    let (address, _) = start();
    let answer = get(address, "/metrics");
    assert!(answer.contains("\r\nContent-Type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.ends_with("# EOF\n"));
}

#[test]
fn the_api_answers_with_json() {
    let (address, _) = start();
    let answer = get(address, "/api/status?pretty");
    assert!(answer.contains("\r\nContent-Type: application/json\r\n"));
    assert!(answer.contains("\"version\": \"1.2.3\""), "{answer}");
    assert!(get(address, "/api/problems").ends_with("\r\n\r\n[]\n"));
    assert_eq!(status(&get(address, "/api/routes")), "200");
    assert!(get(address, "/").contains("/api/routes"));
}

#[test]
fn objects_are_asked_for_by_name_and_page() {
    let (address, _) = start();
    // The state says how many it was asked for, and after which.
    for (query, expected) in [
        ("", "\"remaining\": 500"),
        ("?limit=3&after=Gateway%2Fa%2Fb", "\"remaining\": 3"),
        (
            "?limit=3&after=Gateway%2Fa%2Fb",
            "\"next\": \"Gateway/a/b\"",
        ),
        ("?limit=1000000", "\"remaining\": 5000"),
        ("?limit=0", "\"remaining\": 1\n"),
    ] {
        let answer = get(address, &format!("/api/objects{query}"));
        assert!(answer.contains(expected), "{query}: {answer}");
    }
    for query in ["?kind=Teapot", "?limit=x"] {
        let answer = get(address, &format!("/api/objects{query}"));
        assert_eq!(status(&answer), "400", "{query}");
    }
}

#[test]
fn what_is_not_there_is_refused() {
    let (address, _) = start();
    assert_eq!(status(&get(address, "/nothing")), "404");
    let post = format!("POST /healthz HTTP/1.1\r\nHost: {address}\r\nContent-Length: 3\r\n\r\nabc");
    let answer = ask(address, &post);
    assert_eq!(status(&answer), "405");
    assert!(answer.contains("\r\nAllow: GET, HEAD\r\n"));
    let rebound = "GET /api/routes HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert_eq!(status(&ask(address, rebound)), "403");
    assert_eq!(status(&ask(address, "nonsense\r\n\r\n")), "400");
    let large = format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000));
    assert_eq!(status(&ask(address, &large)), "431");
}

#[test]
fn a_connection_takes_several_requests() {
    let (address, _) = start();
    let requests = format!(
        "GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n\
         HEAD /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n\
         GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    );
    let answer = ask(address, &requests);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(answer.matches("\r\n\r\nok\n").count(), 1, "{answer}");
}

#[test]
fn slow_clients_are_cut() {
    let (address, _) = start();
    let begin = Instant::now();
    let answer = ask(address, "GET / HTTP/1.1\r\n");
    assert_eq!(status(&answer), "408");
    let took = begin.elapsed();
    assert!(
        took > Duration::from_secs(4) && took < Duration::from_secs(30),
        "{took:?}"
    );
}

#[test]
fn connections_are_bounded() {
    let (address, _) = start();
    let held: Vec<_> = (0..64)
        .map(|_| TcpStream::connect(address).expect("connects"))
        .collect();
    // Accepted in order: the last one comes after all that are held.
    let answer = ask(address, "");
    assert_eq!(status(&answer), "503");
    drop(held);
}

#[test]
fn a_port_in_use_is_named() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = held.local_addr().expect("bound");
    let error = AdminServer::bind(address, Pages::All)
        .expect_err("in use")
        .to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(
        error.contains("in use") && error.contains("--admin-address"),
        "{error}"
    );
}
