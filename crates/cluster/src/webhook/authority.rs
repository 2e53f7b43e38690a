//! The certificates of the webhook: an authority of our own, and what it certifies.
//!
//! An authority is good for a year and followed by another one after two thirds of it; a serving
//! certificate is good for 90 days and renewed after two thirds. A new authority is only told at
//! first: it certifies nothing before everybody had time to hear of it, and the one before it is
//! trusted until its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority is valid.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(365 * DAY.as_secs());

/// How long a serving certificate is valid.
const SERVING_VALIDITY: Duration = Duration::from_secs(90 * DAY.as_secs());

/// How long before its making a certificate is valid already, for clocks that are late.
const BACKDATE: Duration = DAY;

/// How long a new authority is told before it certifies anything.
const TELLING: Duration = Duration::from_secs(60 * 60);

/// The most names in a serving certificate.
const MAX_NAMES: usize = 16;

/// What the Secret holds, each in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Material {
    /// `ca.crt`: every authority that is trusted, the newest first.
    pub(super) authorities: String,
    /// `ca.key`: the newest one's key.
    pub(super) authority_key: String,
    /// `tls.crt`.
    pub(super) certificate: String,
    /// `tls.key`.
    pub(super) key: String,
}

/// What is known of a certificate.
struct Known {
    der: CertificateDer<'static>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    names: Vec<String>,
    /// Seconds since 1970.
    made: i64,
    not_after: i64,
}

/// Why there is no certificate, for people.
pub(super) type Failed = String;

impl Material {
    /// What is to be kept now, with `names` in the serving certificate: none if it is this.
    pub(super) fn renewed(
        current: Option<&Self>,
        names: &[String],
        now: SystemTime,
    ) -> Result<Option<Self>, Failed> {
        let time = seconds(now);
        let known = current.and_then(|current| current.known(time).map(|known| (current, known)));
        let Some((current, (mut authorities, serving))) = known else {
            let (authority, authority_key) = make_authority(now)?;
            return Self::certified(authority.clone(), authority, authority_key, names, now)
                .map(Some);
        };
        let mut next = current.clone();
        if is_due(&authorities[0], time) {
            let (pem, key) = make_authority(now)?;
            authorities.insert(0, read(&pem)?.remove(0));
            next.authority_key = key;
            next.authorities = pem;
            for kept in &authorities[1..] {
                next.authorities.push_str(&to_pem(&kept.der));
            }
        } else if authorities.len() != read(&current.authorities)?.len() {
            next.authorities = authorities.iter().map(|kept| to_pem(&kept.der)).collect();
        }
        let is_told = authorities.len() == 1
            || time >= authorities[0].made.saturating_add(whole_seconds(TELLING));
        let (renew, at_once) = match &serving {
            None => (true, true),
            Some(serving) => {
                let has_names = names.iter().all(|name| serving.names.contains(name));
                let is_valid = is_valid(serving, time);
                (is_due(serving, time) || !has_names || !is_valid, !is_valid)
            }
        };
        if renew && (is_told || at_once) {
            let mut all = names.to_vec();
            // Replicas that are known by other names share this certificate.
            let others = serving.into_iter().flat_map(|serving| serving.names);
            all.extend(others.filter(|name| !names.contains(name)));
            all.truncate(MAX_NAMES.max(names.len()));
            let newest = to_pem(&authorities[0].der);
            let Self {
                authorities,
                authority_key,
                ..
            } = next;
            next = Self::certified(authorities, newest, authority_key, &all, now)?;
        }
        Ok((next != *current).then_some(next))
    }

