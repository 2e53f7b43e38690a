//! Answers of responders of every sort.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SerialNumber, SigningKey as _,
};
use x509_parser::prelude::ASN1Time;

use super::der::{BIT_STRING, BOOLEAN, ENUMERATED, GENERALIZED_TIME, inside, plain, write as der};
use super::*;

const URL: &str = "http://ocsp.example/ca";

/// id-pkix-ocsp-basic, and ecdsa-with-SHA256.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

const HOUR: i64 = 3600;

/// Somebody with a certificate.
struct Party {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

impl Party {
    fn signs_itself(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let parameters = authority(name);
        let made = parameters.self_signed(&key).expect("signable");
        Self {
            der: made.der().clone(),
            issuer: Issuer::new(parameters, key),
        }
    }

    fn certifies(&self, parameters: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let made = parameters.signed_by(&key, &self.issuer).expect("signable");
        Self {
            der: made.der().clone(),
            issuer: Issuer::new(parameters, key),
        }
    }

    fn name(&self) -> Vec<u8> {
        let (_, parsed) = X509Certificate::from_der(&self.der).expect("a certificate");
        parsed.subject().as_raw().to_vec()
    }

    fn key_hash(&self) -> [u8; 20] {
        let (_, parsed) = X509Certificate::from_der(&self.der).expect("a certificate");
        key_hash(&parsed)
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut parameters = named(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// Whose certificate names responders at these URLs.
fn leaf(urls: &[&str], serial: &[u8]) -> CertificateParams {
    let mut parameters = named("web.example");
    parameters.serial_number = Some(SerialNumber::from_slice(serial));
    let ocsp = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
    let all: Vec<_> = urls
        .iter()
        .map(|url| {
            der(
                SEQUENCE,
                &[&der(OID, &[&ocsp]), &der(plain(6), &[url.as_bytes()])],
            )
        })
        .collect();
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    if !all.is_empty() {
        let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
        let access = CustomExtension::from_oid_content(oid, der(SEQUENCE, &all));
        parameters.custom_extensions.push(access);
    }
    parameters
}

fn delegate() -> CertificateParams {
    let mut parameters = named("responder");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    parameters
}

/// A CA, and what it has certified.
struct World {
    ca: Party,
    subject: Subject,
}

fn world() -> World {
    let ca = Party::signs_itself("ca");
    let web = ca.certifies(leaf(&[URL], &[0x00, 0xff, 1]));
    let subject = Subject::of(&[web.der, ca.der.clone()]).expect("asked about");
    World { ca, subject }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_402_921)
}

fn stamp(seconds: i64) -> Vec<u8> {
    let time = ASN1Time::from_timestamp(1_795_402_921 + seconds).expect("a time");
    let time = time.to_datetime();
    let text = format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    );
    der(GENERALIZED_TIME, &[text.as_bytes()])
}

/// How an answer is made.
struct Making<'a> {
    id: &'a CertId,
    status: Vec<u8>,
    since: i64,
    until: Option<i64>,
    signer: &'a Party,
    by_key: bool,
    extensions: Vec<u8>,
    certificates: &'a [&'a Party],
}

fn good<'a>(world: &'a World) -> Making<'a> {
    Making {
        id: &world.subject.id,
        status: der(plain(0), &[]),
        since: -HOUR,
        until: Some(HOUR),
        signer: &world.ca,
        by_key: false,
        extensions: Vec::new(),
        certificates: &[],
    }
}

impl Making<'_> {
    fn der(&self) -> Vec<u8> {
        let until = self.until.map(|at| der(inside(0), &[&stamp(at)]));
        let single = der(
            SEQUENCE,
            &[
                &self.id.der(),
                &self.status,
                &stamp(self.since),
                &until.unwrap_or_default(),
            ],
        );
        let responder = match self.by_key {
            true => der(inside(2), &[&der(OCTET_STRING, &[&self.signer.key_hash()])]),
            false => der(inside(1), &[&self.signer.name()]),
        };
        let responses = der(SEQUENCE, &[&single]);
        let data = [&responder, &stamp(-HOUR), &responses, &self.extensions];
        let data = der(SEQUENCE, &data.map(Vec::as_slice));
        let signature = self.signer.issuer.key().sign(&data).expect("signable");
        let algorithm = der(SEQUENCE, &[&der(OID, &[ECDSA_SHA256])]);
        let mut all = Vec::new();
        for party in self.certificates {
            all.extend_from_slice(&party.der);
        }
        let certificates = match all.is_empty() {
            true => Vec::new(),
            false => der(inside(0), &[&der(SEQUENCE, &[&all])]),
        };
        let signature = der(BIT_STRING, &[&[0], &signature]);
        let basic = der(SEQUENCE, &[&data, &algorithm, &signature, &certificates]);
        successful(&der(
            SEQUENCE,
            &[&der(OID, &[BASIC]), &der(OCTET_STRING, &[&basic])],
        ))
    }
}

