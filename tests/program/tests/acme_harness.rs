//! The ACME server that tests use, and a client of it that is not Narthex: each part does what the
//! tests of certificates will rely on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use program_tests::acme::{Door, ISSUER, Kind, LegoClient, NEW_ORDER, Obtained};
use program_tests::{Acme, Backend, Then};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{Error, RootCertStore};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

#[test]
fn the_directory_answers_with_a_certificate_of_its_own_authority() {
    let acme = Acme::starting().profile("shortlived", 6 * DAY).start();
    let directory = acme.read_directory();
    for resource in [
        "newNonce",
        "newAccount",
        "newOrder",
        "revokeCert",
        "renewalInfo",
    ] {
        let url = directory[resource].as_str().unwrap_or_default();
        let own = acme.directory().replace("/dir", "/");
        assert!(url.starts_with(&own), "{resource}: {directory}");
    }
    let meta = &directory["meta"];
    assert_eq!(meta["externalAccountRequired"], false);
    assert_eq!(meta["caaIdentities"][0], ISSUER);
    let profiles = meta["profiles"].as_object().expect("profiles");
    assert_eq!(
        profiles.keys().collect::<Vec<_>>(),
        ["default", "shortlived"]
    );
    let file = std::fs::read_to_string(acme.ca_file()).expect("a file");
    assert!(file.contains("BEGIN CERTIFICATE"));
    assert_ne!(file, acme.root(0), "another authority issues");
}

#[test]
fn lego_gets_a_certificate_by_http_01_from_a_backend() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let folder = root.path().to_owned();
    let web = Backend::scripted("web", move |exchange| {
        let path = exchange.request.target.trim_start_matches('/').to_owned();
        match std::fs::read_to_string(folder.join(path)) {
            Ok(text) => exchange.reply(&text),
            Err(_) => {
                exchange.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?;
                Ok(Then::Keep)
            }
        }
    });
    let acme = Acme::starting()
        .validating_at(web.address().port(), program_tests::ports::free())
        .start();
    let got = LegoClient::of(&acme, &["a.example", "b.example"])
        .webroot(root.path())
        .run()
        .expect("a certificate");
    for name in ["a.example", "b.example"] {
        assert_eq!(verified(&acme, &got, name, 0), Ok(()));
        let of_name = |seen: &program_tests::Seen| {
            let host = seen.header("host").unwrap_or_default();
            host.starts_with(name) && seen.target.starts_with("/.well-known/acme-challenge/")
        };
        assert!(web.seen().iter().any(of_name), "{name}: {:?}", web.seen());
    }
    assert!(verified(&acme, &got, "c.example", 0).is_err());
    assert!(
        verified(&acme, &got, "a.example", 91).is_err(),
        "it expires"
    );
    assert_eq!(
        (acme.orders(), acme.issued(), acme.validations()),
        (1, 1, 2)
    );
}

#[test]
fn the_test_server_answers_http_01_and_tells_who_asked() {
    let acme = Acme::starting().answering().start();
    assert!(acme.challenges.asked(Kind::Http, "a.example").is_empty());
    LegoClient::of(&acme, &["a.example"])
        .run()
        .expect("a certificate");
    let asked = acme.challenges.asked(Kind::Http, "a.example");
    assert!(!asked.is_empty());
    let agent = asked[0]["UserAgent"].as_str().unwrap_or_default();
    assert!(agent.contains("Pebble"), "{asked:?}");
    assert!(!acme.challenges.asked(Kind::Dns, "a.example").is_empty());
}

#[test]
fn tls_alpn_01_goes_to_the_tls_port() {
    let acme = Acme::starting().start();
    let got = LegoClient::of(&acme, &["a.example"])
        .challenge("tls-alpn-01")
        .listening(acme.tls)
        .run()
        .expect("a certificate");
    assert_eq!(verified(&acme, &got, "a.example", 0), Ok(()));

    let acme = Acme::starting().answering().start();
    let client = LegoClient::of(&acme, &["a.example"]).challenge("tls-alpn-01");
    client.run().expect("a certificate");
    let asked = acme.challenges.asked(Kind::TlsAlpn, "a.example");
    assert_eq!(asked[0]["SupportedProtos"][0], "acme-tls/1", "{asked:?}");
}

