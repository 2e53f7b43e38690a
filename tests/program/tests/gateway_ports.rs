//! Listeners whose port cannot be opened: all else is served, the Gateway says so, and they are
//! opened once they can be.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use program_tests::gateway::{gateway, route};
use program_tests::udp::{UdpBackend, ask, client, udp_service};
use program_tests::{Backend, Conn, Folder, Narthex, docs, eventually, ports, services, until};

const HOST: &str = "a.example";

/// A port that somebody has, and nobody else takes when it is free again.
fn taken() -> (u16, TcpListener) {
    let port = ports::free();
    let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    (port, held.expect("a free port"))
}

fn site(listeners: &[String], web: &Backend, extra: &[String]) -> Folder {
    let mut documents = vec![
        gateway("gw", listeners),
        route(
            "HTTPRoute",
            "r",
            "parentRefs: [{name: gw}]",
            &["{backendRefs: [{name: web, port: 80}]}"],
        ),
    ];
    documents.extend(services(&[("web", web)]));
    documents.extend(extra.iter().cloned());
    Folder::of(&documents)
}

fn http(name: &str, port: u16) -> String {
    format!("{{name: {name}, port: {port}, protocol: HTTP}}")
}

/// Waits until a port answers.
#[track_caller]
fn until_opened(port: u16) {
    eventually("the port is opened", || {
        let mut conn = Conn::to((Ipv4Addr::LOCALHOST, port).into()).ok()?;
        let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        conn.write_all(request.as_bytes()).ok()?;
        let response = conn.try_response(false).ok()?;
        (response.backend() == "web").then_some(())
    });
}

/// What is wrong, as the API tells it.
fn problems(narthex: &Narthex) -> String {
    narthex.admin_get("/api/problems").expect("an answer").1
}

#[test]
fn a_port_in_use_is_told_of_and_opened_once_it_is_free_while_others_serve() {
    let (port, held) = taken();
    let free = ports::free();
    let web = Backend::named("web");
    let folder = site(&[http("free", free), http("taken", port)], &web, &[]);
    let narthex = Narthex::on(&folder).start();
    let mut kept = Conn::plain(free);
    assert_eq!(kept.get(HOST, "/").backend(), "web");
    let in_use = format!("port {port} on 0.0.0.0 is in use");
    for said in ["Gateway default/gw", "spec.listeners[1].port", &in_use] {
        until(said, || problems(&narthex).contains(said));
    }
    assert_eq!(narthex.admin_status("/readyz"), Some(200));
    // It is told of once, however often it is tried.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let count = narthex
        .log()
        .matches("is in use by another process")
        .count();
    assert!((1..=2).contains(&count), "{count}:\n{}", narthex.log());
    drop(held);
    until_opened(port);
    until("nothing is wrong any more", || {
        !problems(&narthex).contains("in use")
    });
    assert_eq!(kept.get(HOST, "/").backend(), "web", "the same connection");
}

#[test]
fn a_port_of_datagrams_is_tried_again_too() {
    let port = ports::free();
    let held = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("a free port");
    let free = ports::free();
    let (web, echo) = (Backend::named("web"), UdpBackend::named("echo"));
    let listeners = [
        http("free", free),
        format!("{{name: udp, port: {port}, protocol: UDP}}"),
    ];
    let extra = [
        route(
            "UDPRoute",
            "u",
            "parentRefs: [{name: gw, sectionName: udp}]",
            &["{backendRefs: [{name: echo, port: 80}]}"],
        ),
        udp_service("echo", &[echo.address()]),
    ];
    let folder = site(&listeners, &web, &extra);
    let narthex = Narthex::on(&folder).start();
    assert_eq!(Conn::plain(free).get(HOST, "/").backend(), "web");
    until("it is told of", || {
        problems(&narthex).contains("spec.listeners[1].port")
    });
    drop(held);
    until("it is opened", || !problems(&narthex).contains("in use"));
    assert_eq!(ask(&client(port), "x"), "echo x");
}

#[test]
fn a_listener_that_is_added_on_a_port_in_use_waits_for_it() {
    let (port, held) = taken();
    let free = ports::free();
    let web = Backend::named("web");
    let folder = site(&[http("free", free)], &web, &[]);
    let narthex = Narthex::on(&folder).start();
    let mut kept = Conn::plain(free);
    assert_eq!(kept.get(HOST, "/").backend(), "web");
    let with = site(&[http("free", free), http("taken", port)], &web, &[]);
    let text = std::fs::read_to_string(with.file("site.yaml")).expect("written");
    folder.write("site.yaml", &text);
    until("it is told of", || problems(&narthex).contains("in use"));
    // A change of something else meanwhile changes nothing about it.
    folder.write("other.yaml", &docs(&[program_tests::service("other", &[])]));
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(problems(&narthex).contains("spec.listeners[1].port"));
    drop(held);
    until_opened(port);
    assert_eq!(kept.get(HOST, "/").backend(), "web", "the same connection");
}
