//! Digest authentication (RFC 7616) with MD5 and quality `auth`: challenges, and answers to them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use aws_lc_rs::rand::SystemRandom;
use md5::{Digest as _, Md5};
use model::filter::access::Password;

use super::generations::Generations;
use super::htpasswd::equal;

/// For so long a nonce is good.
const GOOD: Duration = Duration::from_secs(60);

/// How many nonces are known that were used, twice.
const MOST: usize = 8192;

/// So many answers there are to one challenge, each once.
const ANSWERS: u32 = 64;

/// The nonces of this process: those that it made it knows again by their seal, and of those that
/// were used it remembers which of their answers have come.
#[derive(Debug)]
pub(crate) struct Nonces {
    /// None without a source of randomness: then nobody comes in.
    key: Option<Key>,
    used: Mutex<Generations<[u8; 16], u64>>,
}

impl Default for Nonces {
    fn default() -> Self {
        Self {
            key: Key::generate(HMAC_SHA256, &SystemRandom::new()).ok(),
            used: Mutex::new(Generations::new(MOST)),
        }
    }
}

/// What an answer to a challenge is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worth {
    Right,
    /// It would be right, but the challenge is too old, or somebody else's.
    Stale,
    Wrong,
}

impl Nonces {
    /// Whether the answer in `authorization` to one of our challenges is that of one of the users.
    pub(crate) fn verify(
        &self,
        authorization: &[u8],
        method: &[u8],
        target: &[u8],
        password: &Password,
    ) -> Worth {
        let Some(answer) = Answer::parse(authorization) else {
            return Worth::Wrong;
        };
        let ha1 = password.users.secret(answer.username);
        let is_meant = answer.realm == password.realm.as_bytes() && answer.uri == target;
        let Some(ha1) = ha1.filter(|_| is_meant) else {
            return Worth::Wrong;
        };
        let ha1 = ha1.to_ascii_lowercase();
        let expected = answer.expected(&ha1, method);
        if !equal(&expected, &answer.response.to_ascii_lowercase()) {
            return Worth::Wrong;
        }
        match self.is_first(answer.nonce, answer.count) {
            true => Worth::Right,
            false => Worth::Stale,
        }
    }

    /// The value of WWW-Authenticate.
    pub(crate) fn challenge(&self, realm: &str, stale: bool) -> String {
        let nonce = self.make(now());
        let stale = if stale { ", stale=true" } else { "" };
        format!("Digest algorithm=MD5, qop=\"auth\", realm=\"{realm}\", nonce=\"{nonce}\"{stale}")
    }

    fn make(&self, now: u64) -> String {
        let chance = fastrand::u64(..);
        let seal = self.seal(now, chance).unwrap_or_default();
        format!("{now:016x}{chance:016x}{:032x}", u128::from_be_bytes(seal))
    }

    fn seal(&self, time: u64, chance: u64) -> Option<[u8; 16]> {
        let text = [time.to_be_bytes(), chance.to_be_bytes()].concat();
        let tag = hmac::sign(self.key.as_ref()?, &text);
        tag.as_ref().first_chunk().copied()
    }

    /// Whether the nonce is ours, is not too old, and this answer to it has not come before.
    fn is_first(&self, nonce: &[u8], count: Option<u32>) -> bool {
        let Some(nonce) = std::str::from_utf8(nonce)
            .ok()
            .filter(|nonce| nonce.len() == 64 && nonce.bytes().all(|it| it.is_ascii_hexdigit()))
        else {
            return false;
        };
        let part = |range| u64::from_str_radix(&nonce[range], 16).unwrap_or_default();
        let (time, chance) = (part(0..16), part(16..32));
        let told = u128::from_str_radix(&nonce[32..], 16).unwrap_or_default();
        let Some(seal) = self.seal(time, chance) else {
            return false;
        };
        let age = now().saturating_sub(time);
        if !equal(&seal, &told.to_be_bytes()) || u128::from(age) > GOOD.as_millis() {
            return false;
        }
        // An answer of before there was a count (RFC 2069) is the only one.
        let Some(bit) = count
            .unwrap_or(ANSWERS)
            .checked_sub(1)
            .filter(|bit| *bit < ANSWERS)
        else {
            return false;
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get(&seal) {
            Some(came) if *came & (1 << bit) != 0 => false,
            Some(came) => {
                *came |= 1 << bit;
                true
            }
            None => {
                used.insert(seal, 1 << bit);
                true
            }
        }
    }
}

/// What a client answers.
#[derive(Debug, Default)]
struct Answer<'a> {
    username: &'a [u8],
    realm: &'a [u8],
    nonce: &'a [u8],
    uri: &'a [u8],
    response: &'a [u8],
    qop: &'a [u8],
    nc: &'a [u8],
    cnonce: &'a [u8],
    /// `nc` as a number.
    count: Option<u32>,
}