#[test]
fn dns_01_and_dns_persist_01_take_wildcards() {
    let acme = Acme::starting().start();
    for (challenge, record) in [
        ("dns-01", "_acme-challenge.a.example"),
        ("dns-persist-01", "_validation-persist.a.example"),
    ] {
        let client = LegoClient::of(&acme, &["*.a.example"]).challenge(challenge);
        let got = client.run().expect("a certificate");
        assert_eq!(
            verified(&acme, &got, "x.a.example", 0),
            Ok(()),
            "{challenge}"
        );
        assert!(!acme.challenges.asked(Kind::Dns, record).is_empty());
    }
}

#[test]
fn an_address_gets_a_certificate_too() {
    let acme = Acme::starting().answering().start();
    let got = LegoClient::of(&acme, &["127.0.0.1"])
        .run()
        .expect("a certificate");
    assert_eq!(verified(&acme, &got, "127.0.0.1", 0), Ok(()));
}

#[test]
fn a_name_that_points_elsewhere_or_fails_is_not_validated() {
    let acme = Acme::starting().answering().start();
    acme.challenges.set_a("away.example", "127.0.0.9");
    acme.challenges.fail("broken.example");
    for name in ["away.example", "broken.example"] {
        let said = LegoClient::of(&acme, &[name])
            .run()
            .expect_err("no certificate");
        assert!(said.contains("urn:ietf:params:acme:error:"), "{said}");
    }
    assert_eq!((acme.orders(), acme.issued()), (2, 0));
    acme.challenges.clear("a", "away.example");
    acme.challenges.clear("servfail", "broken.example");
    let names = ["away.example", "broken.example"];
    LegoClient::of(&acme, &names).run().expect("a certificate");
}

#[test]
fn blocked_names_are_refused() {
    let acme = Acme::starting()
        .answering()
        .blocking("blocked.example")
        .start();
    let client = LegoClient::of(&acme, &["www.blocked.example"]);
    let said = client.run().expect_err("no certificate");
    assert!(said.contains("rejectedIdentifier"), "{said}");
    assert_eq!(acme.orders(), 0);
}

#[test]
fn accounts_are_bound_where_that_is_asked_for() {
    let acme = Acme::starting()
        .answering()
        .external_account("kid-1", HMAC)
        .start();
    assert_eq!(
        acme.read_directory()["meta"]["externalAccountRequired"],
        true
    );
    let order = || LegoClient::of(&acme, &["a.example"]);
    let said = order().run().expect_err("no account");
    assert!(said.contains("externalAccountRequired"), "{said}");
    let wrong = HMAC.replace('z', "y");
    assert!(order().external_account("kid-1", &wrong).run().is_err());
    let bound = order().external_account("kid-1", HMAC).run();
    bound.expect("a certificate");
}

#[test]
fn profiles_and_validity_are_what_the_test_says() {
    let acme = Acme::starting()
        .answering()
        .validity(10 * DAY)
        .profile("shortlived", 2 * DAY)
        .start();
    let order = |profile: &str| LegoClient::of(&acme, &["a.example"]).profile(profile).run();
    for (profile, days) in [("default", 10), ("shortlived", 2)] {
        let got = order(profile).expect("a certificate");
        assert_eq!(verified(&acme, &got, "a.example", days - 1), Ok(()));
        assert!(
            verified(&acme, &got, "a.example", days + 1).is_err(),
            "{profile}"
        );
    }
    let said = order("tlsserver").expect_err("no such profile");
    assert!(said.contains("invalidProfile"), "{said}");
}

#[test]
fn the_window_of_renewal_is_moved_and_a_revoked_certificate_is_known() {
    let acme = Acme::starting().answering().start();
    let got = LegoClient::of(&acme, &["a.example"])
        .run()
        .expect("a certificate");
    assert!(
        got.renewal_info["suggestedWindow"]["start"].is_string(),
        "{}",
        got.renewal_info
    );
    assert_eq!(acme.status(&got.chain[0]).as_deref(), Some("Valid"));
    acme.suggest_window(
        &got.chain_pem,
        "2020-01-01T00:00:00Z",
        "2020-01-02T00:00:00Z",
    );
    let window = acme.renewal_info(&got.chain[0]);
    assert!(window.contains("2020-01-02T00:00:00Z"), "{window}");
    acme.set_renewal_info(&got.chain_pem, "no JSON");
    assert_eq!(acme.renewal_info(&got.chain[0]), "no JSON");

    let client = LegoClient::of(&acme, &["a.example"]).revoking();
    let revoked = client.run().expect("a certificate");
    assert_eq!(acme.status(&revoked.chain[0]).as_deref(), Some("Revoked"));
    assert_eq!(acme.status(&got.chain[0]).as_deref(), Some("Valid"));
    drop(acme);
    let other = Acme::starting().start();
    assert_eq!(other.status(&got.chain[0]), None);
}

