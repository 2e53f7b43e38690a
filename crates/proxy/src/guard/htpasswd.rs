//! Hashes of passwords, as htpasswd files have them and nginx's `auth_basic_user_file` reads them.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use md5::{Digest as _, Md5};
use sha_crypt::{PasswordVerifier as _, ShaCrypt};

/// No hash may take longer than a few seconds: bcrypt's doublings, and SHA-crypt's rounds.
const MOST_COST: u32 = 17;
const MOST_ROUNDS: u32 = 10_000_000;

/// How a password is hashed, by the beginning of the hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Sha,
    SaltedSha,
    /// `$apr1$`, or crypt's own `$1$`, which differ in this only.
    Md5(&'static [u8]),
    Bcrypt,
    ShaCrypt,
}

fn kind(hash: &[u8]) -> Option<Kind> {
    const KINDS: [(&[u8], Kind); 10] = [
        (b"{PLAIN}", Kind::Plain),
        (b"{SHA}", Kind::Sha),
        (b"{SSHA}", Kind::SaltedSha),
        (b"$apr1$", Kind::Md5(b"$apr1$")),
        (b"$1$", Kind::Md5(b"$1$")),
        (b"$2a$", Kind::Bcrypt),
        (b"$2b$", Kind::Bcrypt),
        (b"$2y$", Kind::Bcrypt),
        (b"$5$", Kind::ShaCrypt),
        (b"$6$", Kind::ShaCrypt),
    ];
    let found = KINDS.iter().find(|(prefix, _)| hash.starts_with(prefix));
    found.map(|(_, kind)| *kind)
}

/// Whether a hash takes so much work that it is not for a worker's thread.
pub(crate) fn is_slow(hash: &[u8]) -> bool {
    matches!(
        kind(hash),
        Some(Kind::Md5(_) | Kind::Bcrypt | Kind::ShaCrypt)
    )
}

/// Whether the hash is this password's. A hash that cannot be read is nobody's.
pub(crate) fn verify(hash: &[u8], password: &[u8]) -> bool {
    match kind(hash) {
        None => false,
        Some(Kind::Plain) => equal(&hash[b"{PLAIN}".len()..], password),
        Some(Kind::Sha) => sha(&hash[b"{SHA}".len()..], password, false),
        Some(Kind::SaltedSha) => sha(&hash[b"{SSHA}".len()..], password, true),
        Some(Kind::Md5(magic)) => {
            let salt = hash[magic.len()..].split(|&byte| byte == b'$').next();
            let salt = salt.unwrap_or_default();
            let salt = &salt[..salt.len().min(8)];
            equal(&md5_crypt(magic, salt, password), hash)
        }
        Some(Kind::Bcrypt) => {
            let cost = hash.get(4..6).and_then(number);
            cost.is_some_and(|cost| cost <= MOST_COST)
                && std::str::from_utf8(hash)
                    .is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false))
        }
        Some(Kind::ShaCrypt) => {
            let rounds = hash[3..].strip_prefix(b"rounds=");
            let rounds = rounds.map(|rest| rest.split(|&byte| byte == b'$').next());
            let is_bounded = rounds.is_none_or(|rounds| {
                let rounds = rounds.and_then(number);
                rounds.is_some_and(|rounds| rounds <= MOST_ROUNDS)
            });
            is_bounded
                && std::str::from_utf8(hash)
                    .is_ok_and(|hash| ShaCrypt::default().verify_password(password, hash).is_ok())
        }
    }
}

/// Whether two texts are the same, in a time that tells no more than their lengths.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// SHA-1 in base64, perhaps with a salt behind it.
fn sha(encoded: &[u8], password: &[u8], salted: bool) -> bool {
    const LENGTH: usize = 20;
    let Ok(decoded) = BASE64_STANDARD.decode(encoded.trim_ascii()) else {
        return false;
    };
    let Some((hash, salt)) = decoded.split_at_checked(LENGTH) else {
        return false;
    };
    let found = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[password, salt].concat());
    (salted || salt.is_empty()) && equal(found.as_ref(), hash)
}

/// Poul-Henning Kamp's MD5-crypt: the magic, the salt, and the hash in crypt's own digits.
fn md5_crypt(magic: &[u8], salt: &[u8], password: &[u8]) -> Vec<u8> {
    let inner = Md5::digest([password, salt, password].concat());
    let mut first = [password, magic, salt].concat();
    first.extend(inner.iter().cycle().take(password.len()));
    let mut length = password.len();
    while length > 0 {
        first.push(match length & 1 {
            1 => 0,
            _ => password[0],
        });
        length >>= 1;
    }
    let mut hash = Md5::digest(first);
    for round in 0..1000 {
        let mut next = Md5::new();
        let odd = round % 2 == 1;
        next.update(if odd { password } else { &hash[..] });
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(if odd { &hash[..] } else { password });
        hash = next.finalize();
    }
    let mut out = [magic, salt, b"$"].concat();
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let bits = u32::from(hash[a]) << 16 | u32::from(hash[b]) << 8 | u32::from(hash[c]);
        digits(bits, 4, &mut out);
    }
    digits(u32::from(hash[11]), 2, &mut out);
    out
}

/// Crypt's base 64, the least significant digit first.
fn digits(mut bits: u32, count: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..count {
        out.push(DIGITS[(bits & 63) as usize]);
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_hash_is_its_passwords_and_nobody_elses() {
        // Made with openssl passwd, and with crypt(3).
        for hash in [
            "{PLAIN}bar",
            "{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00=",
            "{SSHA}aTajYe2SJsRWrbKsIV9ZttXLp9RzYWx0",
            "$apr1$abcdefgh$bGLO42WqKpmLoPH9uGWTg1",
            "$1$abcd$zNtFohdpqEzGVnLU66vEp.",
            "$2y$04$abcdefghijklmnopqrstuuEnktNu4dNa/sMz6nY.lAbxawdTTajT2",
            "$2b$04$abcdefghijklmnopqrstuuEnktNu4dNa/sMz6nY.lAbxawdTTajT2",
            "$5$saltsalt$/CnP1OkUPI/YYxBjMGRYh.bV5VNRz1I7OKD4GRMrHm4",
            "$6$rounds=1000$saltsalt$/yEDPvr/G5kO/ONrJgIBrorKAPcRlD5q9E7M9XpyjfzX.gbPc/O2ZSjv8lajAaQ\
             Y98s6cwJ8AvIhTZh26inJs/",
            "$6$saltsalt$13ZWs86TCGWlKvPnoiZ5uGRk0I6FWQWsoBjy.0NUb9IUt/pnMWcsVBWPeXm2zbrm1/3NvnFsJFn\
             2dIliX8SAJ/",
        ] {
            assert!(verify(hash.as_bytes(), b"bar"), "{hash}");
            for wrong in ["", "Bar", "bar ", "barbar"] {
                assert!(!verify(hash.as_bytes(), wrong.as_bytes()), "{hash}");
            }
        }
    }

    #[test]
    fn what_is_no_hash_is_nobodys_and_what_takes_too_long_is_not_tried() {
        for wrong in [
            "",
            "bar",
            "$apr1$",
            "$2y$",
            "$2y$31$abcdefghijklmnopqrstuuCOt1MTJHFEwNvNqPv.5qxzHsLx0gGvO",
            "$6$rounds=999999999$saltstring$x",
            "$6$rounds=x$saltstring$x",
            "{SHA}",
            "{SHA}???",
            "rqXexS6ZhobKA",
        ] {
            for password in ["", "bar"] {
                assert!(!verify(wrong.as_bytes(), password.as_bytes()), "{wrong}");
            }
        }
    }
}
