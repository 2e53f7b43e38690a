//! Signatures of DNS messages (RFC 8945): of what we send, and of the answer.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use hickory_resolver::proto::rr::Name;

use super::Tsig;
use super::ask::name;

/// TSIG's type and the class ANY (RFC 8945, section 4.2).
const TYPE: u16 = 250;
const ANY: u16 = 255;

/// How far clocks may be apart, in seconds (RFC 8945, section 10, recommends it).
const FUDGE: u16 = 300;

/// A key, ready to sign.
pub(super) struct Signer {
    key: hmac::Key,
    name: Vec<u8>,
    algorithm: Vec<u8>,
}

impl Signer {
    pub(super) fn new(tsig: &Tsig) -> Result<Self, String> {
        // As in BIND's files, cert-manager's Issuers, and the names of RFC 8945, section 6.
        let kind = tsig.algorithm.to_ascii_lowercase().replace('-', "");
        let (algorithm, written) = match kind.trim_end_matches('.') {
            "" | "hmacsha256" => (hmac::HMAC_SHA256, "hmac-sha256"),
            "hmacsha1" => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "hmac-sha1"),
            "hmacsha224" => (hmac::HMAC_SHA224, "hmac-sha224"),
            "hmacsha384" => (hmac::HMAC_SHA384, "hmac-sha384"),
            "hmacsha512" => (hmac::HMAC_SHA512, "hmac-sha512"),
            _ => {
                return Err(format!(
                    "the TSIG algorithm {:?} is none of hmac-sha1, -sha224, -sha256, -sha384 and \
                     -sha512",
                    tsig.algorithm
                ));
            }
        };
        Ok(Self {
            key: hmac::Key::new(algorithm, &tsig.key),
            name: canonical(&name(&tsig.name)?),
            algorithm: canonical(&name(written)?),
        })
    }

    /// The message with its signature as the last record, and the signature alone.
    pub(super) fn sign(&self, mut message: Vec<u8>, now: SystemTime) -> (Vec<u8>, Vec<u8>) {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let time = time_and_fudge(seconds);
        let mut signed = message.clone();
        signed.extend(self.variables(&time, &[0; 4]));
        let mac = hmac::sign(&self.key, &signed).as_ref().to_vec();
        let mut data = self.algorithm.clone();
        data.extend(time);
        // A digest is no longer than 64 bytes.
        data.extend(u16::try_from(mac.len()).unwrap_or_default().to_be_bytes());
        data.extend(&mac);
        data.extend_from_slice(&message[..2]);
        data.extend([0; 4]);
        message.extend(&self.name);
        message.extend(TYPE.to_be_bytes());
        message.extend(ANY.to_be_bytes());
        message.extend([0; 4]);
        message.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        message.extend(data);
        let additional = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..12].copy_from_slice(&additional.to_be_bytes());
        (message, mac)
    }

    /// Whether an answer to a message that was signed with `mac` is whole and of who has the key.
    pub(super) fn verify(&self, answer: &[u8], mac: &[u8]) -> Result<(), String> {
        let unsigned = || "the answer is not signed".to_owned();
        let row = last_record(answer).ok_or_else(unsigned)?;
        if row.kind != TYPE {
            return Err(unsigned());
        }
        let data = row.data;
        let at = skip_name(data, 0).ok_or_else(unsigned)?;
        let part = |from: usize, to: usize| data.get(from..to).ok_or_else(unsigned);
        let time: [u8; 8] = part(at, at + 8)?.try_into().map_err(|_| unsigned())?;
        let number = |from: usize| -> Result<usize, String> {
            let two = part(from, from + 2)?;
            Ok(usize::from(u16::from_be_bytes([two[0], two[1]])))
        };
        let length = number(at + 8)?;
        let theirs = part(at + 10, at + 10 + length)?;
        let rest = at + 10 + length;
        let id = part(rest, rest + 2)?;
        let error_and_other = data.get(rest + 2..).ok_or_else(unsigned)?;
        match number(rest + 2)? {
            0 => {}
            16 => return Err("the server does not take the signature (BADSIG)".to_owned()),
            17 => return Err("the server does not know the key (BADKEY)".to_owned()),
            18 => return Err("the server's clock and ours differ (BADTIME)".to_owned()),
            code => return Err(format!("the server does not take the signature ({code})")),
        }
        let mut signed = u16::try_from(mac.len())
            .unwrap_or_default()
            .to_be_bytes()
            .to_vec();
        signed.extend(mac);
        let start = signed.len();
        signed.extend_from_slice(&answer[..row.start]);
        signed[start..start + 2].copy_from_slice(id);
        let additional = u16::from_be_bytes([answer[10], answer[11]]).saturating_sub(1);
        signed[start + 10..start + 12].copy_from_slice(&additional.to_be_bytes());
        signed.extend(self.variables(&time, error_and_other));
        hmac::verify(&self.key, &signed, theirs)
            .map_err(|_| "the answer's signature is not of our key".to_owned())
    }

    /// What is signed beside the message (RFC 8945, section 4.3.3).
    fn variables(&self, time: &[u8; 8], error_and_other: &[u8]) -> Vec<u8> {
        let mut all = self.name.clone();
        all.extend(ANY.to_be_bytes());
        all.extend([0; 4]);
        all.extend(&self.algorithm);
        all.extend(time);
        all.extend(error_and_other);
        all
    }
}

