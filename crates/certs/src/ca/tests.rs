use std::collections::HashSet;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn request<'a>(names: &'a [String], usage: Usage, lifetime: Duration) -> Request<'a> {
    Request {
        names,
        common_name: None,
        usage,
        lifetime,
        key: KeyKind::default(),
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn ders(pem: &str) -> Vec<CertificateDer<'static>> {
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.collect::<Result<_, _>>().expect("PEM")
}

fn roots(bundle: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for der in ders(bundle) {
        roots.add(der).expect("a root");
    }
    Arc::new(roots)
}

fn unix(time: SystemTime) -> UnixTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    UnixTime::since_unix_epoch(since.expect("after 1970"))
}

/// What a client that trusts `bundle` says of a server.
fn server(bundle: &str, chain: &str, name: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(roots(bundle), default_provider().into())
            .build()
            .expect("a verifier");
    let chain = ders(chain);
    let name = ServerName::try_from(name).expect("a name");
    let verified = verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], unix(now));
    verified.map(|_| ())
}

/// What a server that trusts `bundle` says of a client.
fn client(bundle: &str, chain: &str, now: SystemTime) -> Result<(), rustls::Error> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(bundle), default_provider().into())
            .build()
            .expect("a verifier");
    let chain = ders(chain);
    let verified = verifier.verify_client_cert(&chain[0], &chain[1..], unix(now));
    verified.map(|_| ())
}

fn assert_key_fits(issued: &Issued) {
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key");
    CertifiedKey::from_der(ders(&issued.chain), key, &default_provider()).expect("they fit");
}

#[test]
fn a_client_that_trusts_the_bundle_accepts_names_wildcards_and_addresses() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["Web.test", "*.apps.test", "10.0.0.1", "2001:db8::1"]);
    let issued = authority
        .issue(&request(&names, Usage::Server, 90 * DAY), start())
        .expect("issued");
    assert_key_fits(&issued);
    let check = |name: &str| server(&authority.bundle(), &issued.chain, name, start());
    for name in ["web.test", "a.apps.test", "10.0.0.1", "2001:db8::1"] {
        assert_eq!(check(name), Ok(()), "{name}");
    }
    for name in ["apps.test", "a.b.apps.test", "10.0.0.2"] {
        assert!(check(name).is_err(), "{name}");
    }
}

#[test]
fn a_certificate_ends_when_it_was_asked_to() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["web.test"]);
    for lifetime in [HOUR, 160 * HOUR, 90 * DAY] {
        let request = request(&names, Usage::Server, lifetime);
        let issued = authority.issue(&request, start()).expect("issued");
        let at = |time| server(&authority.bundle(), &issued.chain, "web.test", time);
        assert_eq!(at(start()), Ok(()));
        assert_eq!(at(start() + lifetime - HOUR / 60), Ok(()));
        assert!(at(start() + lifetime + HOUR / 60).is_err());
        assert!(at(start() - 2 * HOUR).is_err());
    }
}

#[test]
fn servers_certificates_are_no_clients_and_the_other_way_round() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["part.test"]);
    let is_good_for = |usage| {
        let request = request(&names, usage, DAY);
        let issued = authority.issue(&request, start()).expect("issued");
        (
            server(&authority.bundle(), &issued.chain, "part.test", start()).is_ok(),
            client(&authority.bundle(), &issued.chain, start()).is_ok(),
        )
    };
    assert_eq!(is_good_for(Usage::Server), (true, false));
    assert_eq!(is_good_for(Usage::Client), (false, true));
    assert_eq!(is_good_for(Usage::Both), (true, true));
}

#[test]
fn a_client_may_have_a_common_name_alone() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let mut request = request(&[], Usage::Client, DAY);
    assert!(authority.issue(&request, start()).is_err());
    request.common_name = Some("part one");
    let issued = authority.issue(&request, start()).expect("issued");
    assert_eq!(client(&authority.bundle(), &issued.chain, start()), Ok(()));
    let long = "x".repeat(65);
    request.common_name = Some(&long);
    assert!(authority.issue(&request, start()).is_err());
}

#[test]
fn another_authority_is_not_trusted() {
    let one = Authority::new(&Terms::default(), start()).expect("made");
    let other = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["web.test"]);
    let issued = one
        .issue(&request(&names, Usage::Server, DAY), start())
        .expect("issued");
    assert!(server(&other.bundle(), &issued.chain, "web.test", start()).is_err());
}

#[test]
fn what_is_no_name_is_said_to_be_none() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let long = format!("{}.test", "x".repeat(64));
    for wrong in ["", "a b", "a..b", "*.*.test", "http://a", "ä.test", &long] {
        let names = names(&[wrong]);
        let request = request(&names, Usage::Server, DAY);
        let error = authority.issue(&request, start()).expect_err("no name");
        assert!(error.to_string().contains(&format!("{wrong:?}")), "{error}");
    }
}

#[test]
fn extensions_are_what_rfc_5280_asks_for() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["web.test"]);
    let mut serials = HashSet::new();
    for _ in 0..20 {
        let issued = authority
            .issue(&request(&names, Usage::Server, DAY), start())
            .expect("issued");
        let chain = ders(&issued.chain);
        let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).expect("read");
        let (_, above) = x509_parser::parse_x509_certificate(&chain[1]).expect("read");
        let usage = leaf.key_usage().expect("reads").expect("has one");
        assert!(usage.critical && usage.value.digital_signature());
        assert!(!usage.value.key_cert_sign() && !leaf.is_ca());
        let usage = above.key_usage().expect("reads").expect("has one");
        assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
        let constraints = above.basic_constraints().expect("reads").expect("has some");
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        assert!(above.name_constraints().expect("reads").is_none());
        assert!(leaf.raw_serial().len() <= 20 && leaf.raw_serial()[0] < 0x80);
        serials.insert(leaf.raw_serial().to_vec());
    }
    assert_eq!(serials.len(), 20);
}

