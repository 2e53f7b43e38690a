//! Changes while requests flow: none fails.

use std::collections::VecDeque;
use std::time::Duration;

use program_tests::folder::secret;
use program_tests::http2::{H2, block_on};
use program_tests::tls::Client;
use program_tests::websocket::WebSocket;
use program_tests::{
    Backend, Certificate, Conn, Folder, HOST, Ingress, Load, Narthex, Site, class, docs, service,
};

const CHANGES: usize = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// For so long a backend goes on that nobody is sent to any more.
const GOES_ON: Duration = Duration::from_secs(5);

fn site(web: &[&Backend], extra: &[String]) -> String {
    let addresses: Vec<_> = web.iter().map(|backend| backend.address()).collect();
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web").yaml();
    let mut documents = vec![class(), service("web", &addresses), ingress];
    documents.extend_from_slice(extra);
    docs(&documents)
}

fn answered(response: &program_tests::Response) -> bool {
    response.status == 200
}

#[test]
fn changes_of_other_routes_fail_no_request() {
    let site_of = Site::echo();
    let load = Load::start(site_of.narthex.http, 8, HOST, "/", |answer| {
        answer.backend() == "web"
    });
    for round in 0..CHANGES {
        let host = format!("h{round}.example");
        let other = Ingress::named("other")
            .host(&host)
            .prefix("/", "web")
            .yaml();
        site_of
            .folder
            .rename_over("site.yaml", &site(&[&site_of.web], &[other]));
        site_of.narthex.until_backend(&host, "/", "web");
    }
    load.until_more(100);
    load.stop().assert_perfect();
}

#[test]
fn a_route_that_changes_its_backend_fails_no_request() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let folder = Folder::of(&[
        class(),
        service("a", &[a.address()]),
        service("b", &[b.address()]),
    ]);
    let to = |service: &str| Ingress::named("web").host(HOST).prefix("/", service).yaml();
    folder.write("ingress.yaml", &to("a"));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 8, HOST, "/", answered);
    for round in 0..CHANGES {
        let service = if round % 2 == 0 { "b" } else { "a" };
        folder.rename_over("ingress.yaml", &to(service));
        narthex.until_backend(HOST, "/", service);
    }
    load.stop().assert_perfect();
}

#[test]
fn endpoints_that_come_and_go_fail_no_request() {
    let backends = ["a", "b", "c"].map(Backend::named);
    let folder = Folder::new();
    folder.write("site.yaml", &site(&[&backends[0]], &[]));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 8, HOST, "/", answered);
    for round in 0..CHANGES {
        let (one, two) = (&backends[round % 3], &backends[(round + 1) % 3]);
        folder.rename_over("site.yaml", &site(&[one, two], &[]));
        std::thread::sleep(PAUSE);
        folder.rename_over("site.yaml", &site(&[two], &[]));
        std::thread::sleep(PAUSE);
    }
    load.stop().assert_perfect();
}

#[test]
fn a_rolling_replacement_of_backends_fails_no_request() {
    let folder = Folder::new();
    let mut current = Backend::named("generation-0");
    folder.write("site.yaml", &site(&[&current], &[]));
    let narthex = Narthex::on(&folder).start();
    let load = Load::start(narthex.http, 8, HOST, "/", answered);
    let mut leaving = VecDeque::new();
    for generation in 1..14 {
        let name = format!("generation-{generation}");
        let next = Backend::named(&name);
        folder.rename_over("site.yaml", &site(&[&current, &next], &[]));
        std::thread::sleep(PAUSE);
        folder.rename_over("site.yaml", &site(&[&next], &[]));
        narthex.until_backend(HOST, "/", &name);
        // As a pod does: it goes on for a while after it was taken from the list, longer than a
        // busy machine keeps a request that is under way.
        std::thread::sleep(GOES_ON / 8);
        leaving.push_back(std::mem::replace(&mut current, next));
        if leaving.len() > 8 {
            leaving.pop_front();
        }
    }
    load.stop().assert_perfect();
}

