//! TCP and UDP ports of Services, as ingress-nginx's two ConfigMaps list them.

use std::io::{Read, Write};

use program_tests::tcp::{TcpBackend, connect, exchange, is_over};
use program_tests::udp::{self, UdpBackend, udp_service};
use program_tests::{Folder, Narthex, eventually, ports, service, until};

fn config_map(name: &str, lines: &[(u16, &str)]) -> String {
    let lines = lines
        .iter()
        .map(|(port, to)| format!("\n  \"{port}\": \"{to}\""));
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{namespace: ingress-nginx, name: {name}}}\ndata:{}\n",
        lines.collect::<String>()
    )
}

const TCP: &str = "--tcp-services-configmap=ingress-nginx/tcp";
const UDP: &str = "--udp-services-configmap=ingress-nginx/udp";

#[test]
fn ports_come_and_go_with_the_lines_of_the_config_map() {
    let (one, two) = (TcpBackend::named("one"), TcpBackend::named("two"));
    let (first, second) = (ports::free(), ports::free());
    let services = [
        service("one", &[one.address()]),
        service("two", &[two.address()]),
    ];
    let folder = Folder::of(&services);
    folder.write("tcp.yaml", &config_map("tcp", &[(first, "default/one:80")]));
    let _narthex = Narthex::on(&folder).arg(TCP).start();
    let mut client = connect(first);
    exchange(&mut client, b"hello");
    // Another line beside it, which names the port.
    let lines = [(first, "default/one:80"), (second, "default/two:80")];
    folder.rename_over("tcp.yaml", &config_map("tcp", &lines));
    let open = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    until("the second port is open", || open(second));
    exchange(&mut connect(second), b"hello, two");
    exchange(&mut client, b"still there");
    // One line goes.
    folder.rename_over("tcp.yaml", &config_map("tcp", &lines[1..]));
    until("the first port is closed", || !open(first));
    exchange(&mut connect(second), b"hello again");
}

#[test]
fn the_proxy_protocol_is_read_and_written_where_a_line_says_so() {
    let backend = TcpBackend::named("bye");
    let (both, reads, writes) = (ports::free(), ports::free(), ports::free());
    let lines = [
        (both, "default/tcp:80:PROXY:PROXY"),
        (reads, "default/tcp:80:PROXY"),
        (writes, "default/tcp:80::PROXY"),
    ];
    let folder = Folder::of(&[
        service("tcp", &[backend.address()]),
        config_map("tcp", &lines),
    ]);
    let narthex = Narthex::on(&folder).arg(TCP).start();
    let told = |port: u16, sent: &str, expected: &str| {
        let mut client = connect(port);
        client.write_all(sent.as_bytes()).expect("taken");
        let mut back = vec![0; expected.len()];
        client.read_exact(&mut back).expect("it comes back");
        assert_eq!(String::from_utf8_lossy(&back), expected);
    };
    let from = "PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n";
    told(
        both,
        &format!("{from}hello"),
        "PROXY TCP4 192.0.2.7 127.0.0.1 12345 ",
    );
    told(reads, &format!("{from}hello"), "hello");
    told(writes, "hello", "PROXY TCP4 127.0.0.1 127.0.0.1 ");
    let line = eventually("a line", || {
        let lines = narthex.access_log();
        lines.into_iter().find(|line| line["client"] == "192.0.2.7")
    });
    assert_eq!(line["route"], "ingress-nginx/tcp", "{line}");
    // Who says nothing where it has to is not passed on.
    let mut silent = connect(reads);
    silent.write_all(b"hello, who am I?\r\n").expect("taken");
    assert!(is_over(&mut silent));
}

#[test]
fn datagrams_go_to_the_service_that_the_line_names() {
    let backend = UdpBackend::named("dns");
    let port = ports::free();
    let folder = Folder::of(&[
        udp_service("dns", &[backend.address()]),
        config_map("udp", &[(port, "default/dns:80")]),
    ]);
    let _narthex = Narthex::on(&folder).arg(UDP).start();
    let client = udp::client(port);
    assert!(udp::ask(&client, "hello").contains("hello"));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_line_that_cannot_be_read_is_said_and_the_others_are_served() {
    let backend = TcpBackend::named("bye");
    let (good, bad, missing) = (ports::free(), ports::free(), ports::free());
    let lines = [
        (good, "default/tcp:80"),
        (bad, "tcp:80"),
        (missing, "default/nobody:80"),
    ];
    let folder = Folder::of(&[
        service("tcp", &[backend.address()]),
        config_map("tcp", &lines),
    ]);
    let narthex = Narthex::on(&folder).arg(TCP).start();
    exchange(&mut connect(good), b"hello");
    assert!(is_over(&mut connect(missing)));
    let file = folder.file("site.yaml");
    let said = program_tests::run(&["check".as_ref(), TCP.as_ref(), file.as_os_str()]).said();
    for expected in [
        &*format!("data[{bad}]"),
        "names no Service with its namespace",
        "there is no Service default/nobody",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    narthex.until_log("default/nobody");
}
