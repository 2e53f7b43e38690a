//! Names and passwords, out of Secrets (`auth-type`, `auth-secret`).

use model::filter::access::{Password, PasswordScheme, Users};
use objects::kinds::Secret;

use super::Broken;
use crate::ingress::annotations::basic_auth::{self, BasicAuth};
use crate::ingress::parse::Parsed;
use crate::ingress::resolve::World;
use crate::report::{Problems, annotation_field};

/// The key of a Secret that is a file of names and passwords.
const FILE: &str = "auth";

/// Names and passwords; none if the annotations want none.
pub(super) fn password(
    parsed: &Parsed,
    settings: &BasicAuth,
    world: &World<'_>,
    problems: &mut Problems,
) -> Result<Option<Password>, Broken> {
    let prefix = &world.options.annotations_prefix;
    let field = annotation_field(&format!("{prefix}/{}", basic_auth::SECRET));
    let hint = match settings.is_map {
        true => "a Secret of the same namespace, with a key for each name",
        false => "a Secret of the same namespace, with names and passwords under auth",
    };
    let Some(scheme) = settings.scheme else {
        let message = "has no effect without auth-type";
        problems.warning(field, message, "auth-type: basic, or none of the others");
        return Ok(None);
    };
    match read(parsed, settings, scheme, world) {
        Ok((users, unread)) => {
            if !unread.is_empty() {
                let message = format!("nobody comes in as {}", unread.join(", "));
                let hint = match scheme {
                    PasswordScheme::Basic => {
                        "hashes of bcrypt, apr1, SHA or SHA-crypt, as htpasswd -B makes them"
                    }
                    PasswordScheme::Digest => "lines as htdigest makes them, for the same realm",
                };
                problems.warning(field, message, hint);
            }
            Ok(Some(Password {
                realm: settings.realm.clone(),
                scheme,
                users,
            }))
        }
        Err(message) => {
            problems.error(field, format!("{message}; its paths answer 503"), hint);
            Err(Broken)
        }
    }
}

/// Who there is, and the names of some that cannot come in for their hashes.
fn read(
    parsed: &Parsed,
    settings: &BasicAuth,
    scheme: PasswordScheme,
    world: &World<'_>,
) -> Result<(Users, Vec<String>), String> {
    let written = settings.secret.as_deref();
    let written = written.ok_or_else(|| "is missing".to_owned())?;
    let name = parsed.named(written).ok_or_else(|| {
        let own = parsed.namespace();
        format!("{written:?} is no Secret of namespace {own}")
    })?;
    let secret = world.store.secret(name.namespace, name.name);
    let secret = secret.ok_or_else(|| format!("there is no Secret {name}"))?;
    let file = file(secret, settings.is_map);
    let file = file.ok_or_else(|| format!("Secret {name} has no {FILE}"))?;
    let (mut users, mut unread) = (Users::default(), Vec::new());
    for line in file.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii_end();
        if line.is_empty() || line[0] == b'#' {
            continue;
        }
        let mut parts = line.split(|&byte| byte == b':');
        let user = parts.next().unwrap_or_default();
        let (secret, is_read) = match scheme {
            PasswordScheme::Basic => {
                let secret = parts.next().unwrap_or_default();
                (secret, is_hash(secret))
            }
            PasswordScheme::Digest => {
                let realm = parts.next().unwrap_or_default();
                let secret = parts.next().unwrap_or_default();
                let is_hash = secret.len() == 32 && secret.iter().all(u8::is_ascii_hexdigit);
                (secret, is_hash && realm == settings.realm.as_bytes())
            }
        };
        if is_read {
            users.add(user, secret);
        } else if unread.len() < 3 {
            unread.push(String::from_utf8_lossy(user).into_owned());
        }
    }
    Ok((users, unread))
}

/// The lines of a Secret.
fn file(secret: &Secret, is_map: bool) -> Option<Vec<u8>> {
    if !is_map {
        return secret.data.get(FILE).cloned();
    }
    let lines = secret.data.iter();
    let lines: Vec<Vec<u8>> = lines
        .map(|(name, value)| [name.as_bytes(), b":", value].concat())
        .collect();
    Some(lines.join(&b'\n'))
}

/// Whether it begins as hashes do that are understood.
fn is_hash(text: &[u8]) -> bool {
    const KNOWN: [&[u8]; 10] = [
        b"{PLAIN}", b"{SHA}", b"{SSHA}", b"$apr1$", b"$1$", b"$2a$", b"$2b$", b"$2y$", b"$5$",
        b"$6$",
    ];
    KNOWN.iter().any(|known| text.starts_with(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_as_a_file_with_a_line_for_each_key() {
        let data = [("foo", "{PLAIN}x\n"), ("bar", "{SHA}y")];
        let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        let secret = Secret {
            data: data.into(),
            ..Secret::default()
        };
        let lines = b"bar:{SHA}y\nfoo:{PLAIN}x\n".to_vec();
        assert_eq!(file(&secret, true), Some(lines));
        assert_eq!(file(&secret, false), None);
    }
}
