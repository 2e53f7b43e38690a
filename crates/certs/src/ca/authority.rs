//! The authority of a cluster: a root, an intermediate that certifies, and how they are followed.
//!
//! A root is told before it is used and trusted for as long as something that it stands for is
//! valid: a new one is in the bundle for a while before it signs an intermediate, and an old one
//! stays in it until the last intermediate that it signed has ended, which no leaf outlives.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use super::{Failed, Issued, Issuer, Read, Request, authority_params, backdated, validity};
use crate::random::serial;
use crate::renew::Validity;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the parts of an authority are valid. Each is followed by another one after two thirds
/// of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The root's.
    pub root: Duration,
    /// The intermediate's.
    pub intermediate: Duration,
    /// How long a new root is in the bundle before it is used: as long as it takes until
    /// everybody has read the bundle again.
    pub telling: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            root: 3650 * DAY,
            intermediate: 365 * DAY,
            telling: DAY,
        }
    }
}

/// A root, which may be one of several that are trusted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Root {
    certificate: String,
    key: String,
    /// When it was made: since when it is told.
    made: SystemTime,
    /// The end of the last intermediate that it signed, none if it signed none yet.
    needed_until: Option<SystemTime>,
}

/// Root and intermediate with their keys: what is kept, as it is, in a vault.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The newest one first; never none.
    roots: Vec<Root>,
    intermediate: Issued,
}

// The keys are nobody's to see in a log.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new(terms: &Terms, now: SystemTime) -> Result<Self, Failed> {
        let mut root = Root::new(terms, now)?;
        let intermediate = root.certify(terms, now)?;
        Ok(Self {
            roots: vec![root],
            intermediate,
        })
    }

    /// What is to be kept from now on, or none if this is it: roots that nobody needs any more
    /// are gone, and what is due has a successor. If nothing of it is valid any more, it is new.
    ///
    /// # Errors
    /// What was kept cannot be read, or the system has no random bytes.
    pub fn renewed(&self, terms: &Terms, now: SystemTime) -> Result<Option<Self>, Failed> {
        let mut next = self.clone();
        let newest = next.newest()?.validity()?;
        if now >= newest.not_after {
            return Self::new(terms, now).map(Some);
        }
        let current = validity(&next.intermediate.chain)?;
        next.drop_unneeded(now);
        if is_due(newest, now) {
            next.roots.insert(0, Root::new(terms, now)?);
        }
        let signer = next.signer(terms, now, current);
        let is_of_signer = Read::first(&next.intermediate.chain)?.issuer
            == Read::first(&next.roots[signer].certificate)?.subject;
        if is_due(current, now) || !is_of_signer {
            next.intermediate = next.roots[signer].certify(terms, now)?;
        }
        Ok((next != *self).then_some(next))
    }

    /// A new key and its certificate, signed by the intermediate. See [`Issuer::issue`].
    ///
    /// # Errors
    /// As [`Issuer::issue`], and if the authority cannot be read.
    pub fn issue(&self, request: &Request<'_>, now: SystemTime) -> Result<Issued, Failed> {
        let issued = self.issuer()?.issue(request, now)?;
        Ok(Issued {
            ca: Some(self.bundle()),
            ..issued
        })
    }

    /// The intermediate, to certify with more than once.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn issuer(&self) -> Result<Issuer, Failed> {
        Issuer::from_pem(&self.intermediate.chain, &self.intermediate.key)
    }

    /// When [`Self::renewed`] has something to do next.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn next(&self, terms: &Terms) -> Result<SystemTime, Failed> {
        let newest = self.newest()?;
        let mut next = due(newest.validity()?).min(due(validity(&self.intermediate.chain)?));
        if newest.needed_until.is_none() {
            next = next.min(newest.made + terms.telling);
        }
        let old = self.roots.iter().skip(1).filter_map(|it| it.needed_until);
        Ok(old.fold(next, SystemTime::min))
    }

    /// Every root that is to be trusted, as PEM, the newest one first.
    pub fn bundle(&self) -> String {
        let all = self.roots.iter().map(|root| root.certificate.as_str());
        all.collect()
    }

    fn newest(&self) -> Result<&Root, Failed> {
        let none = || Failed("the authority has no root".to_owned());
        self.roots.first().ok_or_else(none)
    }

    /// Old roots whose last intermediate is over go.
    fn drop_unneeded(&mut self, now: SystemTime) {
        let mut is_newest = true;
        self.roots.retain(|root| {
            let is_needed = root.needed_until.is_some_and(|until| now < until);
            std::mem::take(&mut is_newest) || is_needed
        });
    }

    /// Which root signs: the newest one if everybody had time to hear of it, or else the one
    /// before it, unless that or its intermediate has ended.
    fn signer(&self, terms: &Terms, now: SystemTime, current: Validity) -> usize {
        let is_told = now >= self.roots[0].made + terms.telling;
        let was_used = self.roots[0].needed_until.is_some();
        let is_over = now >= current.not_after;
        let before = self.roots.get(1).and_then(|root| root.validity().ok());
        match before {
            Some(before) if !is_told && !was_used && !is_over && now < before.not_after => 1,
            _ => 0,
        }
    }
}

impl Root {
    fn new(terms: &Terms, now: SystemTime) -> Result<Self, Failed> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let validity = Validity {
            not_before: now - backdated(terms.root),
            not_after: now + terms.root,
        };
        let params = authority_params(&unique("Narthex root")?, 1, validity)?;
        Ok(Self {
            certificate: params.self_signed(&key)?.pem(),
            key: key.serialize_pem(),
            made: now,
            needed_until: None,
        })
    }

    fn validity(&self) -> Result<Validity, Failed> {
        validity(&self.certificate)
    }

    /// A new intermediate, which does not outlive this root.
    fn certify(&mut self, terms: &Terms, now: SystemTime) -> Result<Issued, Failed> {
        let own = self.validity()?;
        let validity = Validity {
            not_before: (now - backdated(terms.intermediate)).max(own.not_before),
            not_after: (now + terms.intermediate).min(own.not_after),
        };
        let mut params = authority_params(&unique("Narthex intermediate")?, 0, validity)?;
        params.use_authority_key_identifier_extension = true;
        let signing = KeyPair::from_pem(&self.key)?;
        let issuer = rcgen::Issuer::from_ca_cert_pem(&self.certificate, signing)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let chain = params.signed_by(&key, &issuer)?.pem();
        // As the certificate says it, in whole seconds.
        let until = super::validity(&chain)?.not_after;
        let until = self.needed_until.map_or(until, |before| before.max(until));
        self.needed_until = Some(until);
        Ok(Issued {
            chain,
            key: key.serialize_pem(),
            ca: None,
        })
    }
}

/// A name that no other authority has: clients look for issuers by name.
fn unique(name: &str) -> Result<String, Failed> {
    let bytes = serial().map_err(|_| Failed("the system has no random bytes".to_owned()))?;
    let id = u64::from_be_bytes(bytes[8..].try_into().unwrap_or_default());
    Ok(format!("{name} {id:016x}"))
}

/// Whether two thirds of it have passed, or it is of the future: made while a clock was ahead.
fn is_due(validity: Validity, now: SystemTime) -> bool {
    now < validity.not_before || now >= due(validity)
}

fn due(validity: Validity) -> SystemTime {
    validity.not_before + validity.lifetime() / 3 * 2
}
