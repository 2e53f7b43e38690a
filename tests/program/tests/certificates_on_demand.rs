//! Certificates that are obtained when a client first asks for a name, with pebble for the CA.

use program_tests::folder::docs;
use program_tests::tls::Client;
use program_tests::{Acme, Backend, Folder, Ingress, Narthex, Then, class, run, service, until};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

const ALLOWED: &str = "a.shop.example";
const PATTERN: [&str; 2] = ["--on-demand-names", "*.shop.example"];

/// A program in front of one backend, where no Ingress has a certificate.
struct World {
    acme: Acme,
    narthex: Narthex,
    folder: Folder,
    flags: Vec<String>,
    _web: Backend,
}

fn world(more: &[&str]) -> World {
    let acme = Acme::starting().start();
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    let any = Ingress::named("any").any_host().prefix("/", "web");
    folder.write("any.yaml", &docs(&[any.yaml()]));
    let ca = acme.ca_file();
    let directory = acme.directory();
    let own = [
        "--acme-directory",
        &directory,
        "--acme-ca-file",
        ca.to_str().expect("UTF-8"),
        "--acme-agree-tos",
        // Certificates are waited for as long as ever is, however loaded the machine.
        "--tls-handshake-timeout",
        "60s",
    ];
    let flags: Vec<String> = own.iter().chain(more).map(|&it| it.to_owned()).collect();
    let narthex = Narthex::on(&folder)
        .args(&flags.iter().map(String::as_str).collect::<Vec<_>>())
        .http_port(acme.http)
        .https_port(acme.tls)
        .start();
    World {
        acme,
        narthex,
        folder,
        flags,
        _web: web,
    }
}

impl World {
    /// A handshake of a client that trusts the CA alone.
    fn is_certified(&self, host: &str) -> bool {
        let root = self.acme.root(0);
        let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM");
        Client::trusting(&root)
            .connect(self.narthex.https, host)
            .is_ok()
    }

    fn certificate(&self, host: &str) -> CertificateDer<'static> {
        Client::trusting_anything().certificate(self.narthex.https, host)
    }

    /// What clients get that ask for no name.
    fn default_certificate(&self) -> CertificateDer<'static> {
        let client = Client::trusting_anything().without_sni();
        client.certificate(self.narthex.https, ALLOWED)
    }

    fn list(&self) -> Value {
        let admin = format!("127.0.0.1:{}", self.narthex.admin);
        let state = self.narthex.state.path().to_str().expect("UTF-8");
        let words = ["certs", "list", "--output", "json", "--admin-address"];
        let said = run(&[&words[..], &[&admin, "--state-dir", state]].concat());
        serde_json::from_str(&said.stdout).expect("JSON")
    }
}

#[test]
fn the_first_handshake_for_an_allowed_name_gets_a_certificate() {
    let world = world(&PATTERN);
    assert!(world.is_certified(ALLOWED), "{}", world.narthex.log());
    assert!(world.is_certified(ALLOWED));
    assert_eq!(world.acme.orders(), 1);
    let listed = world.list();
    let listed = &listed[0];
    assert_eq!(listed["names"][0], ALLOWED);
    assert_eq!(listed["issuer"], "acme");
    assert_eq!(listed["asked_by"][0], "on demand");
    let secret = listed["secret"].as_str().expect("text");
    assert!(
        secret.starts_with("narthex/on-demand-a-shop-example-"),
        "{secret}"
    );
}

#[test]
fn handshakes_for_one_name_wait_together_for_one_order() {
    let world = world(&PATTERN);
    std::thread::scope(|scope| {
        let clients = [(); 8].map(|()| scope.spawn(|| world.is_certified(ALLOWED)));
        for client in clients {
            assert!(client.join().expect("no panic"), "{}", world.narthex.log());
        }
    });
    assert_eq!(world.acme.orders(), 1);
}

#[test]
fn a_name_that_is_not_allowed_gets_the_default_certificate_and_no_order() {
    let world = world(&PATTERN);
    let default = world.default_certificate();
    for host in ["other.example", "a.b.shop.example", "shop.example"] {
        assert_eq!(world.certificate(host), default, "{host}");
    }
    // Whatever was asked for before has been looked at by now.
    assert!(world.is_certified(ALLOWED), "{}", world.narthex.log());
    assert_eq!(world.acme.orders(), 1, "none but for that one");
    assert_eq!(world.list().as_array().map(Vec::len), Some(1));
}

