//! Records at somebody's DNS servers: by a program, a webhook and dynamic updates.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use certs::dns::{Dns, Watch};
use certs::methods::Way;
use program_tests::acme::Kind;
use program_tests::{Acme, Backend, Conn, Named, Then, named, ports};

use crate::is_trusted;
use crate::rig::{Rig, obtain, rfc2136};

/// A program that tells the challenge test server.
fn program(rig: &Rig, folder: &tempfile::TempDir) -> PathBuf {
    let script = format!(
        r#"#!/bin/sh -e
[ -z "$HOME" ] || {{ echo "the environment is not clean" >&2; exit 3; }}
case $1 in
present) to=set-txt ;;
cleanup) to=clear-txt ;;
esac
echo "$1 $2 $3" >> "{}/calls"
exec curl --silent --fail --data "{{\"host\": \"$2\", \"value\": \"$3\"}}" "{}/$to"
"#,
        folder.path().display(),
        rig.acme.challenges.management(),
    );
    executable(folder, "hook", &script)
}

/// Put there by another process: one that is started meanwhile would have our file open for
/// writing for a moment, and what is open so cannot be run.
fn executable(folder: &tempfile::TempDir, name: &str, script: &str) -> PathBuf {
    let (source, path) = (folder.path().join("source"), folder.path().join(name));
    std::fs::write(&source, script).expect("a file");
    let mut install = Command::new("install");
    let installed = install.args(["-m", "755"]).arg(&source).arg(&path).status();
    assert!(installed.expect("install").success());
    path
}

#[test]
fn a_program_sets_the_records_of_a_name_and_its_wildcard() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(Acme::starting());
    let program = program(&rig, &folder);
    let replica = rig.replica(rig.issuer(vec![Way::Dns01(Dns::Exec { program })]));
    let all = ["example.org", "*.example.org"];
    let issued = obtain(&replica, &all).expect("a certificate");
    for name in ["example.org", "x.example.org"] {
        assert!(is_trusted(&rig.acme.root(0), &issued.chain, name), "{name}");
    }
    let calls = std::fs::read_to_string(folder.path().join("calls")).expect("it was run");
    let of = |word: &str| calls.lines().filter(|it| it.starts_with(word)).count();
    assert_eq!(
        (of("present _acme-challenge.example.org. "), of("cleanup ")),
        (2, 2)
    );
}

#[test]
fn a_record_is_set_where_the_names_alias_leads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(Acme::starting());
    let (from, to) = ("_acme-challenge.a.example.", "a.challenges.example.");
    rig.acme.challenges.set_cname(from, to);
    let program = program(&rig, &folder);
    let replica = rig.replica(rig.issuer(vec![Way::Dns01(Dns::Exec { program })]));
    obtain(&replica, &["a.example"]).expect("a certificate");
    let calls = std::fs::read_to_string(folder.path().join("calls")).expect("it was run");
    assert!(calls.starts_with(&format!("present {to} ")), "{calls}");
}

#[test]
fn a_program_that_fails_is_told_of_and_one_that_never_ends_leaves_no_process() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(Acme::starting());
    let fails =
        "#!/bin/sh\nyes too much | head -c 1000000\necho \"no such zone: $2\" >&2\nexit 7\n";
    let program = executable(&folder, "fails", fails);
    let replica = rig.replica(rig.issuer(vec![Way::Dns01(Dns::Exec { program })]));
    let failed = obtain(&replica, &["a.example"]).expect_err("it fails");
    let text = &failed.error;
    assert!(
        text.contains("no such zone: _acme-challenge.a.example."),
        "{text}"
    );
    assert!(text.contains('7') && text.len() < 6000, "{text}");
    let program = folder.path().join("missing");
    let replica = rig.replica(rig.issuer(vec![Way::Dns01(Dns::Exec { program })]));
    let failed = obtain(&replica, &["a.example"]).expect_err("there is none");
    assert!(failed.error.contains("missing"), "{failed:?}");
    // One that leaves something running with its pipes is done when it has ended.
    let leaves = "#!/bin/sh\n(sleep 30; true) &\nexit 9\n";
    let program = executable(&folder, "leaves", leaves);
    let replica = rig.replica(rig.issuer(vec![Way::Dns01(Dns::Exec { program })]));
    let start = Instant::now();
    obtain(&replica, &["a.example"]).expect_err("it fails");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_record_that_is_not_seen_is_not_shown_to_the_ca() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(Acme::starting());
    let program = executable(&folder, "forgets", "#!/bin/sh\nexit 0\n");
    let mut issuer = rig.issuer(vec![Way::Dns01(Dns::Exec { program })]);
    issuer.methods.watch.longest = Duration::from_secs(3);
    let failed = obtain(&rig.replica(issuer), &["a.example"]).expect_err("it is not set");
    let text = &failed.error;
    assert!(
        text.contains("_acme-challenge.a.example. is not seen after 3"),
        "{text}"
    );
    assert_eq!(rig.acme.validations(), 0);
}

#[test]
fn a_zone_whose_servers_cannot_be_asked_is_waited_for_a_while() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(Acme::starting());
    let program = program(&rig, &folder);
    let start = Instant::now();
    let mut issuer = rig.issuer(vec![Way::Dns01(Dns::Exec { program })]);
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], ports::free()));
    issuer.methods.watch.servers = vec![nobody];
    issuer.methods.watch.longest = Duration::from_secs(7);
    obtain(&rig.replica(issuer), &["a.example"]).expect("a certificate");
    assert!(start.elapsed() >= Duration::from_secs(7));
}

