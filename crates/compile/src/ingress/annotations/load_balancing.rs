//! `load-balance` and `upstream-hash-by`: which endpoint a request goes to.

use std::sync::Arc;

use model::policy::{Algorithm, HashKey};
use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, boolean, whole};

/// ingress-nginx's `upstream-hash-by-subset-size`.
const SUBSET: u16 = 3;

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Load balancing",
    annotations: &[
        Annotation::works("load-balance", Risk::Low, |settings, value| {
            let algorithm = match value.trim() {
                "round_robin" => Algorithm::RoundRobin,
                // Two at random, and the one that would take less time: what ours does, too.
                "ewma" => Algorithm::P2c,
                "chash" | "chashsubset" | "sticky_balanced" | "sticky_persistent" => {
                    return Err(BadValue::unused("round_robin or ewma"));
                }
                _ => return Err(BadValue::invalid("round_robin or ewma")),
            };
            of(settings).algorithm = Some(algorithm);
            Ok(())
        })
        .default(
            "round_robin; of our own classes, and where the Service says it, what Services say",
        )
        .test("nginx_hashing"),
        Annotation::works("upstream-hash-by", Risk::High, |settings, value| {
            const HINT: &str = "a text with nginx's variables, as $request_uri";
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_${} ".contains(&byte);
            if !value.bytes().all(allowed) {
                return Err(BadValue::invalid(HINT));
            }
            // As a key, an address is as good in letters.
            let value = value.replace("binary_remote_addr", "remote_addr");
            let text = Text::parse(value.trim()).map_err(|_| BadValue::unused(HINT))?;
            of(settings).key = Some(HashKey::Text(Arc::new(text)));
            Ok(())
        })
        .default("none")
        .differs("a key's requests go elsewhere while its endpoint fails")
        .test("nginx_hashing"),
        Annotation::works("upstream-hash-by-subset", Risk::Low, |settings, value| {
            boolean(value).map(|on| of(settings).subset = on)
        })
        .default("false")
        .test("nginx_hashing"),
        Annotation::works(
            "upstream-hash-by-subset-size",
            Risk::Low,
            |settings, value| {
                let size = whole(value).map_err(|bad| BadValue::invalid(bad.hint))?;
                let size = u16::try_from(size).unwrap_or(u16::MAX);
                of(settings).size = Some(size).filter(|size| *size > 0);
                Ok(())
            },
        )
        .default("3")
        .test("nginx_hashing"),
    ],
};

/// Which endpoint a request goes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Balancing {
    algorithm: Option<Algorithm>,
    key: Option<HashKey>,
    subset: bool,
    size: Option<u16>,
}

impl Balancing {
    /// How an endpoint is chosen, if anything is said of that.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match self.key.clone() {
            Some(key) if self.subset => Some(Algorithm::Subset {
                key,
                size: self.size.unwrap_or(SUBSET),
            }),
            Some(key) => Some(Algorithm::Hash(key)),
            None => self.algorithm.clone(),
        }
    }
}

fn of(settings: &mut Settings) -> &mut Balancing {
    settings.spread.get_or_insert_default()
}
