//! Copies of requests: whatever becomes of them, the requests are as quick and as good as without.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use program_tests::gateway::{gateway, route};
use program_tests::{Backend, Conn, Folder, Narthex, ports, service, services, until};

const HOST: &str = "a.example";

/// How a backend of copies is of no use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Useless {
    /// It accepts, reads nothing and says nothing.
    Deaf,
    /// It reads all and says nothing.
    Mute,
    /// It is not even accepted: the queue of its socket is full.
    Full,
}

struct Nowhere {
    address: SocketAddr,
    /// What holds its connections open.
    _held: Arc<Mutex<Vec<TcpStream>>>,
    _queue: Vec<socket2::Socket>,
}

fn nowhere(how: Useless) -> Nowhere {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    // What is sent to it waits soon.
    socket.set_recv_buffer_size(4096).expect("a size");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a port");
    socket
        .listen(if how == Useless::Full { 1 } else { 1024 })
        .expect("bound");
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().expect("bound");
    let held = Arc::<Mutex<Vec<TcpStream>>>::default();
    let mut queue = Vec::new();
    if how == Useless::Full {
        for _ in 0..8 {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket.set_nonblocking(true).expect("a socket");
            // It waits in the queue, or to get there.
            let _ = socket.connect(&address.into());
            queue.push(socket);
        }
        queue.push(listener.into());
    } else {
        let into = Arc::clone(&held);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let mut reader = socket.try_clone().expect("a descriptor");
                into.lock().expect("no panic").push(socket);
                if how == Useless::Mute {
                    std::thread::spawn(move || {
                        let mut bytes = [0; 65536];
                        while matches!(reader.read(&mut bytes), Ok(1..)) {}
                    });
                }
            }
        });
    }
    Nowhere {
        address,
        _held: held,
        _queue: queue,
    }
}

/// The time of the middle one.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_mirror_that_takes_or_answers_nothing_neither_slows_nor_fails_requests() {
    for how in [Useless::Deaf, Useless::Mute, Useless::Full] {
        let mirror = nowhere(how);
        let web = Backend::named("web");
        let port = ports::free();
        let listener = format!("{{name: http, port: {port}, protocol: HTTP}}");
        let plain = "{matches: [{path: {value: /plain}}], backendRefs: [{name: web, port: 80}]}";
        let copied = "{matches: [{path: {value: /copied}}], filters: [{type: RequestMirror, \
             requestMirror: {backendRef: {name: mirror, port: 80}}}], \
             backendRefs: [{name: web, port: 80}]}";
        let mut documents = vec![
            gateway("gw", &[listener]),
            route(
                "HTTPRoute",
                "r",
                "parentRefs: [{name: gw}]",
                &[plain, copied],
            ),
            service("mirror", &[mirror.address]),
        ];
        documents.extend(services(&[("web", &web)]));
        let folder = Folder::of(&documents);
        // With few copies at once, most requests meet the limit, too.
        let narthex = Narthex::on(&folder)
            .args(&["--max-mirrored-requests=8", "--max-mirrored-body=200000"])
            .start();
        let body = "x".repeat(100_000);
        let ask = |conn: &mut Conn, path: &str, body: &str| {
            let begun = Instant::now();
            let response = conn.ask(&format!(
                "POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            assert_eq!((response.status, response.backend()), (200, "web".into()));
            begun.elapsed()
        };
        for body in [&body[..100], &body] {
            let (mut one, mut two) = (Conn::plain(port), Conn::plain(port));
            let (mut without, mut with) = (Vec::new(), Vec::new());
            // In turn, so that whatever else the machine does is both's.
            for _ in 0..60 {
                without.push(ask(&mut one, "/plain", body));
                with.push(ask(&mut two, "/copied", body));
            }
            let (without, with) = (median(without), median(with));
            // A copy that were waited for would take its 15 seconds.
            let most = without * 10 + Duration::from_millis(100);
            assert!(with < most, "{with:?} with copies, {without:?} without");
        }
        until("some were copied, and others refused", || {
            let metrics = narthex.metrics();
            let count = |name: &str| {
                let line = metrics.lines().find_map(|line| line.strip_prefix(name));
                line.and_then(|text| text.trim().parse::<u32>().ok())
            };
            count("narthex_mirrored_requests_total") >= Some(8)
                && count("narthex_mirrored_requests_refused_total") >= Some(1)
        });
        assert_eq!(web.seen().len(), 240);
    }
}