/// 48 bits of seconds, and 16 of how far clocks may be apart.
fn time_and_fudge(seconds: u64) -> [u8; 8] {
    (seconds << 16 | u64::from(FUDGE)).to_be_bytes()
}

/// A name in lower case, uncompressed.
fn canonical(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.iter() {
        // A label is no longer than 63 bytes.
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.to_ascii_lowercase());
    }
    bytes.push(0);
    bytes
}

struct Row<'a> {
    start: usize,
    kind: u16,
    data: &'a [u8],
}

/// The last record of a message; none if it has none, or is none.
fn last_record(message: &[u8]) -> Option<Row<'_>> {
    let number = |at: usize| {
        Some(u16::from_be_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let mut at = 12;
    for _ in 0..number(4)? {
        at = skip_name(message, at)? + 4;
    }
    let records = usize::from(number(6)?) + usize::from(number(8)?) + usize::from(number(10)?);
    let mut last = None;
    for _ in 0..records {
        let start = at;
        let head = skip_name(message, at)?;
        let length = usize::from(number(head + 8)?);
        let data = message.get(head + 10..head + 10 + length)?;
        let kind = number(head)?;
        at = head + 10 + length;
        last = Some(Row { start, kind, data });
    }
    last
}

/// Where a name ends that begins at `at`.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            // A pointer is its last part (RFC 1035, section 4.1.4).
            length if length >= 0xc0 => return Some(at + 2),
            length => at += usize::from(length) + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn signer(algorithm: &str, key: &[u8]) -> Result<Signer, String> {
        Signer::new(&Tsig {
            name: "Update.example.org".to_owned(),
            algorithm: algorithm.to_owned(),
            key: key.to_vec(),
        })
    }

    /// A header, and a question for the root's addresses.
    fn message() -> Vec<u8> {
        let mut message = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend([0, 0, 1, 0, 1]);
        message
    }

    #[test]
    fn an_answer_counts_only_if_it_is_signed_for_our_question_with_our_key() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for algorithm in ["", "HMACSHA512", "hmac-sha1", "hmac-sha384."] {
            let one = signer(algorithm, b"secret").expect("a key");
            let (signed, mac) = one.sign(message(), now);
            assert_eq!(signed[11], 1, "one record more");
            // An answer is signed over the request's signature as well: ours is no answer.
            assert!(one.verify(&signed, &mac).is_err());
            let answer = answer(&one, &mac, now);
            assert_eq!(one.verify(&answer, &mac), Ok(()), "{algorithm}");
            let other = signer(algorithm, b"another").expect("a key");
            assert!(other.verify(&answer, &mac).is_err());
            let mut changed = answer.clone();
            changed[3] ^= 1;
            assert!(one.verify(&changed, &mac).is_err());
            assert!(one.verify(&message(), &mac).is_err());
            for end in 0..answer.len() {
                assert!(one.verify(&answer[..end], &mac).is_err());
            }
        }
        assert!(signer("hmac-md5", b"secret").is_err());
    }

    /// As a server signs: the request's signature comes first in what is signed.
    fn answer(signer: &Signer, mac: &[u8], now: SystemTime) -> Vec<u8> {
        let time = time_and_fudge(now.duration_since(UNIX_EPOCH).expect("later").as_secs());
        let mut text = u16::try_from(mac.len())
            .expect("short")
            .to_be_bytes()
            .to_vec();
        text.extend(mac);
        text.extend(message());
        text.extend(signer.variables(&time, &[0; 4]));
        let theirs = hmac::sign(&signer.key, &text).as_ref().to_vec();
        let (signed, ours) = signer.sign(message(), now);
        let at = signed
            .windows(ours.len())
            .position(|it| it == ours)
            .expect("signed");
        let mut signed = signed;
        signed[at..at + theirs.len()].copy_from_slice(&theirs);
        signed
    }
}