#[test]
fn without_the_flags_nothing_is_obtained() {
    let world = world(&[]);
    assert_eq!(world.certificate(ALLOWED), world.default_certificate());
    assert_eq!(world.acme.orders(), 0);
    assert_eq!(world.list().as_array().map(Vec::len), Some(0));
}

#[test]
fn who_is_asked_decides_and_is_asked_once() {
    let yes = "/may?domain=yes.shop.example";
    let asked = Backend::scripted("ask", move |exchange| {
        let target = &exchange.request.target;
        match target == yes {
            true => exchange.reply(""),
            false => {
                exchange.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")?;
                Ok(Then::Keep)
            }
        }
    });
    let url = format!("http://{}/may", asked.address());
    let world = world(&["--on-demand-ask", &url]);
    let default = world.default_certificate();
    for _ in 0..3 {
        assert_eq!(world.certificate("no.shop.example"), default);
        assert!(world.is_certified("yes.shop.example"));
    }
    assert_eq!(world.acme.orders(), 1);
    let seen: Vec<String> = asked.seen().into_iter().map(|it| it.target).collect();
    let expected = [
        "/may?domain=no.shop.example",
        "/may?domain=yes.shop.example",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn no_more_new_names_an_hour_are_let_in_than_was_said() {
    let world = world(&[&PATTERN[..], &["--on-demand-per-hour", "1"]].concat());
    assert!(world.is_certified(ALLOWED), "{}", world.narthex.log());
    let default = world.default_certificate();
    assert_eq!(world.certificate("b.shop.example"), default);
    assert_eq!(world.certificate("c.shop.example"), default);
    assert!(world.is_certified(ALLOWED), "a known one is served");
    assert_eq!(world.acme.orders(), 1);
    world.narthex.until_log("--on-demand-per-hour");
}

#[test]
fn an_ingress_with_a_certificate_of_its_own_comes_first() {
    let world = world(&PATTERN);
    assert!(world.is_certified(ALLOWED), "{}", world.narthex.log());
    let own = program_tests::Certificate::of(&[ALLOWED]);
    let ingress = Ingress::named("own").tls(&[ALLOWED], "own").host(ALLOWED);
    let ingress = ingress.prefix("/", "web").yaml();
    let secret = program_tests::secret("own", &own);
    world.folder.write("own.yaml", &docs(&[ingress, secret]));
    until("the Ingress's own is served", || {
        world.certificate(ALLOWED) == own.der
    });
    world.folder.remove("own.yaml");
    until("the other one is served again", || {
        world.is_certified(ALLOWED)
    });
    assert_eq!(world.acme.orders(), 1);
}

#[test]
fn after_a_restart_no_name_is_ordered_again() {
    let mut world = world(&PATTERN);
    assert!(world.is_certified(ALLOWED), "{}", world.narthex.log());
    let first = world.certificate(ALLOWED);
    world.narthex.child.kill().expect("our child");
    world.narthex.child.wait().expect("our child");
    let state = world.narthex.state.path().to_owned();
    let state = state.to_str().expect("UTF-8");
    let flags: Vec<&str> = world.flags.iter().map(String::as_str).collect();
    let other = Narthex::on(&world.folder)
        .without_state_flag()
        .args(&flags)
        .args(&["--state-dir", state])
        // A name that is known already is none of this hour's.
        .args(&["--on-demand-per-hour", "0"])
        .http_port(world.acme.http)
        .https_port(world.acme.tls)
        .start();
    let kept = std::mem::replace(&mut world.narthex, other);
    assert_eq!(world.certificate(ALLOWED), first);
    assert_eq!(world.acme.orders(), 1);
    drop(kept);
}

#[test]
fn flags_that_cannot_be_meant_are_told() {
    let folder = Folder::of(&[class()]);
    for (flags, said) in [
        (&PATTERN[..], "--acme-agree-tos"),
        (
            &["--on-demand-names", "*", "--acme-agree-tos"],
            "no pattern of names",
        ),
        (
            &["--on-demand-ask", "shop.example", "--acme-agree-tos"],
            "--on-demand-ask",
        ),
    ] {
        let ended = Narthex::on(&folder).args(flags).fail();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
