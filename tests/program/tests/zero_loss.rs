//! Not one request fails while everything around them changes: backends, routes, certificates, and
//! the process itself.
//!
//! 100,000 requests, or 20,000 where the program under test is not optimised.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use program_tests::folder::secret;
use program_tests::program::Starting;
use program_tests::websocket::WebSocket;
use program_tests::{
    Backend, Certificate, Conn, Folder, HOST, Ingress, Kind, Load, Narthex, class, docs, service,
    until,
};
use rustix::process::Signal;

/// How many requests there are: `NARTHEX_BIN` names the release binary, which is quick enough.
fn requests() -> u64 {
    if std::env::var_os("NARTHEX_BIN").is_some() {
        100_000
    } else {
        20_000
    }
}

/// Replacements of the process: one by one, of the kinds in [`Replacement`].
const REPLACEMENTS: u64 = 6;

/// Between two changes: ten a second.
const BEAT: Duration = Duration::from_millis(100);

/// How many beats a backend goes on after it was taken from the list, as a pod does between SIGTERM
/// and its end: longer than a busy machine keeps the program from hearing of it.
const GRACE: usize = 50;

/// A host whose backend stays, for WebSockets.
const STAYS: &str = "stays.example";

/// How a process makes room for the next one.
#[derive(Clone, Copy)]
enum Replacement {
    HandOver,
    /// It gets SIGTERM as soon as the next one prepares.
    Sigterm,
}

struct Churn {
    folder: Folder,
    certificates: Vec<Certificate>,
    stop: AtomicBool,
    beats: AtomicUsize,
}

impl Churn {
    fn new(stays: &Backend, first: &Backend) -> Self {
        let ingress = Ingress::named("stays").host(STAYS).prefix("/", "stays");
        let folder = Folder::of(&[
            class(),
            service("stays", &[stays.address()]),
            ingress.yaml(),
        ]);
        let certificates = (0..4).map(|_| Certificate::of(&[HOST])).collect();
        let churn = Self {
            folder,
            certificates,
            stop: AtomicBool::new(false),
            beats: AtomicUsize::new(0),
        };
        churn.backends(&[first]);
        churn.routes(0);
        churn.certificate(0);
        churn
    }

    fn backends(&self, serving: &[&Backend]) {
        let addresses: Vec<_> = serving.iter().map(|backend| backend.address()).collect();
        self.folder
            .rename_over("backends.yaml", &service("web", &addresses));
    }

    /// The route that is asked changes its form, and others come and go.
    fn routes(&self, beat: usize) {
        let mut web = Ingress::named("web")
            .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false")
            .tls(&[HOST], "a-tls")
            .host(HOST)
            .prefix("/", "web");
        if beat % 2 == 1 {
            web = web.prefix(&format!("/path-{beat}"), "stays");
        }
        let other = Ingress::named(&format!("other-{}", beat % 3))
            .host(&format!("h{beat}.example"))
            .prefix("/", "web");
        self.folder
            .rename_over("routes.yaml", &docs(&[web.yaml(), other.yaml()]));
    }

    fn certificate(&self, beat: usize) {
        let certificate = &self.certificates[beat % self.certificates.len()];
        self.folder
            .rename_over("certificate.yaml", &secret("a-tls", certificate));
    }

    /// Changes routes and the certificate at every beat, and the backends at every third. Gives the
    /// backends that are needed still.
    fn run(&self, first: Backend) -> Vec<Backend> {
        let mut current = first;
        let mut leaving: VecDeque<(usize, Backend)> = VecDeque::new();
        let mut beat = 0;
        while !self.stop.load(Ordering::SeqCst) {
            beat += 1;
            self.routes(beat);
            self.certificate(beat);
            if beat % 3 == 0 {
                let next = Backend::named(&format!("web-{beat}"));
                self.backends(&[&current, &next]);
                std::thread::sleep(BEAT / 2);
                self.backends(&[&next]);
                leaving.push_back((beat, std::mem::replace(&mut current, next)));
            }
            // What it has then is cut off.
            leaving.retain(|(since, _)| beat - since <= GRACE);
            self.beats.store(beat, Ordering::SeqCst);
            std::thread::sleep(BEAT);
        }
        let leaving = leaving.into_iter().map(|(_, backend)| backend);
        leaving.chain([current]).collect()
    }
}

/// Ends the changes, however the test ends.
struct StopAtEnd<'a>(&'a Churn);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

/// Waits until the loads have `goal` good answers together. As long as there is progress it may
/// take its time.
#[track_caller]
fn until_good(loads: &[Load], goal: u64) {
    let good = || loads.iter().map(Load::good).sum::<u64>();
    while good() < goal {
        let before = good();
        until("the load goes on", || good() > before);
        if loads.iter().any(|load| load.failures() > 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn replace(narthex: &mut Narthex, folder: &Folder, how: Replacement) -> Narthex {
    let starting = start(folder).after(narthex);
    let next = match how {
        Replacement::HandOver => starting.start(),
        Replacement::Sigterm => {
            let next = starting.spawn();
            narthex.until_log("prepares to take over");
            narthex.signal(Signal::TERM);
            next.until_log("health, metrics and API on");
            next
        }
    };
    std::mem::replace(narthex, next)
}

fn start(folder: &Folder) -> Starting {
    Narthex::on(folder).args(&["--shutdown-timeout=300s", "--access-log-format=off"])
}

#[test]
fn no_request_fails_while_everything_changes() {
    let (stays, first) = (Backend::named("stays"), Backend::named("web-0"));
    let churn = Churn::new(&stays, &first);
    let mut narthex = start(&churn.folder).start();
    narthex.until_backend(HOST, "/", "web-0");
    let mut sockets = vec![WebSocket::open(Conn::plain(narthex.http), STAYS, "/ws")];
    let mut ended: Vec<Narthex> = Vec::new();
    let loads = [
        Load::of(Kind::Kept, narthex.http, 4, HOST),
        Load::of(Kind::Fresh, narthex.http, 3, HOST),
        Load::of(Kind::Tls, narthex.https, 2, HOST),
        Load::of(Kind::FreshTls, narthex.https, 1, HOST),
        Load::of(Kind::Http2, narthex.https, 2, HOST),
    ];
    let _backends = std::thread::scope(|scope| {
        let changing = scope.spawn(|| churn.run(first));
        let stop = StopAtEnd(&churn);
        let part = requests() / (REPLACEMENTS + 1);
        for round in 1..=REPLACEMENTS {
            until_good(&loads, part * round);
            for socket in &mut sockets {
                socket.echo("through every change");
            }
            let how = [Replacement::HandOver, Replacement::Sigterm];
            let how = how[usize::from(round % 3 == 0)];
            ended.push(replace(&mut narthex, &churn.folder, how));
            sockets.push(WebSocket::open(Conn::plain(narthex.http), STAYS, "/ws"));
        }
        until_good(&loads, requests());
        drop(stop);
        changing.join().expect("the changes")
    });
    for load in loads {
        let outcome = load.stop();
        assert!(outcome.good > requests() / 200, "{outcome:?}");
        outcome.assert_perfect();
    }
    let beats = churn.beats.load(Ordering::SeqCst);
    assert!(beats > 10, "only {beats} changes");
    // The WebSockets live, and the processes that have them; without, these end by themselves.
    for socket in &mut sockets {
        socket.echo("to the end");
    }
    let first = ended[0].child.try_wait().expect("our child");
    assert!(first.is_none(), "{first:?}");
    drop(sockets);
    for mut old in ended {
        let status = old.ended_within(Duration::from_secs(60));
        assert_eq!(status.code(), Some(0), "{}", old.log());
    }
}
