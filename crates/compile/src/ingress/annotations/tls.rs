//! `ssl-ciphers` and `ssl-prefer-server-ciphers`: what is negotiated with clients.

use std::sync::Arc;

use model::Suites;

use super::Settings;
use super::suites;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean};

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "TLS suites",
    annotations: &[
        Annotation::works("ssl-ciphers", Risk::Low, |settings, value| {
            const HINT: &str = "suites by OpenSSL's names, as ECDHE-RSA-AES128-GCM-SHA256";
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!:+-_@= ".contains(&byte);
            if !value.bytes().all(allowed) {
                return Err(BadValue::invalid(HINT));
            }
            let suites = suites::listed(value);
            if suites.is_empty() {
                return Err(BadValue::unused(HINT));
            }
            of(settings).suites = suites.into();
            Ok(())
        })
        .default("`--tls-ciphers`")
        .differs("for hosts with a certificate of their own; suites that are not safe are not there, and those of TLS 1.3 stay")
        .test("nginx_suites"),
        Annotation::works("ssl-prefer-server-ciphers", Risk::Low, |settings, value| {
            let server = boolean(value).map_err(BadValue::tolerated)?;
            of(settings).client_order = Some(!server);
            Ok(())
        })
        .default("true")
        .differs("for hosts with a certificate of their own")
        .test("nginx_suites"),
    ],
};

/// What no other Ingress shares with it yet.
fn of(settings: &mut Settings) -> &mut Suites {
    Arc::make_mut(settings.suites.get_or_insert_default())
}
