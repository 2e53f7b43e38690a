//! `certs`' issuers against an ACME server that is nobody's imitation, before the program is: each
//! method, and each of the CA's moods.

mod dns;
mod rig;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::acme::RevocationReason;
use certs::ca::{names, validity};
use certs::keeper::{Done, Keeper, Source};
use certs::methods::Way;
use program_tests::acme::{Board, Door, NEW_ORDER};
use program_tests::wait::eventually;
use program_tests::{Acme, ports};
use rig::{CA, Rig, leaf, obtain, obtain_as, run, wish};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// Whether a client that trusts one of the server's roots takes a chain for a name.
fn is_trusted(root: &str, chain: &str, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).expect("PEM");
    roots.add(root).expect("a root");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.into())
        .build()
        .expect("a verifier");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .map(|der| der.expect("PEM"))
        .collect();
    let name = ServerName::try_from(name).expect("a name");
    let verified = verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now());
    verified.is_ok()
}

#[test]
fn names_and_addresses_are_shown_over_http_and_tls() {
    for way in [Way::Http01, Way::TlsAlpn01] {
        let rig = Rig::start(Acme::starting());
        let replica = rig.replica(rig.issuer(vec![way]));
        let all = ["a.example", "b.example", "127.0.0.1"];
        let issued = obtain(&replica, &all).expect("a certificate");
        let root = rig.acme.root(0);
        for name in all {
            assert!(is_trusted(&root, &issued.chain, name), "{name}");
        }
        assert!(!is_trusted(&root, &issued.chain, "c.example"));
        assert!(rig.board.is_empty(), "nothing stays behind");
        assert_eq!((rig.acme.orders(), rig.acme.issued()), (1, 1));
    }
}

#[test]
fn where_one_port_cannot_be_reached_the_other_is_tried_next() {
    let closed = ports::free();
    let rig = Rig::with(Board::start(), Acme::starting(), closed);
    let replica = rig.replica(rig.issuer(vec![Way::Http01, Way::TlsAlpn01]));
    let failed = obtain(&replica, &["a.example"]).expect_err("nobody listens");
    assert!(failed.error.contains("(by http-01)"), "{failed:?}");
    obtain(&replica, &["a.example"]).expect("a certificate");
}

#[test]
fn a_replica_that_ends_in_mid_order_leaves_it_to_another() {
    let rig = Rig::start(Acme::starting().slow_validation(3));
    let keeper = || {
        let source = rig.replica(rig.issuer(vec![Way::Http01]));
        Keeper::new(rig.shared.clone(), rig.shared.clone(), source, 4)
    };
    let (one, other) = (keeper(), keeper());
    let (wish, now) = (wish(&["a.example"]), SystemTime::now());
    run(async {
        let turn = one.turn(vec![wish.clone()], now);
        let mut turn = std::pin::pin!(turn);
        while rig.acme.orders() == 0 {
            let _ = tokio::time::timeout(Duration::from_millis(20), &mut turn).await;
        }
        let meanwhile = other.turn(vec![wish.clone()], now).await;
        assert_eq!(meanwhile[0].done, Done::Elsewhere);
    });
    // Its runtime is gone, and the lock with it.
    let outcomes = run(other.turn(vec![wish], now));
    assert_eq!(outcomes[0].done, Done::Renewed);
    assert_eq!(rig.acme.issued(), 1);
}

#[test]
fn refused_nonces_and_slow_validation_are_lived_with() {
    let starting = Acme::starting().bad_nonces(15).slow_validation(3);
    let rig = Rig::start(starting);
    let replica = rig.replica(rig.issuer(vec![Way::Http01]));
    // One nonce may be refused too often by chance, which the keeper's next turn makes good.
    let attempt = |_| obtain(&replica, &["a.example"]).is_ok();
    assert!((0..4).any(attempt), "{}", rig.acme.log());
    assert!(rig.acme.log().contains("before validating"));
}

#[test]
fn a_ca_for_its_customers_takes_only_them() {
    let rig = Rig::start(Acme::starting().external_account("kid", HMAC));
    let mut issuer = rig.issuer(vec![Way::Http01]);
    let refused = obtain(&rig.replica(issuer), &["a.example"]).expect_err("no customer");
    assert!(refused.error.contains("external"), "{refused:?}");
    issuer = rig.issuer(vec![Way::Http01]);
    issuer.settings.external = rig::external("kid", HMAC);
    obtain(&rig.replica(issuer), &["a.example"]).expect("a certificate");
}