#[test]
fn certificates_that_change_fail_no_request() {
    let (secure, ..) = Site::secure(&[]);
    let load = Load::start(secure.narthex.http, 4, HOST, "/", answered);
    let client = Client::trusting_anything();
    let (mut open, _) = client
        .connect(secure.narthex.https, HOST)
        .expect("a handshake");
    let text = std::fs::read_to_string(secure.folder.file("site.yaml")).expect("written");
    let (before, rest) = text
        .split_once("apiVersion: v1\nkind: Secret")
        .expect("the Secret");
    let (_, after) = rest.split_once("---\n").expect("more documents");
    for _ in 0..CHANGES {
        let certificate = Certificate::of(&[HOST]);
        let changed = format!("{before}{}---\n{after}", secret("a-tls", &certificate));
        secure.folder.rename_over("site.yaml", &changed);
        program_tests::until("the new certificate is served", || {
            client.certificate(secure.narthex.https, HOST) == certificate.der
        });
        assert_eq!(open.get(HOST, "/").backend(), "web");
    }
    load.stop().assert_perfect();
}

#[test]
fn bad_documents_that_come_and_go_fail_no_request() {
    let site_of = Site::echo();
    let load = Load::start(site_of.narthex.http, 8, HOST, "/", |answer| {
        answer.backend() == "web"
    });
    for round in 0..CHANGES {
        let text = [
            "kind: [unclosed",
            "kind: Ingress\nspec: 7\n",
            "\u{0}",
            "---\n---\n",
        ][round % 4];
        site_of.folder.rename_over("bad.yaml", text);
        std::thread::sleep(PAUSE);
    }
    site_of.folder.remove("bad.yaml");
    load.until_more(100);
    load.stop().assert_perfect();
}

#[test]
fn open_connections_of_every_kind_outlive_changes() {
    let (secure, ..) = Site::secure(&[]);
    let mut plain = secure.conn();
    assert_eq!(plain.get(HOST, "/").backend(), "web");
    let mut socket = WebSocket::open(Conn::plain(secure.narthex.http), HOST, "/ws");
    socket.echo("before");
    block_on(async {
        let h2 = H2::connect(secure.narthex.https, HOST).await;
        assert_eq!(
            h2.get(HOST, "/").await.expect("an answer").echo().backend,
            "web"
        );
        for round in 0..5 {
            let host = format!("h{round}.example");
            let other = Ingress::named("other")
                .host(&host)
                .prefix("/", "web")
                .yaml();
            secure.folder.rename_over("other.yaml", &other);
            secure.narthex.until_backend(&host, "/", "web");
            assert_eq!(
                h2.get(HOST, "/").await.expect("an answer").echo().backend,
                "web"
            );
        }
    });
    assert_eq!(plain.get(HOST, "/").backend(), "web");
    socket.echo("after");
}

#[test]
fn a_request_in_flight_ends_on_the_route_it_began_on() {
    let web = Backend::scripted("web", |exchange| {
        if exchange.request.target == "/slow" {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")?;
            std::thread::sleep(Duration::from_secs(1));
            exchange.send("after")?;
            return Ok(program_tests::Then::Keep);
        }
        exchange.echo()
    });
    let site_of = Site::of(web, &[]);
    let mut conn = site_of.conn();
    conn.send("GET /slow HTTP/1.1\r\nHost: a.example\r\n\r\n");
    program_tests::until("it reached the backend", || !site_of.web.seen().is_empty());
    site_of.folder.remove("site.yaml");
    site_of.narthex.until_backend(HOST, "/", "404");
    assert_eq!(conn.response().text(), "firstafter");
}

#[test]
fn many_hosts_change_at_once_under_load() {
    let site_of = Site::echo();
    let many = |salt: usize| {
        let documents: Vec<_> = (0..500)
            .map(|index| {
                Ingress::named(&format!("many-{index}"))
                    .host(&format!("m{index}-{salt}.example"))
                    .prefix("/", "web")
                    .yaml()
            })
            .collect();
        docs(&documents)
    };
    let load = Load::start(site_of.narthex.http, 4, HOST, "/", |answer| {
        answer.backend() == "web"
    });
    for salt in 0..5 {
        site_of.folder.rename_over("many.yaml", &many(salt));
        site_of
            .narthex
            .until_backend(&format!("m499-{salt}.example"), "/", "web");
    }
    assert_eq!(
        site_of.narthex.backend("m0-0.example", "/"),
        "404",
        "old ones are gone"
    );
    load.stop().assert_perfect();
}
