//! Ports that open and close while others serve.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use model::{Action, Entrance, Layer};

use crate::support::*;

fn web(server: &Server) -> model::Service {
    http(vec![rule(Action::Forward(backend(
        "default/web:80",
        &[server.address],
    )))])
}

fn at(entrance: Entrance) -> SocketAddr {
    SocketAddr::new(LOCALHOST, entrance.port)
}

#[test]
fn ports_open_and_close_and_others_do_not_notice() {
    let server = Server::named("web");
    let plane = Plane::new();
    let (stays, comes) = (free(Layer::Tcp), free(Layer::Tcp));
    plane.publish(vec![(stays, web(&server))]);
    // A request that has begun.
    let mut open = TcpStream::connect(at(stays)).expect("connects");
    open.set_read_timeout(Some(PATIENCE)).expect("a limit");
    open.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\n")
        .expect("taken");

    let listening = plane.publish(vec![(stays, web(&server)), (comes, web(&server))]);
    assert_eq!(listening.bound.len(), 2);
    assert_eq!(get(at(comes), "/", &[]).body, "web");
    plane.publish(vec![(stays, web(&server))]);
    assert!(TcpStream::connect(at(comes)).is_err(), "it is closed");
    assert_eq!(get(at(stays), "/", &[]).body, "web");

    open.write_all(b"Connection: close\r\n\r\n").expect("taken");
    let mut answer = Vec::new();
    open.read_to_end(&mut answer).expect("an answer");
    assert_eq!(response(&answer).body, "web");
}

#[test]
fn a_port_that_cannot_be_opened_is_told_of_and_all_else_is_served() {
    let server = Server::named("web");
    let plane = Plane::new();
    let (good, taken) = (free(Layer::Tcp), free(Layer::Tcp));
    let holder = TcpListener::bind(at(taken)).expect("it is free");
    let services = || vec![(good, web(&server)), (taken, web(&server))];
    let listening = plane.publish(services());
    assert_eq!(get(at(good), "/", &[]).body, "web");
    let bound: Vec<_> = listening.bound.iter().map(|bound| bound.entrance).collect();
    let failed: Vec<_> = listening
        .failed
        .iter()
        .map(|error| error.entrance)
        .collect();
    assert_eq!((bound, failed), (vec![good], vec![taken]));
    // Once it is free, the next configuration has it.
    drop(holder);
    let listening = plane.publish(services());
    assert_eq!((listening.bound.len(), listening.failed.len()), (2, 0));
    assert_eq!(get(at(taken), "/", &[]).body, "web");
}

#[test]
fn an_entrance_may_have_an_address_of_its_own() {
    let server = Server::named("web");
    let plane = Plane::new();
    let any = free(Layer::Tcp);
    let elsewhere = std::net::IpAddr::from([127, 0, 0, 2]);
    let own = Entrance {
        address: Some(elsewhere),
        ..any
    };
    plane.publish(vec![(own, web(&server))]);
    assert_eq!(
        get(SocketAddr::new(elsewhere, any.port), "/", &[]).body,
        "web"
    );
    assert!(TcpStream::connect(at(any)).is_err());
}

#[test]
fn a_port_may_serve_something_else_without_being_closed() {
    let server = Server::named("web");
    let plane = Plane::new();
    let entrance = free(Layer::Tcp);
    plane.publish(vec![(entrance, web(&server))]);
    assert_eq!(get(at(entrance), "/", &[]).body, "web");
    // It stays in the queue of a socket that is not closed.
    let mut waiting = TcpStream::connect(at(entrance)).expect("connects");
    let passed_on = route(&backend("default/tcp:80", &[server.address]), PATIENCE);
    plane.publish(vec![(entrance, model::Service::Tcp(passed_on))]);
    let response = get(at(entrance), "/", &[]);
    assert_eq!(response.body, "web");
    let last = server.seen().pop().expect("a request");
    assert_eq!(last.field("x-forwarded-for"), None, "byte for byte");
    waiting.write_all(b"x").expect("it is open");
}