#[test]
fn the_wishs_profile_comes_before_the_issuers() {
    let starting = Acme::starting()
        .profile("default", 10 * DAY)
        .profile("shortlived", 2 * DAY);
    let rig = Rig::start(starting);
    let mut issuer = rig.issuer(vec![Way::Http01]);
    issuer.profile = Some("default".to_owned());
    let replica = rig.replica(issuer);
    let mut wish = wish(&["a.example"]);
    let days = |chain: &str| validity(chain).expect("reads").lifetime().as_secs() / DAY.as_secs();
    let issued = obtain_as(&replica, &wish, None).expect("a certificate");
    assert!((9..=10).contains(&days(&issued.chain)));
    wish.profile = Some("shortlived".to_owned());
    let issued = obtain_as(&replica, &wish, None).expect("a certificate");
    assert!((1..=2).contains(&days(&issued.chain)));
    wish.profile = Some("forever".to_owned());
    let refused = obtain_as(&replica, &wish, None).expect_err("no such profile");
    assert!(refused.error.contains("shortlived"), "{refused:?}");
}

#[test]
fn a_window_is_heard_of_and_the_next_certificate_says_what_it_replaces() {
    let rig = Rig::start(Acme::starting());
    let replica = rig.replica(rig.issuer(vec![Way::Http01]));
    let wish = wish(&["a.example"]);
    let old = obtain_as(&replica, &wish, None).expect("a certificate");
    let window = "2020-01-01T00:00:00Z";
    rig.acme
        .suggest_window(&old.chain, window, "2020-01-02T00:00:00Z");
    let info = run(replica.renewal_info(&wish, &old.chain)).expect("an answer");
    assert!(info.window.is_some());
    // pebble hands a certificate out before it knows whose order it is of.
    eventually("an order that replaces it", || {
        obtain_as(&replica, &wish, Some(&old.chain)).ok()
    });
    assert_eq!((rig.acme.orders(), rig.acme.replacements()), (2, 1));
    // It has been replaced: that is no reason to have none.
    obtain_as(&replica, &wish, Some(&old.chain)).expect("a certificate");
    assert_eq!(rig.acme.issued(), 3);
    rig.acme.set_renewal_info(&old.chain, "no JSON");
    assert_eq!(run(replica.renewal_info(&wish, &old.chain)), None);
}

#[test]
fn a_certificate_is_revoked_by_another_replica() {
    let rig = Rig::start(Acme::starting());
    let one = rig.replica(rig.issuer(vec![Way::Http01]));
    let issued = obtain(&one, &["a.example"]).expect("a certificate");
    let status = || rig.acme.status(&leaf(&issued.chain));
    assert_eq!(status().as_deref(), Some("Valid"));
    // It tells the CA of other addresses, which is another request of the same account's.
    let mut issuer = rig.issuer(vec![Way::Http01]);
    issuer.settings.emails = vec!["others@example.org".to_owned()];
    let other = rig.replica(issuer);
    let revoke = || run(other.revoke(CA, &issued.chain, RevocationReason::Superseded));
    revoke().expect("revoked");
    assert_eq!(status().as_deref(), Some("Revoked"));
    let again = revoke().expect_err("it is revoked");
    assert!(again.error.contains("alreadyRevoked"), "{again:?}");
}

#[test]
fn the_chain_that_is_preferred_is_the_one_that_is_served() {
    let rig = Rig::start(Acme::starting().alternate_roots(2).bad_nonces(5));
    for number in [2, 1, 0] {
        let root = rig.acme.root(number);
        let der = leaf(&root);
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).expect("reads");
        let name = parsed.subject().iter_common_name().next().expect("a name");
        let mut issuer = rig.issuer(vec![Way::Http01]);
        issuer.preferred_chain = Some(name.as_str().expect("text").to_owned());
        let replica = rig.replica(issuer);
        // By chance one nonce may be refused too often.
        let issued = (0..4).find_map(|_| obtain(&replica, &["a.example"]).ok());
        let chain = issued.expect("a certificate").chain;
        assert!(is_trusted(&root, &chain, "a.example"), "{number}");
        let other = rig.acme.root((number + 1) % 3);
        assert!(!is_trusted(&other, &chain, "a.example"), "{number}");
    }
    let mut issuer = rig.issuer(vec![Way::Http01]);
    issuer.preferred_chain = Some("nobody".to_owned());
    let replica = rig.replica(issuer);
    let issued = (0..4).find_map(|_| obtain(&replica, &["a.example"]).ok());
    let chain = issued
        .expect("the CA's own chain is better than none")
        .chain;
    assert!(is_trusted(&rig.acme.root(0), &chain, "a.example"));
}