    fn certified(
        authorities: String,
        authority: String,
        authority_key: String,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, Failed> {
        let issuer = authority_params(&issuer_name(&authority)?, now);
        let make = || {
            let signing = KeyPair::from_pem(&authority_key)?;
            let issuer = Issuer::from_params(&issuer, &signing);
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
            let mut params = CertificateParams::new(names.to_vec())?;
            params.distinguished_name = common_name("Narthex admission webhook");
            params.not_before = (now - BACKDATE).into();
            params.not_after = (now + SERVING_VALIDITY).into();
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            Ok::<_, rcgen::Error>((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let (certificate, key) = make().map_err(|error| format!("no certificate: {error}"))?;
        Ok(Self {
            authorities,
            authority_key,
            certificate,
            key,
        })
    }

    /// The authorities that are good now, and the serving certificate if it is one of theirs and
    /// fits its key; none if the newest authority cannot certify any more.
    fn known(&self, now: i64) -> Option<(Vec<Known>, Option<Known>)> {
        let mut authorities = read(&self.authorities).ok()?;
        let newest = authorities.first()?;
        let key = KeyPair::from_pem(&self.authority_key).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&newest.der).ok()?;
        let is_its_key =
            parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
        if !is_its_key || !is_valid(newest, now) {
            return None;
        }
        authorities.retain(|authority| is_valid(authority, now));
        let serving = read(&self.certificate)
            .ok()
            .and_then(|mut chain| (!chain.is_empty()).then(|| chain.remove(0)))
            .filter(|serving| {
                let subjects = authorities.iter().map(|authority| &authority.subject);
                self.identity().is_ok() && subjects.into_iter().any(|it| *it == serving.issuer)
            });
        Some((authorities, serving))
    }

    /// What the server shows.
    pub(super) fn identity(&self) -> Result<Arc<CertifiedKey>, Failed> {
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("the certificate cannot be read: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())
            .map_err(|error| format!("the key cannot be read: {error}"))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider)
            .map(Arc::new)
            .map_err(|error| format!("certificate and key do not fit: {error}"))
    }
}

fn make_authority(now: SystemTime) -> Result<(String, String), Failed> {
    let make = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        // A name of its own, so that issuers are told apart by it.
        let id = fastrand::u64(..);
        let params = authority_params(&format!("Narthex admission authority {id:016x}"), now);
        Ok::<_, rcgen::Error>((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    make().map_err(|error| format!("no authority: {error}"))
}

/// What an authority made now says of itself; what it certifies takes its name from here.
fn authority_params(name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name);
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + AUTHORITY_VALIDITY).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

/// The common name of the first certificate.
fn issuer_name(pem: &str) -> Result<String, Failed> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| error.to_string())?;
    let (_, parsed) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| error.to_string())?;
    let name = parsed
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok());
    name.map(str::to_owned)
        .ok_or_else(|| "the authority has no name".to_owned())
}

