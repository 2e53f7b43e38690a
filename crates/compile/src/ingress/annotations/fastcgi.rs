//! `fastcgi-index` and `fastcgi-params-configmap`: what FastCGI servers are told.

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::BadValue;

/// Without its prefix.
pub(crate) const PARAMS: &str = "fastcgi-params-configmap";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "FastCGI",
    annotations: &[
        Annotation::works("fastcgi-index", Risk::Medium, |settings, value| {
            let value = value.trim();
            if value.is_empty() || !value.bytes().all(is_plain) {
                return Err(BadValue::invalid("the name of a file, as index.php"));
            }
            of(settings).index = Some(value.into());
            Ok(())
        })
        .default("none")
        .test("fastcgi"),
        Annotation::works(PARAMS, Risk::Medium, |settings, value| {
            let value = value.trim();
            let allowed = |byte: u8| is_plain(byte) || b"~/:".contains(&byte);
            if value.is_empty() || !value.bytes().all(allowed) {
                return Err(BadValue::invalid("the name of a ConfigMap"));
            }
            of(settings).params = Some(value.into());
            Ok(())
        })
        .default("what CGI programs are told")
        .differs("a ConfigMap with a name or value that is not allowed has the paths answer 503; HTTP_ fields are told what HTTP backends are")
        .test("fastcgi"),
    ],
};

/// What FastCGI servers are told besides the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FastCgiSettings {
    /// What is added to paths that end with a slash.
    pub(crate) index: Option<Box<str>>,
    /// A ConfigMap, as it is written: `namespace/name`, or a name.
    pub(crate) params: Option<Box<str>>,
}

/// What names of parameters, and of the index, are made of.
pub(crate) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

fn of(settings: &mut Settings) -> &mut FastCgiSettings {
    settings.fastcgi.get_or_insert_default()
}