#[test]
fn what_the_ca_refuses_is_told_in_its_own_words() {
    let rig = Rig::start(Acme::starting().blocking("blocked.example"));
    let replica = rig.replica(rig.issuer(vec![Way::Http01]));
    let refused = obtain(&replica, &["a.example", "blocked.example"]).expect_err("blocked");
    assert!(refused.error.contains("rejectedIdentifier"), "{refused:?}");
    assert!(refused.error.contains("blocked.example"), "{refused:?}");
    rig.acme.challenges.set_a("away.example", "127.0.0.9");
    let refused = obtain(&replica, &["a.example", "away.example"]).expect_err("elsewhere");
    let text = &refused.error;
    assert!(
        text.contains("away.example") && text.contains("\"connection\""),
        "{text}"
    );
    assert!(!text.contains("of a.example"), "that one was seen: {text}");
    obtain(&replica, &["a.example"]).expect("a certificate");
}

#[test]
fn a_rate_limit_says_until_when() {
    let rig = Rig::start(Acme::starting());
    let door = Door::before(&rig.acme);
    door.limit(NEW_ORDER, 1, 3600);
    let mut issuer = rig.issuer(vec![Way::Http01]);
    issuer.settings.directory = door.directory();
    let replica = rig.replica(issuer);
    let before = SystemTime::now();
    let limited = obtain(&replica, &["a.example"]).expect_err("too many");
    assert!(limited.is_rate_limit, "{limited:?}");
    let until = limited.not_before.expect("a time");
    assert!(until >= before + Duration::from_secs(3590), "{limited:?}");
    obtain(&replica, &["a.example"]).expect("a certificate");
}

#[test]
fn an_order_that_was_left_half_way_is_in_nobodys_way() {
    // What was shown before counts again, as at most CAs.
    let rig = Rig::start(Acme::starting().reusing_authorizations(100));
    let replica = Arc::new(rig.replica(rig.issuer(vec![Way::Http01])));
    rig.acme.challenges.set_a("slow.example", "127.0.0.9");
    let wish_for = wish(&["a.example", "slow.example"]);
    run(async {
        // Dropped somewhere between the order and its certificate.
        for millis in [5, 30, 80, 200, 600] {
            let left = replica.obtain(&wish_for, None);
            let _ = tokio::time::timeout(Duration::from_millis(millis), left).await;
        }
    });
    rig.acme.challenges.clear("a", "slow.example");
    rig.board.clear();
    let issued = obtain(&replica, &["a.example", "slow.example"]).expect("a certificate");
    assert!(is_trusted(&rig.acme.root(0), &issued.chain, "slow.example"));
    // Nothing is left to be shown.
    let shown = rig.acme.validations();
    obtain(&replica, &["a.example", "slow.example"]).expect("a certificate");
    assert_eq!(rig.acme.validations(), shown);
}

#[test]
fn replicas_at_once_order_each_certificate_once_and_renew_it_when_the_ca_says() {
    let rig = Rig::start(Acme::starting());
    let keeper = || {
        let source = rig.replica(rig.issuer(vec![Way::TlsAlpn01]));
        Keeper::new(rig.shared.clone(), rig.shared.clone(), source, 4)
    };
    let (one, other) = (keeper(), keeper());
    let wish = wish(&["a.example"]);
    let now = SystemTime::now();
    let wishes = || vec![wish.clone()];
    run(async { tokio::join!(one.turn(wishes(), now), other.turn(wishes(), now)) });
    assert_eq!((rig.acme.orders(), rig.acme.issued()), (1, 1));
    let chain = || {
        let (record, _) = rig.shared.store().records["web/tls"].clone();
        record.issued.expect("kept").chain
    };
    let first = chain();
    assert_eq!(names(&first), Ok(wish.names.clone()));
    rig.acme
        .suggest_window(&first, "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z");
    let later = now + DAY + Duration::from_secs(60);
    let outcomes = run(other.turn(vec![wish.clone()], later));
    assert_eq!(outcomes[0].done, Done::Renewed);
    assert_ne!(chain(), first);
    assert_eq!((rig.acme.orders(), rig.acme.replacements()), (2, 1));
}