fn successful(bytes: &[u8]) -> Vec<u8> {
    der(
        SEQUENCE,
        &[&der(ENUMERATED, &[&[0]]), &der(inside(0), &[bytes])],
    )
}

fn read(world: &World, making: &Making<'_>) -> Result<Answer, Refused> {
    world.subject.read(&making.der(), now())
}

#[test]
fn an_answer_of_the_issuer_is_believed_by_its_name_and_by_its_key() {
    let world = world();
    for by_key in [false, true] {
        let answer = read(
            &world,
            &Making {
                by_key,
                ..good(&world)
            },
        );
        let at = |seconds: i64| now().checked_add_signed(seconds);
        assert_eq!(
            answer,
            Ok(Answer {
                status: Status::Good,
                since: at(-HOUR),
                until: at(HOUR),
            })
        );
    }
    let revoked = der(inside(1), &[&stamp(-2 * HOUR)]);
    let answer = read(
        &world,
        &Making {
            status: revoked,
            ..good(&world)
        },
    )
    .expect("believed");
    let since = now() - Duration::from_secs(7200);
    assert_eq!(answer.status, Status::Revoked(since));
    let unknown = der(plain(2), &[]);
    let answer = read(
        &world,
        &Making {
            status: unknown,
            ..good(&world)
        },
    )
    .expect("believed");
    assert_eq!(answer.status, Status::Unknown);
}

/// Seconds from a time on, forwards and backwards.
trait Signed {
    fn checked_add_signed(self, seconds: i64) -> SystemTime;
}

impl Signed for SystemTime {
    fn checked_add_signed(self, seconds: i64) -> SystemTime {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self - by } else { self + by }
    }
}

#[test]
fn an_answer_is_good_in_its_time_alone() {
    let world = world();
    let made = |since, until| {
        read(
            &world,
            &Making {
                since,
                until,
                ..good(&world)
            },
        )
    };
    assert!(made(-HOUR, Some(1)).is_ok());
    assert_eq!(made(-HOUR, Some(0)), Err(Refused::Expired));
    assert_eq!(made(-HOUR, Some(-1)), Err(Refused::Expired));
    // A little of the responder's clock being fast is forgiven.
    assert!(made(200, Some(HOUR)).is_ok());
    assert_eq!(made(400, Some(HOUR)), Err(Refused::Early));
    // One that does not say is good for an hour.
    assert!(made(-HOUR + 1, None).is_ok());
    assert_eq!(made(-HOUR, None), Err(Refused::Expired));
}

#[test]
fn an_answer_about_another_certificate_is_refused() {
    let world = world();
    let other = world.ca.certifies(leaf(&[URL], &[0x02]));
    let other = Subject::of(&[other.der, world.ca.der.clone()]).expect("asked about");
    let answer = read(
        &world,
        &Making {
            id: &other.id,
            ..good(&world)
        },
    );
    assert_eq!(answer, Err(Refused::Other));
    // The same number of another issuer's is another, too.
    let second = Party::signs_itself("ca");
    let id = CertId {
        key_hash: second.key_hash(),
        ..world.subject.id.clone()
    };
    let answer = read(
        &world,
        &Making {
            id: &id,
            ..good(&world)
        },
    );
    assert_eq!(answer, Err(Refused::Other));
}

#[test]
fn who_may_answer_has_a_certificate_of_the_issuer_for_that_which_is_good_now() {
    let world = world();
    let by = |party: &Party, certificates: &[&Party]| {
        read(
            &world,
            &Making {
                signer: party,
                certificates,
                ..good(&world)
            },
        )
    };
    let right = world.ca.certifies(delegate());
    assert!(by(&right, &[&right]).is_ok());
    assert_eq!(by(&right, &[]), Err(Refused::NotSigned));
    // A certificate of a web server's, though of the same issuer.
    let web = world.ca.certifies(named("responder"));
    assert_eq!(by(&web, &[&web]), Err(Refused::NotSigned));
    // Somebody else's, though of the same name.
    let namesake = Party::signs_itself("ca");
    let stranger = namesake.certifies(delegate());
    assert_eq!(
        by(&stranger, &[&stranger, &namesake]),
        Err(Refused::NotSigned)
    );
    assert_eq!(by(&namesake, &[&namesake]), Err(Refused::NotSigned));
    let mut late = delegate();
    late.not_before = rcgen::date_time_ymd(2020, 1, 1);
    late.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let late = world.ca.certifies(late);
    assert_eq!(by(&late, &[&late]), Err(Refused::NotSigned));
}