fn common_name(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// Whether it is not over, and not of the future either: made while a clock was ahead.
fn is_valid(known: &Known, now: i64) -> bool {
    let from = known.made.saturating_sub(whole_seconds(BACKDATE));
    (from..known.not_after).contains(&now)
}

/// Whether two thirds of a certificate's life have passed.
fn is_due(known: &Known, now: i64) -> bool {
    let life = known.not_after.saturating_sub(known.made);
    now >= known.made.saturating_add(life / 3 * 2)
}

fn read(pem: &str) -> Result<Vec<Known>, Failed> {
    let wrong = |error: &dyn std::fmt::Display| format!("a certificate cannot be read: {error}");
    let all = CertificateDer::pem_slice_iter(pem.as_bytes());
    all.map(|der| {
        let der = der.map_err(|error| wrong(&error))?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|error| wrong(&error))?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names);
        let validity = parsed.validity();
        Ok(Known {
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            names: names.filter_map(name).collect(),
            made: validity.not_before.timestamp() + whole_seconds(BACKDATE),
            not_after: validity.not_after.timestamp(),
            der,
        })
    })
    .collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn to_pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;

    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, whole_seconds)
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    const START: Duration = Duration::from_secs(1_800_000_000);

    fn names() -> Vec<String> {
        vec![
            "narthex-admission.narthex.svc".to_owned(),
            "127.0.0.1".to_owned(),
        ]
    }

    /// Whether a client that trusts `bundle` takes the certificate.
    fn trusts(bundle: &str, material: &Material, name: &str, now: SystemTime) -> bool {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(root.expect("PEM")).expect("an authority");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let shown = material.identity().expect("an identity");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let since = now.duration_since(UNIX_EPOCH).expect("after 1970");
        let time = UnixTime::since_unix_epoch(since);
        use rustls::client::danger::ServerCertVerifier as _;
        let found = verifier.verify_server_cert(&shown.cert[0], &[], &name, &[], time);
        found.is_ok()
    }

    #[test]
    fn every_client_that_heard_an_hour_ago_trusts_what_is_shown_for_years() {
        let mut now = UNIX_EPOCH + START;
        let mut material = Material::renewed(None, &names(), now)
            .expect("made")
            .expect("new");
        // What a client knows that looks once in half an hour.
        let mut heard = material.authorities.clone();
        let (mut authorities, mut certificates) = (1, 1);
        let step = Duration::from_secs(30 * 60);
        let mut quiet = 0;
        while now < UNIX_EPOCH + START + 3 * AUTHORITY_VALIDITY {
            // Days without anything between the half hours around a renewal.
            now += if quiet > 4 { DAY } else { step };
            quiet += 1;
            if let Some(next) = Material::renewed(Some(&material), &names(), now).expect("renewed")
            {
                quiet = 0;
                authorities += usize::from(next.authority_key != material.authority_key);
                certificates += usize::from(next.certificate != material.certificate);
                material = next;
            }
            for name in names() {
                assert!(
                    trusts(&heard, &material, &name, now),
                    "{name} after {authorities}"
                );
            }
            heard = material.authorities.clone();
            assert!(read(&heard).expect("readable").len() <= 2);
        }
        assert!((4..=6).contains(&authorities), "{authorities}");
        assert!((17..=20).contains(&certificates), "{certificates}");
    }

    #[test]
    fn what_is_broken_is_made_anew_and_what_is_good_stays() {
        let now = UNIX_EPOCH + START;
        let good = Material::renewed(None, &names(), now)
            .expect("made")
            .expect("new");
        assert_eq!(Material::renewed(Some(&good), &names(), now), Ok(None));
        let other = Material::renewed(None, &names(), now)
            .expect("made")
            .expect("new");
        type Breaks = fn(&mut Material, Material);
        let broken: [(&str, Breaks); 5] = [
            ("a key of another", |it, other| it.key = other.key),
            ("another's certificate", |it, other| {
                (it.certificate, it.key) = (other.certificate, other.key);
            }),
            ("another's authority", |it, other| {
                it.authorities = other.authorities
            }),
            ("nothing", |it, _| it.certificate.clear()),
            ("nonsense", |it, _| it.authorities = "nonsense".to_owned()),
        ];
        for (what, breaks) in broken {
            let mut material = good.clone();
            breaks(&mut material, other.clone());
            let mended = Material::renewed(Some(&material), &names(), now).expect("made");
            let mended = mended.expect(what);
            assert!(
                trusts(&mended.authorities, &mended, "127.0.0.1", now),
                "{what}"
            );
        }
    }

    #[test]
    fn what_was_made_while_the_clock_was_ahead_is_made_anew() {
        let right = UNIX_EPOCH + START;
        let ahead = right + 30 * DAY;
        // All of it, and the certificate alone.
        let first = Material::renewed(None, &names(), ahead);
        let of_before = Material::renewed(None, &names(), right)
            .expect("made")
            .expect("new");
        let other = [names(), vec!["other.example".to_owned()]].concat();
        let second = Material::renewed(Some(&of_before), &other, ahead);
        for wrong in [first, second] {
            let wrong = wrong.expect("made").expect("new");
            assert!(!trusts(&wrong.authorities, &wrong, "127.0.0.1", right));
            let mended = Material::renewed(Some(&wrong), &names(), right).expect("made");
            let mended = mended.expect("another");
            assert!(trusts(&mended.authorities, &mended, "127.0.0.1", right));
            assert_eq!(Material::renewed(Some(&mended), &names(), right), Ok(None));
        }
    }

    #[test]
    fn another_name_is_added_to_those_of_other_replicas() {
        let now = UNIX_EPOCH + START;
        let first = Material::renewed(None, &names(), now)
            .expect("made")
            .expect("new");
        let other = ["other.example".to_owned()];
        let second = Material::renewed(Some(&first), &other, now)
            .expect("made")
            .expect("new");
        assert_eq!(first.authorities, second.authorities);
        for name in names().iter().chain(&other) {
            assert!(trusts(&first.authorities, &second, name, now), "{name}");
        }
        assert_eq!(Material::renewed(Some(&second), &names(), now), Ok(None));
    }
}