#[test]
fn an_order_that_replaces_a_certificate_is_told_apart() {
    let acme = Acme::starting().answering().start();
    LegoClient::of(&acme, &["a.example"])
        .run()
        .expect("a certificate");
    assert_eq!((acme.orders(), acme.replacements()), (1, 0));
    let client = LegoClient::of(&acme, &["a.example"]).renewing();
    client.run().expect("a certificate");
    assert_eq!(
        (acme.orders(), acme.replacements(), acme.issued()),
        (3, 1, 3)
    );
}

#[test]
fn good_nonces_are_refused_as_often_as_said() {
    let acme = Acme::starting().answering().bad_nonces(100).start();
    let said = LegoClient::of(&acme, &["a.example"]).run();
    let said = said.expect_err("no nonce is good");
    assert!(said.contains("badNonce"), "{said}");
    assert_eq!(acme.orders(), 0);

    // A client may give up after some, so it has a few attempts.
    let acme = Acme::starting().answering().bad_nonces(20).start();
    let attempt = |_| LegoClient::of(&acme, &["a.example"]).run().is_ok();
    assert!((0..4).any(attempt), "{}", acme.log());
}

#[test]
fn alternate_roots_are_roots_of_their_own() {
    let acme = Acme::starting().alternate_roots(2).start();
    let roots = [0, 1, 2].map(|number| acme.root(number));
    assert!(roots[0] != roots[1] && roots[1] != roots[2] && roots[0] != roots[2]);
}

#[test]
fn slow_validation_is_slow_and_ends() {
    let acme = Acme::starting().answering().slow_validation(3).start();
    LegoClient::of(&acme, &["a.example"])
        .run()
        .expect("a certificate");
    assert!(acme.log().contains("before validating"), "{}", acme.log());
}

#[test]
fn a_door_limits_orders_and_lets_them_through_again() {
    let acme = Acme::starting().answering().start();
    let door = Door::before(&acme);
    door.limit(NEW_ORDER, 1, 3600);
    let order = || LegoClient::of(&acme, &["a.example"]).directory(&door.directory());
    let said = order().run().expect_err("too many");
    assert!(said.contains("rateLimited"), "{said}");
    assert_eq!((door.refused(), acme.orders()), (1, 0));
    let got = order().run().expect("a certificate");
    assert_eq!(verified(&acme, &got, "a.example", 0), Ok(()));
    let own = door.directory().replace("dir", "");
    assert!(got.account.starts_with(&own), "{} by {own}", got.account);
    assert_eq!((door.refused(), acme.orders()), (1, 1));
}

#[test]
fn a_door_hides_when_to_renew() {
    let acme = Acme::starting().answering().start();
    let door = Door::before(&acme);
    door.without_ari();
    let client = LegoClient::of(&acme, &["a.example"]).directory(&door.directory());
    let said = client.run().expect_err("it asks when to renew");
    assert!(said.contains("renewal information"), "{said}");
    assert_eq!(acme.issued(), 1);
}

#[test]
fn nothing_listens_once_it_is_dropped() {
    let acme = Acme::starting().answering().start();
    let (http, directory, file) = (acme.http, acme.directory(), acme.ca_file());
    let port: u16 = directory
        .rsplit(':')
        .next()
        .and_then(|rest| rest.trim_end_matches("/dir").parse().ok())
        .expect("a port");
    let dns = acme.challenges.dns().port();
    let open = |port: u16| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(open(http) && open(port) && open(dns) && file.exists());
    drop(acme);
    assert!(!open(http) && !open(port) && !open(dns) && !file.exists());
}

/// Whether a client that trusts the server's first root takes the certificate for `name`, so many
/// days from now.
fn verified(acme: &Acme, got: &Obtained, name: &str, days: u32) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(acme.root(0).as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .expect("a verifier");
    let name = ServerName::try_from(name).expect("a name");
    let then = SystemTime::now() + days * DAY;
    let since = then.duration_since(SystemTime::UNIX_EPOCH).expect("later");
    let now = UnixTime::since_unix_epoch(since);
    let (leaf, intermediates) = got.chain.split_first().expect("a certificate");
    verifier
        .verify_server_cert(leaf, intermediates, &name, &[], now)
        .map(|_| ())
}