#[test]
fn what_is_changed_on_the_way_is_not_believed() {
    let world = world();
    let right = good(&world).der();
    assert!(world.subject.read(&right, now()).is_ok());
    for index in 0..right.len() {
        let mut wrong = right.clone();
        wrong[index] ^= 1;
        assert!(world.subject.read(&wrong, now()).is_err(), "byte {index}");
    }
    for length in 0..right.len() {
        let cut = world.subject.read(&right[..length], now());
        assert_eq!(cut, Err(Refused::Malformed), "{length} bytes");
    }
}

#[test]
fn what_has_to_be_understood_and_is_not_is_refused() {
    let world = world();
    let extension = |critical: &[u8]| {
        let critical = der(BOOLEAN, &[critical]);
        let parts = [der(OID, &[&[0x2a, 3]]), critical, der(OCTET_STRING, &[])];
        let extension = der(SEQUENCE, &[&parts[0], &parts[1], &parts[2]]);
        der(inside(1), &[&der(SEQUENCE, &[&extension])])
    };
    let extended = |critical: &[u8]| {
        let extensions = extension(critical);
        read(
            &world,
            &Making {
                extensions,
                ..good(&world)
            },
        )
    };
    assert!(extended(&[0]).is_ok());
    assert_eq!(extended(&[0xff]), Err(Refused::Critical));
}

#[test]
fn a_responder_that_gives_no_answer_says_why() {
    let world = world();
    let read = |der: &[u8]| world.subject.read(der, now());
    let later = der(SEQUENCE, &[&der(ENUMERATED, &[&[3]])]);
    assert_eq!(read(&later), Err(Refused::Unsuccessful("try later")));
    assert_eq!(read(b"<html>"), Err(Refused::Malformed));
    assert_eq!(read(b""), Err(Refused::Malformed));
    let kind = der(
        SEQUENCE,
        &[&der(OID, &[&[0x2a, 3]]), &der(OCTET_STRING, &[])],
    );
    assert_eq!(read(&successful(&kind)), Err(Refused::OtherKind));
}

#[test]
fn who_is_asked_about_has_a_responder_and_an_issuer_in_its_chain() {
    let ca = Party::signs_itself("ca");
    let of = |urls: &[&str], chain: &[&Party]| {
        let leaf = ca.certifies(leaf(urls, &[1]));
        let others = chain.iter().map(|party| party.der.clone());
        let chain: Vec<_> = std::iter::once(leaf.der).chain(others).collect();
        Subject::of(&chain).map(|subject| subject.responder().to_string())
    };
    let namesake = Party::signs_itself("ca");
    assert_eq!(of(&[URL], &[&ca]).as_deref(), Ok(URL));
    assert_eq!(of(&[URL], &[&namesake, &ca]).as_deref(), Ok(URL));
    assert_eq!(of(&[URL], &[&namesake]), Err(NotAsked::NoIssuer));
    assert_eq!(of(&[URL], &[]), Err(NotAsked::NoIssuer));
    assert_eq!(of(&[], &[&ca]), Err(NotAsked::NoResponder));
    let secured = "https://ocsp.example/";
    assert_eq!(of(&[secured, URL], &[&ca]).as_deref(), Ok(URL));
    assert_eq!(of(&[secured], &[&ca]), Err(NotAsked::Unfit(NoUrl::NotHttp)));
    assert_eq!(Subject::of(&[]), Err(NotAsked::Unreadable));
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd_to_be_refused(bytes: Vec<u8>) {
        let world = world();
        prop_assert!(world.subject.read(&bytes, now()).is_err());
        let basic = der(SEQUENCE, &[&der(OID, &[BASIC]), &der(OCTET_STRING, &[&bytes])]);
        prop_assert!(world.subject.read(&successful(&basic), now()).is_err());
    }

    #[test]
    fn no_change_of_an_answer_is_too_odd_to_be_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let world = world();
        let right = good(&world).der();
        let mut changed = right.clone();
        for (index, byte) in changes {
            changed[index.index(right.len())] = byte;
        }
        prop_assert_eq!(world.subject.read(&changed, now()).is_ok(), changed == right);
    }

    #[test]
    fn no_url_is_too_odd(url: String) {
        let _ = Responder::parse(&url);
        let _ = Responder::parse(&format!("http://{url}"));
    }
}
