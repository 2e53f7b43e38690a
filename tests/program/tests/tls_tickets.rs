//! Session tickets that all replicas read, with keys that change.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use program_tests::certificate::Authority;
use program_tests::tls::Client;
use program_tests::{Backend, Folder, HOST, Ingress, Narthex, class, run, secret, service, until};
use rustls::{HandshakeKind, SupportedProtocolVersion};

const FLAG: &str = "--session-ticket-secret=default/tickets";

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// Two processes on one folder.
struct Replicas {
    one: Narthex,
    other: Narthex,
    folder: Folder,
    _web: Backend,
}

/// The Secret with keys, each with its beginning in seconds from now on and what it is filled with.
fn tickets(keys: &[(i64, u8)]) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later");
    let now = i64::try_from(now.as_secs()).expect("soon enough");
    let entries = keys.iter().map(|(after, fill)| {
        let value = BASE64_STANDARD.encode([*fill; 48]);
        format!("  from-{}: {value}\n", now + after)
    });
    let entries: String = entries.collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tickets}}\ndata:\n{entries}")
}

fn replicas(flags: &[&str], keys: &[(i64, u8)]) -> Replicas {
    let web = Backend::named("web");
    let ingress = Ingress::named("web")
        .tls(&[HOST], "a-tls")
        .host(HOST)
        .prefix("/", "web");
    let folder = Folder::of(&[
        class(),
        service("web", &[web.address()]),
        secret("a-tls", &Authority::new().ecdsa(&[HOST])),
        ingress.yaml(),
    ]);
    folder.write("tickets.yaml", &tickets(keys));
    let start = || Narthex::on(&folder).args(flags).start();
    Replicas {
        one: start(),
        other: start(),
        folder,
        _web: web,
    }
}

impl Replicas {
    /// Whether both serve the configuration of this number, or a later one.
    fn both_serve(&self, number: u64) -> bool {
        let both = [&self.one, &self.other];
        both.iter().all(|narthex| generation(narthex) >= number)
    }
}

/// How a client came in, after which it has a ticket.
#[track_caller]
fn visit(client: &Client, narthex: &Narthex) -> HandshakeKind {
    let (mut conn, shaken) = client.connect(narthex.https, HOST).expect("a handshake");
    // TLS 1.3 tickets come with the first bytes after the handshake.
    assert_eq!(conn.get(HOST, "/").status, 200);
    shaken.kind
}

/// Whether a session that begins at one process goes on at another.
#[track_caller]
fn goes_on(version: &'static SupportedProtocolVersion, from: &Narthex, to: &Narthex) -> bool {
    let client = Client::speaking(&[version]);
    assert_eq!(visit(&client, from), HandshakeKind::Full);
    visit(&client, to) == HandshakeKind::Resumed
}

#[test]
fn two_processes_resume_each_others_sessions_by_the_keys_that_they_share() {
    let world = replicas(&[FLAG], &[(-60, 1)]);
    for version in VERSIONS {
        assert!(goes_on(version, &world.one, &world.other), "{version:?}");
        assert!(goes_on(version, &world.other, &world.one), "{version:?}");
    }
    let world = replicas(&[], &[(-60, 1)]);
    for version in VERSIONS {
        assert!(!goes_on(version, &world.one, &world.other), "{version:?}");
        assert!(goes_on(version, &world.one, &world.one), "{version:?}");
    }
}

#[test]
fn sessions_go_on_after_a_new_key_and_end_with_their_own() {
    let world = replicas(&[FLAG], &[(-60, 1)]);
    let old = VERSIONS.map(|version| Client::speaking(&[version]));
    for client in &old {
        assert_eq!(visit(client, &world.one), HandshakeKind::Full);
    }
    // The next key, published before its time: the old one goes on.
    world
        .folder
        .rename_over("tickets.yaml", &tickets(&[(-60, 1), (3600, 2)]));
    until("the key to come is known to both", || world.both_serve(2));
    for client in &old {
        assert_eq!(visit(client, &world.other), HandshakeKind::Resumed);
    }
    // Its time has come.
    let rotated = tickets(&[(-60, 1), (-1, 2)]);
    world.folder.rename_over("tickets.yaml", &rotated);
    until("the new key is in use", || world.both_serve(3));
    for client in &old {
        assert_eq!(visit(client, &world.one), HandshakeKind::Resumed);
    }
    let new = VERSIONS.map(|version| Client::speaking(&[version]));
    let kept = VERSIONS.map(|version| Client::speaking(&[version]));
    for client in new.iter().chain(&kept) {
        assert_eq!(visit(client, &world.one), HandshakeKind::Full);
        assert_eq!(visit(client, &world.other), HandshakeKind::Resumed);
    }
    // The old one is gone, and what was made with the new one goes on.
    world
        .folder
        .rename_over("tickets.yaml", &tickets(&[(-1, 2)]));
    until("the old key is gone", || world.both_serve(4));
    for client in &new {
        assert_eq!(visit(client, &world.other), HandshakeKind::Resumed);
    }
    // And that is gone, too.
    world
        .folder
        .rename_over("tickets.yaml", &tickets(&[(-1, 3)]));
    until("no old key is left", || world.both_serve(5));
    for client in &kept {
        assert_eq!(visit(client, &world.other), HandshakeKind::Full);
    }
}

/// How many configurations were served.
fn generation(narthex: &Narthex) -> u64 {
    let metrics = narthex.metrics();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("narthex_config_generation "));
    line.expect("it is told").parse().expect("a number")
}

#[test]
fn a_malformed_key_is_named_and_the_others_are_used() {
    let world = replicas(&[FLAG], &[(-60, 1)]);
    let bad = tickets(&[(-60, 1)]) + "  from-next-week: AAAA\n";
    world.folder.rename_over("tickets.yaml", &bad);
    world.one.until_log("data.from-next-week");
    for version in VERSIONS {
        assert!(goes_on(version, &world.one, &world.other), "{version:?}");
    }
    let folder = world.folder.path().to_string_lossy().into_owned();
    let said = run(&["check", FLAG, &folder]).said();
    assert!(said.contains("default/tickets"), "{said}");
    assert!(said.contains("from-next-week"), "{said}");
}