impl<'a> Answer<'a> {
    fn parse(authorization: &'a [u8]) -> Option<Self> {
        let (scheme, rest) = authorization.split_at_checked(7)?;
        if !scheme.eq_ignore_ascii_case(b"digest ") {
            return None;
        }
        let mut answer = Self::default();
        let mut algorithm: &[u8] = b"MD5";
        for (name, value) in Parameters(rest) {
            let field = match name.to_ascii_lowercase().as_slice() {
                b"username" => &mut answer.username,
                b"realm" => &mut answer.realm,
                b"nonce" => &mut answer.nonce,
                b"uri" => &mut answer.uri,
                b"response" => &mut answer.response,
                b"qop" => &mut answer.qop,
                b"nc" => &mut answer.nc,
                b"cnonce" => &mut answer.cnonce,
                b"algorithm" => &mut algorithm,
                _ => continue,
            };
            *field = value;
        }
        match answer.qop {
            b"" => {}
            b"auth" if answer.nc.len() == 8 => {
                let count = std::str::from_utf8(answer.nc).ok()?;
                answer.count = Some(u32::from_str_radix(count, 16).ok()?);
            }
            _ => return None,
        }
        algorithm.eq_ignore_ascii_case(b"MD5").then_some(answer)
    }

    /// The response that it has to have.
    fn expected(&self, ha1: &[u8], method: &[u8]) -> Vec<u8> {
        let ha2 = hex(&[method, b":", self.uri].concat());
        let text = match self.qop {
            b"" => [ha1, b":", self.nonce, b":", &ha2].concat(),
            qop => [ha1, self.nonce, self.nc, self.cnonce, qop, &ha2].join(&b':'),
        };
        hex(&text)
    }
}

/// Names and values, which may stand in quotes; what is escaped in them stays escaped, for nobody's
/// name here has to be.
struct Parameters<'a>(&'a [u8]);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_ascii_start();
        let equals = rest.iter().position(|&byte| byte == b'=')?;
        let (name, rest) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii());
        let (value, rest) = match rest.strip_prefix(b"\"") {
            Some(quoted) => {
                let end = quoted.iter().position(|&byte| byte == b'"')?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => {
                let end = rest.iter().position(|&byte| byte == b',');
                let end = end.unwrap_or(rest.len());
                (rest[..end].trim_ascii(), &rest[end..])
            }
        };
        let rest = rest.trim_ascii_start();
        self.0 = rest.strip_prefix(b",").unwrap_or(rest);
        Some((name, value))
    }
}

/// MD5 in hexadecimal.
fn hex(text: &[u8]) -> Vec<u8> {
    let hash = Md5::digest(text);
    let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    hash.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use model::filter::access::{PasswordScheme, Users};

    use super::*;

    fn password() -> Password {
        let mut users = Users::default();
        users.add(b"Mufasa", &hex(b"Mufasa:here:Circle of Life"));
        Password {
            realm: "here".into(),
            scheme: PasswordScheme::Digest,
            users,
        }
    }

    fn answer(nonce: &str, nc: &str, secret: &str) -> String {
        let ha1 = hex(format!("Mufasa:here:{secret}").as_bytes());
        let answer = Answer {
            nonce: nonce.as_bytes(),
            uri: b"/a?b=c,d",
            qop: b"auth",
            nc: nc.as_bytes(),
            cnonce: b"0a4f",
            ..Answer::default()
        };
        let response = String::from_utf8(answer.expected(&ha1, b"GET")).expect("hexadecimal");
        format!(
            "Digest username=\"Mufasa\", realm=\"here\", nonce=\"{nonce}\", uri=\"/a?b=c,d\", \
             qop=auth, nc={nc}, cnonce=\"0a4f\", response=\"{response}\", opaque=\"\""
        )
    }

    #[test]
    fn the_rfcs_example_is_computed_as_it_says() {
        // RFC 7616, section 3.9.1, the answer with MD5.
        let answer = Answer {
            nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            uri: b"/dir/index.html",
            qop: b"auth",
            nc: b"00000001",
            cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            ..Answer::default()
        };
        let ha1 = hex(b"Mufasa:http-auth@example.org:Circle of Life");
        assert_eq!(
            answer.expected(&ha1, b"GET"),
            b"8ca523f5e9506fed4657c9700eebdbec"
        );
    }

    #[test]
    fn each_answer_to_a_challenge_counts_once_and_none_to_anothers() {
        let (nonces, password) = (Nonces::default(), password());
        let verify = |answer: &str, target: &str| {
            nonces.verify(answer.as_bytes(), b"GET", target.as_bytes(), &password)
        };
        let nonce = nonces.make(now());
        let first = answer(&nonce, "00000001", "Circle of Life");
        assert_eq!(verify(&first, "/a?b=c,d"), Worth::Right);
        assert_eq!(verify(&first, "/a?b=c,d"), Worth::Stale, "a replay");
        let second = answer(&nonce, "00000002", "Circle of Life");
        assert_eq!(verify(&second, "/other"), Worth::Wrong);
        assert_eq!(verify(&second, "/a?b=c,d"), Worth::Right);
        let wrong = answer(&nonce, "00000003", "Hakuna Matata");
        assert_eq!(verify(&wrong, "/a?b=c,d"), Worth::Wrong);
        for stale in [
            nonces.make(now() - 61_000),
            Nonces::default().make(now()),
            "x".to_owned(),
        ] {
            let answer = answer(&stale, "00000001", "Circle of Life");
            assert_eq!(verify(&answer, "/a?b=c,d"), Worth::Stale, "{stale}");
        }
        for wrong in ["", "Digest ", "Basic YTpi", "Digest username=\"Mufasa"] {
            assert_eq!(verify(wrong, "/a?b=c,d"), Worth::Wrong, "{wrong}");
        }
    }
}