#[test]
fn a_webhook_is_told_of_records_with_its_password() {
    let rig = Rig::start(Acme::starting());
    let management = rig.acme.challenges.management();
    let port = management.rsplit(':').next().and_then(|it| it.parse().ok());
    let port: u16 = port.expect("a port");
    let hook = Backend::scripted("hook", move |exchange| {
        let body = exchange.read_body()?.text;
        let sent: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let path = match exchange.request.target.as_str() {
            "/dns/present" => "set-txt",
            "/dns/cleanup" => "clear-txt",
            _ => {
                exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nnobody")?;
                return Ok(Then::Keep);
            }
        };
        let record = serde_json::json!({"host": sent["fqdn"], "value": sent["value"]}).to_string();
        let length = record.len();
        let head = format!("POST /{path} HTTP/1.1\r\nHost: t\r\nContent-Length: {length}\r\n\r\n");
        let answer = Conn::plain(port).ask(&(head + &record));
        assert_eq!(answer.status, 200);
        exchange.reply("{}")
    });
    let webhook = |path: &str| {
        Way::Dns01(Dns::Webhook {
            url: format!("http://{}{path}", hook.address()),
            login: Some(("user".to_owned(), "secret".to_owned())),
        })
    };
    let replica = rig.replica(rig.issuer(vec![webhook("/dns/")]));
    obtain(&replica, &["*.a.example"]).expect("a certificate");
    let seen = hook.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(
        seen[0].header("authorization"),
        Some("Basic dXNlcjpzZWNyZXQ=")
    );
    let replica = rig.replica(rig.issuer(vec![webhook("/other")]));
    let failed = obtain(&replica, &["*.a.example"]).expect_err("not found");
    assert!(
        failed.error.contains("404") && failed.error.contains("nobody"),
        "{failed:?}"
    );
}

#[test]
fn a_record_that_stays_is_asked_for_until_somebody_has_set_it() {
    let rig = Rig::start(Acme::starting());
    let replica = rig.replica(rig.issuer(vec![Way::DnsPersist01(None)]));
    let missing = obtain(&replica, &["*.a.example"]).expect_err("it is not there");
    let (_, rest) = missing.error.split_once("set TXT at ").expect("what to do");
    let (name, value) = rest.split_once(" to ").expect("what to set");
    let value: String = serde_json::from_str(value).expect("quoted");
    assert_eq!(name, "_validation-persist.a.example");
    assert!(!rig.acme.challenges.asked(Kind::Dns, name).is_empty());
    rig.acme.challenges.add_txt(&format!("{name}."), &value);
    obtain(&replica, &["*.a.example"]).expect("a certificate");
    obtain(&replica, &["*.a.example"]).expect("another, with the same record");
}

/// BIND and pebble that asks it; the zone's servers are found by their records.
fn zone() -> (Named, Rig, Watch) {
    let named = Named::start();
    let rig = Rig::start(Acme::starting().resolving_at(named.address()));
    let watch = Watch {
        resolvers: vec![named.address()],
        servers: Vec::new(),
        port: named.address().port(),
        ..rig.watch()
    };
    (named, rig, watch)
}

#[test]
fn bind_takes_signed_updates_of_a_zone_that_is_found() {
    let (named, rig, watch) = zone();
    // Names of their own: one time of a hundred pebble takes what was proved before for a new order.
    let below = [
        ("example.org", None),
        ("more.example.org", Some(named::ZONE)),
    ];
    for (name, zone) in below {
        let mut issuer = rig.issuer(vec![Way::Dns01(rfc2136(&named, named::SECRET, zone))]);
        issuer.methods.watch = watch.clone();
        let replica = rig.replica(issuer);
        let (any, deep) = (format!("*.{name}"), format!("deep.below.{name}"));
        let issued = obtain(&replica, &[name, &any, &deep]).expect("a certificate");
        let root = rig.acme.root(0);
        assert!(is_trusted(&root, &issued.chain, &deep));
    }
    let log = named.log();
    let of = |word: &str| log.lines().filter(|it| it.contains(word)).count();
    assert_eq!(of("adding an RR at '_acme-challenge"), 6, "{log}");
    assert_eq!(of("deleting an RR at _acme-challenge"), 6, "{log}");
}

#[test]
fn bind_sets_the_record_at_the_end_of_an_alias() {
    let (named, rig, watch) = zone();
    let mut issuer = rig.issuer(vec![Way::Dns01(rfc2136(&named, named::SECRET, None))]);
    issuer.methods.watch = watch;
    let replica = rig.replica(issuer);
    obtain(&replica, &["alias.example.org"]).expect("a certificate");
    let log = named.log();
    assert!(
        log.contains("adding an RR at 'elsewhere.challenges.example.org'"),
        "{log}"
    );
}

#[test]
fn what_bind_refuses_is_told() {
    let (named, rig, watch) = zone();
    let other = "YW5vdGhlciBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcw==";
    let attempt = |dns: Dns, name: &str| {
        let mut issuer = rig.issuer(vec![Way::Dns01(dns)]);
        issuer.methods.watch = watch.clone();
        let failed = obtain(&rig.replica(issuer), &[name]).expect_err("refused");
        failed.error
    };
    let text = attempt(rfc2136(&named, other, None), "example.org");
    assert!(text.contains("BADSIG"), "{text}");
    let mut unsigned = rfc2136(&named, named::SECRET, None);
    if let Dns::Rfc2136 { tsig, .. } = &mut unsigned {
        *tsig = None;
    }
    let text = attempt(unsigned, "example.org");
    assert!(text.to_lowercase().contains("refused"), "{text}");
    // A zone that is not this server's.
    let dns = rfc2136(&named, named::SECRET, Some("example.net"));
    let text = attempt(dns, "a.example.net");
    assert!(text.contains("example.net"), "{text}");
}
