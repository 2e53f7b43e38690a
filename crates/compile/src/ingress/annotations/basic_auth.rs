//! `auth-type` and its like: names and passwords.

use model::filter::access::PasswordScheme;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, has_only};

/// Without its prefix.
pub(crate) const SECRET: &str = "auth-secret";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Basic and digest authentication",
    annotations: &[
        Annotation::works("auth-realm", Risk::Medium, |settings, value| {
            if !has_only(value, " ") {
                return Err(BadValue::invalid("letters, digits, spaces and -._~/:"));
            }
            of(settings).realm = value.trim().into();
            Ok(())
        })
        .default("empty")
        .differs("`off` is a realm and opens nothing")
        .test("nginx_basic_auth"),
        Annotation::works(SECRET, Risk::Medium, |settings, value| {
            let hint = "the name of a Secret of the same namespace, perhaps with the namespace";
            // Whatever it is, there is to be one.
            of(settings).secret = Some(value.trim().into());
            let is_right = has_only(&value.replace(' ', ""), "");
            is_right.then_some(()).ok_or_else(|| BadValue::denied(hint))
        })
        .differs("hashes of crypt's DES are nobody's")
        .test("nginx_basic_auth"),
        Annotation::works("auth-secret-type", Risk::Low, |settings, value| {
            of(settings).is_map = match value.trim() {
                "auth-file" => false,
                "auth-map" => true,
                _ => return Err(BadValue::invalid("auth-file or auth-map")),
            };
            Ok(())
        })
        .default("auth-file")
        .test("nginx_basic_auth"),
        Annotation::works("auth-type", Risk::Low, |settings, value| {
            of(settings).scheme = Some(match value.trim() {
                "basic" => PasswordScheme::Basic,
                "digest" => PasswordScheme::Digest,
                _ => return Err(BadValue::invalid("basic or digest")),
            });
            Ok(())
        })
        .default("no password")
        .differs("digest: a challenge is good for 60 seconds and 64 answers, in one replica")
        .test("nginx_basic_auth"),
    ],
};

/// Names and passwords, as far as an Ingress says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct BasicAuth {
    /// Without it, all else has no effect.
    pub(crate) scheme: Option<PasswordScheme>,
    /// As it is written: `namespace/name`, or a name.
    pub(crate) secret: Option<Box<str>>,
    /// Whether each key of the Secret is a name, and not one a file of them.
    pub(crate) is_map: bool,
    pub(crate) realm: Box<str>,
}

fn of(settings: &mut Settings) -> &mut BasicAuth {
    let guard = settings.guard.get_or_insert_default();
    guard.basic_auth.get_or_insert_default()
}
