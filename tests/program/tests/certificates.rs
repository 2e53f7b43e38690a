//! Certificates that look after themselves, with pebble for the CA: obtained, served, renewed, kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use program_tests::acme::{CERTIFICATE, CHALLENGE, Door, FINALIZE, Stuck};
use program_tests::folder::raw_secret;
use program_tests::program::Ended;
use program_tests::tls::Client;
use program_tests::{
    Acme, Backend, Certificate, Folder, Ingress, Narthex, class, docs, run, service, until,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

const HOST: &str = "shop.example";

/// A program in front of one backend, with an ACME server that looks at its ports.
struct World {
    acme: Acme,
    narthex: Narthex,
    folder: Folder,
    _web: Backend,
}

/// The flags by which Narthex knows the ACME server.
fn flags(acme: &Acme) -> Vec<String> {
    flags_by(&acme.directory(), acme)
}

/// The same, by another URL of its directory.
fn flags_by(directory: &str, acme: &Acme) -> Vec<String> {
    let ca = acme.ca_file();
    [
        "--acme-directory",
        directory,
        "--acme-ca-file",
        ca.to_str().expect("UTF-8"),
        "--acme-email",
        "ops@shop.example",
        "--acme-agree-tos",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn asking(name: &str, host: &str) -> Ingress {
    Ingress::named(name)
        .annotation("kubernetes.io/tls-acme", "true")
        .tls(&[host], &format!("{name}-tls"))
        .host(host)
        .prefix("/", "web")
}

fn world(acme: Acme, documents: &[String], more: &[&str]) -> World {
    let flags = flags(&acme);
    world_by(&flags, acme, documents, more)
}

fn world_by(flags: &[String], acme: Acme, documents: &[String], more: &[&str]) -> World {
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    folder.write("asking.yaml", &docs(documents));
    let flags: Vec<&str> = flags
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    let narthex = Narthex::on(&folder)
        .args(&flags)
        .http_port(acme.http)
        .https_port(acme.tls)
        .start();
    World {
        acme,
        narthex,
        folder,
        _web: web,
    }
}

impl World {
    fn certificate(&self, host: &str) -> CertificateDer<'static> {
        Client::trusting_anything().certificate(self.narthex.https, host)
    }

    /// Waits until `host` gets a certificate that the CA's root vouches for.
    #[track_caller]
    fn until_certified(&self, host: &str) -> CertificateDer<'static> {
        let root = self.acme.root(0);
        let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM");
        let client = Client::trusting(&root);
        until(&format!("{host} has a certificate of the CA's"), || {
            client.connect(self.narthex.https, host).is_ok()
        });
        self.certificate(host)
    }

    fn certs(&self, words: &[&str]) -> Ended {
        let admin = format!("127.0.0.1:{}", self.narthex.admin);
        let state = self.narthex.state.path().to_str().expect("UTF-8");
        let mut all = vec!["certs"];
        all.extend(words);
        all.extend(["--admin-address", &admin, "--state-dir", state]);
        run(&all)
    }

    fn list(&self) -> Value {
        let said = self.certs(&["list", "--output", "json"]);
        serde_json::from_str(&said.stdout).expect("JSON")
    }

    #[track_caller]
    fn until_state(&self, state: &str) {
        until(&format!("it is {state}: {}", self.list()), || {
            self.list()[0]["state"] == state
        });
    }
}

#[test]
fn who_asks_gets_a_certificate_which_is_kept_and_renewed() {
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    let first = world.until_certified(HOST);
    assert_eq!(world.acme.orders(), 1);
    let listed = world.list();
    assert_eq!(listed[0]["secret"], "default/web-tls");
    assert_eq!(listed[0]["issuer"], "acme");
    assert_eq!(listed[0]["asked_by"][0], "Ingress default/web");
    assert_eq!(listed[0]["names"][0], HOST);
    assert!(listed[0]["expires"].is_i64(), "{listed}");
    let said = world.certs(&["list"]);
    assert!(said.stdout.contains("default/web-tls"), "{}", said.stdout);

    let said = world.certs(&["renew", "web-tls"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    until("the new one is served", || world.certificate(HOST) != first);
    assert_eq!(world.acme.orders(), 2);
    assert_eq!(
        world.acme.replacements(),
        1,
        "the CA is told what it replaces"
    );

    private(&world.narthex.state.path().join("certificates"));
    let ends = "narthex_certificate_expiry_seconds{source=\"Secret default/web-tls\"} 1";
    let counted = "narthex_certificate_orders_total{issuer=\"acme\",outcome=\"issued\"} 2";
    for line in [ends, counted] {
        until(line, || world.narthex.metrics().contains(line));
    }
}

/// Nobody else reads what is kept.
#[track_caller]
fn private(folder: &Path) {
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(folder), 0o700);
    for file in fs::read_dir(folder).expect("a folder") {
        let path = file.expect("a file").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_restart_goes_on_with_what_was_kept() {
    let acme = Acme::starting().start();
    let mut world = world(acme, &[asking("web", HOST).yaml()], &[]);
    let first = world.until_certified(HOST);
    let flags = flags(&world.acme);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let after = Narthex::on(&world.folder)
        .args(&flags)
        .after(&world.narthex)
        .start();
    assert_eq!(
        Client::trusting_anything().certificate(after.https, HOST),
        first
    );
    world.narthex = after;
    world.until_state("valid");
    assert_eq!(world.acme.orders(), 1, "nothing was ordered again");
}

#[test]
fn names_are_shown_to_be_ours_by_tls_where_that_is_said() {
    let acme = Acme::starting().start();
    let world = world(
        acme,
        &[asking("web", HOST).yaml()],
        &["--acme-challenge", "tls"],
    );
    world.until_certified(HOST);
    assert_eq!(world.acme.validations(), 1);
    let log = world.narthex.access_log();
    assert!(log.is_empty(), "nothing was asked over HTTP: {log:?}");
}

#[test]
fn a_failure_is_told_in_the_cas_words() {
    let acme = Acme::starting().blocking("blocked.example").start();
    let asking = asking("web", "shop.blocked.example");
    let world = world(acme, &[asking.yaml()], &[]);
    world.until_state("failed");
    let listed = world.list();
    let error = listed[0]["error"].as_str().expect("an error");
    assert!(error.contains("rejectedIdentifier"), "{error}");
    until("the Ingress says so", || {
        let (_, problems) = world.narthex.admin_get("/api/problems").expect("answers");
        problems.contains("rejectedIdentifier") && problems.contains("Ingress default/web")
    });
    let counted = "narthex_certificate_orders_total{issuer=\"acme\",outcome=\"failed\"} 1";
    until(counted, || world.narthex.metrics().contains(counted));
    assert!(world.certs(&["list"]).stdout.contains("rejectedIdentifier"));
}

#[test]
fn badly_behaved_servers_are_put_up_with() {
    let acme = Acme::starting().bad_nonces(5).slow_validation(3).start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    world.until_certified(HOST);
}

#[test]
fn a_secret_of_the_users_own_is_left_alone() {
    let own = Certificate::of(&[HOST]);
    let secret = raw_secret("web-tls", &own.chain_pem, &own.key_pem);
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml(), secret], &[]);
    until("it is told", || world.list()[0]["error"].is_string());
    let error = world.list()[0]["error"].clone();
    assert!(
        error.as_str().expect("text").contains("not made here"),
        "{error}"
    );
    assert_eq!(world.certificate(HOST), own.der);
    assert_eq!(world.acme.orders(), 0);
}

#[test]
fn a_window_in_the_past_renews_at_once() {
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    let first = world.until_certified(HOST);
    let pem = world.certs(&["export", "web-tls"]).stdout;
    let end = pem.find("-----END CERTIFICATE-----").expect("PEM") + 26;
    let (start, until_then) = ("2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    world.acme.suggest_window(&pem[..end], start, until_then);
    // Asked for a minute after it was obtained.
    let before = std::time::Instant::now();
    while world.certificate(HOST) == first {
        assert!(before.elapsed() < Duration::from_secs(300), "never renewed");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(world.acme.replacements(), 1);
}

#[test]
fn two_processes_with_one_state_folder_make_one_order() {
    let acme = Acme::starting().slow_validation(3).start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    let flags = flags(&world.acme);
    let state = world
        .narthex
        .state
        .path()
        .to_str()
        .expect("UTF-8")
        .to_owned();
    let other = Narthex::on(&world.folder)
        .without_state_flag()
        .args(&flags.iter().map(String::as_str).collect::<Vec<_>>())
        .args(&["--state-dir", &state])
        .start();
    let first = world.until_certified(HOST);
    until("the other one serves it as well", || {
        Client::trusting_anything().certificate(other.https, HOST) == first
    });
    assert_eq!(world.acme.orders(), 1);
}

/// Kills whoever orders at some point of it, and starts another one: one order, one certificate.
#[track_caller]
fn killed_while(path: &'static str, what: Stuck) {
    killed_when(path, what, |_| true);
}

/// The same, once something else is so, too.
#[track_caller]
fn killed_when(path: &'static str, what: Stuck, is_time: impl Fn(&Acme) -> bool) {
    let acme = Acme::starting().start();
    let door = Door::before(&acme);
    door.hold(path, what);
    let flags = flags_by(&door.directory(), &acme);
    let mut world = world_by(&flags, acme, &[asking("web", HOST).yaml()], &[]);
    until("it is held up", || door.held() == 1 && is_time(&world.acme));
    world.narthex.child.kill().expect("our child");
    world.narthex.child.wait().expect("our child");
    let folder = world.narthex.state.path().join("certificates");
    let file = folder.join("narthex.narthex-orders.json");
    let mode = fs::metadata(&file)
        .expect("the order is kept")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let state = world.narthex.state.path().to_str().expect("UTF-8");
    let other = Narthex::on(&world.folder)
        .without_state_flag()
        .args(&flags)
        .args(&["--state-dir", state])
        .http_port(world.acme.http)
        .https_port(world.acme.tls)
        .start();
    let _kept = std::mem::replace(&mut world.narthex, other);
    world.until_certified(HOST);
    assert_eq!(world.acme.orders(), 1);
    assert_eq!(world.acme.issued(), 1);
    until("the order and its key are forgotten", || {
        let kept = fs::read_to_string(&file).expect("it is there");
        let kept: Value = serde_json::from_str(&kept).expect("JSON");
        kept["data"]
            .as_object()
            .is_none_or(serde_json::Map::is_empty)
    });
}

#[test]
fn who_is_killed_before_the_challenge_is_succeeded_in_the_same_order() {
    killed_while(CHALLENGE, Stuck::Request);
}

#[test]
fn who_is_killed_once_the_ca_has_looked_is_succeeded_in_the_same_order() {
    // Whom the CA does not find, it makes the order void for.
    killed_when(CHALLENGE, Stuck::Answer, |acme| acme.found() == 1);
}

#[test]
fn who_is_killed_before_the_certificate_is_asked_for_is_succeeded_in_the_same_order() {
    killed_while(FINALIZE, Stuck::Request);
}

#[test]
fn who_is_killed_when_the_certificate_is_made_is_succeeded_in_the_same_order() {
    killed_while(FINALIZE, Stuck::Answer);
}

#[test]
fn who_is_killed_while_the_certificate_is_on_its_way_is_succeeded_in_the_same_order() {
    killed_while(CERTIFICATE, Stuck::Answer);
}

#[test]
fn orders_need_the_token_of_the_state_folder() {
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    world.until_certified(HOST);
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::write(elsewhere.path().join("admin-token"), "0".repeat(64)).expect("written");
    let admin = format!("127.0.0.1:{}", world.narthex.admin);
    let folder = elsewhere.path().to_str().expect("UTF-8");
    let words = [
        "certs",
        "export",
        "web-tls",
        "--admin-address",
        &admin,
        "--state-dir",
        folder,
    ];
    let said = run(&words);
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("token"), "{}", said.stderr);
    assert!(!said.stdout.contains("PRIVATE KEY"));

    let pem = world.certs(&["export", "web-tls"]).stdout;
    assert!(pem.contains("BEGIN CERTIFICATE") && pem.contains("PRIVATE KEY"));
}

#[test]
fn one_that_came_otherwise_is_used_until_it_is_due() {
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    world.until_certified(HOST);
    let own = Certificate::of(&[HOST]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), format!("{}{}", own.key_pem, own.chain_pem)).expect("written");
    let path = file.path().to_str().expect("UTF-8");
    let said = world.certs(&["import", "web-tls", path]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    until("it is served", || world.certificate(HOST) == own.der);
}

#[test]
fn a_revoked_one_is_replaced() {
    let acme = Acme::starting().start();
    let world = world(acme, &[asking("web", HOST).yaml()], &[]);
    let first = world.until_certified(HOST);
    let said = world.certs(&["revoke", "web-tls", "--reason", "keyCompromise"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    until("another one is served", || world.certificate(HOST) != first);
    assert_eq!(world.acme.status(&first).as_deref(), Some("Revoked"));
}