#[test]
fn a_chain_goes_without_the_root() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["web.test"]);
    let request = request(&names, Usage::Server, DAY);
    let issued = authority.issue(&request, start()).expect("issued");
    assert_eq!(ders(&issued.chain).len(), 2);
    assert!(!ders(&issued.chain).contains(&ders(&authority.bundle())[0]));
}

#[test]
fn through_years_of_renewals_whatever_is_valid_is_trusted() {
    let terms = Terms {
        root: 300 * DAY,
        intermediate: 90 * DAY,
        telling: 2 * DAY,
    };
    let names = names(&["web.test"]);
    let request = request(&names, Usage::Server, 20 * DAY);
    let mut authority = Authority::new(&terms, start()).expect("made");
    let mut live: Vec<(SystemTime, String)> = Vec::new();
    let (mut all_roots, mut most_roots) = (HashSet::new(), 0);
    // What somebody has who reads the bundle once a day.
    let mut read = authority.bundle();
    for day in 0..1500u32 {
        let now = start() + day * DAY;
        if let Some(next) = authority.renewed(&terms, now).expect("renewed") {
            authority = next;
        }
        assert_eq!(authority.renewed(&terms, now), Ok(None), "day {day}");
        let issued = authority.issue(&request, now).expect("issued");
        assert_eq!(
            server(&read, &issued.chain, "web.test", now),
            Ok(()),
            "day {day}, stale"
        );
        let until = validity(&issued.chain).expect("reads").not_after;
        assert!(until >= now + 20 * DAY, "day {day}: it is cut short");
        live.push((until, issued.chain));
        live.retain(|(until, _)| now < *until);
        read = authority.bundle();
        for (_, chain) in &live {
            assert_eq!(server(&read, chain, "web.test", now), Ok(()), "day {day}");
        }
        let roots = ders(&read);
        most_roots = most_roots.max(roots.len());
        all_roots.extend(roots);
    }
    assert!(all_roots.len() >= 6, "{} roots", all_roots.len());
    assert_eq!(most_roots, 2, "old roots go");
}

#[test]
fn an_authority_that_slept_past_its_end_is_made_anew() {
    let terms = Terms::default();
    let authority = Authority::new(&terms, start()).expect("made");
    let names = names(&["web.test"]);
    let now = start() + terms.root + DAY;
    assert!(
        authority
            .issue(&request(&names, Usage::Server, DAY), now)
            .is_err()
    );
    let next = authority.renewed(&terms, now).expect("renewed");
    let next = next.expect("a new one");
    let issued = next
        .issue(&request(&names, Usage::Server, DAY), now)
        .expect("issued");
    assert_eq!(
        server(&next.bundle(), &issued.chain, "web.test", now),
        Ok(())
    );
}

#[test]
fn an_authority_is_kept_and_read_again_and_its_keys_are_in_no_log() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let kept = serde_json::to_vec(&authority).expect("written");
    let again: Authority = serde_json::from_slice(&kept).expect("read");
    assert_eq!(authority, again);
    assert!(!format!("{authority:?}").contains("PRIVATE"));
    let issued = authority
        .issue(&request(&names(&["a.test"]), Usage::Server, DAY), start())
        .expect("issued");
    assert!(!format!("{issued:?}").contains("PRIVATE"));
}

#[test]
fn an_issuer_is_read_out_of_a_secret_unless_key_and_certificate_part() {
    let authority = Authority::new(&Terms::default(), start()).expect("made");
    let other = Authority::new(&Terms::default(), start()).expect("made");
    let names = names(&["web.test"]);
    let request = request(&names, Usage::Server, DAY);
    let leaf = authority.issue(&request, start()).expect("issued");
    let error = Issuer::from_pem(&leaf.chain, &leaf.key).expect_err("a leaf");
    assert!(error.to_string().contains("not an authority's"), "{error}");
    let above = to_pem(&ders(&leaf.chain)[1]);
    let error = Issuer::from_pem(&above, &leaf.key).expect_err("another key");
    assert!(error.to_string().contains("not that of"), "{error}");
    assert!(Issuer::from_pem("", &leaf.key).is_err());
    assert!(Issuer::from_pem(&above, "nonsense").is_err());
    let issuer = other.issuer().expect("read");
    let issued = issuer.issue(&request, start()).expect("issued");
    assert_eq!(
        server(&other.bundle(), &issued.chain, "web.test", start()),
        Ok(())
    );
}

#[test]
fn a_self_signed_certificate_is_good_for_who_was_given_it() {
    let names = names(&["web.test"]);
    let issued = self_signed(&request(&names, Usage::Server, DAY), start()).expect("made");
    assert_key_fits(&issued);
    assert_eq!(
        server(&issued.chain, &issued.chain, "web.test", start()),
        Ok(())
    );
    let other = self_signed(&request(&names, Usage::Server, DAY), start()).expect("made");
    assert!(server(&other.chain, &issued.chain, "web.test", start()).is_err());
}
