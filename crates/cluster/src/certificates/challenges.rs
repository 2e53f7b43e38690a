//! Answers to challenges, in one Secret that every replica reads.
//!
//! Each order applies its own keys by a field manager of its own, so that nobody writes over what
//! another has put up, and withdraws them by applying nothing. Only a name can be shown by one
//! TLS-ALPN-01 certificate at a time: the last one, for the one before may be of an order that died.
//! What an order left behind that ended without withdrawing is withdrawn by a later one, an hour
//! after it was put up.
//!
//! The Secret's data: `http.<token>` is a key authorization (RFC 8555, section 8.3), and
//! `alpn.<SHA-256 of the name>` is `{"name": …, "chain": PEM, "key": PEM}` (RFC 8737).

use std::collections::BTreeMap;
use std::sync::Arc;

use certs::acme::{Answer, Solver};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams};
use objects::kinds::{Kind, ObjectKey};
use serde_json::{Value, json};

use super::requests::{Wrong, is_marked, not_ours, stubbornly, within};
use super::{MARK, Shared, names, replicas};
use crate::MANAGER;

/// Annotations of the Secret: when the answers of an order were put up, by their hash.
const SINCE: &str = "narthex.dev/challenges-of-";

/// When answers are nobody's any more: no order takes so long.
const STALE: SignedDuration = SignedDuration::from_hours(1);

/// How often it is tried anew where the Secret itself changes meanwhile.
const ATTEMPTS: usize = 3;

/// Puts up answers for HTTP-01 and TLS-ALPN-01.
#[derive(Debug, Clone)]
pub struct ChallengeSolver {
    shared: Arc<Shared>,
}

/// The Secret's data.
type Data = BTreeMap<String, String>;

impl ChallengeSolver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.shared.client.clone(), &self.shared.place.namespace)
    }

    /// The Secret without answers, as it is made where there is none.
    async fn base(&self) -> Result<Secret, Wrong> {
        let name = &self.shared.place.challenges;
        let secrets = self.secrets();
        if let Some(secret) = within(secrets.get_opt(name)).await? {
            return match is_marked(&secret.metadata) {
                true => Ok(secret),
                false => Err(Wrong::Refused(not_ours(
                    "Secret",
                    &self.shared.place.namespace,
                    name,
                ))),
            };
        }
        let empty = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {MARK: "true"}},
            "type": "Opaque",
        });
        let parameters = PatchParams::apply(MANAGER);
        within(secrets.patch(name, &parameters, &Patch::Apply(&empty))).await
    }

    /// Applies an order's answers.
    async fn apply(&self, short: &str, data: &Data) -> Result<Secret, Wrong> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let base = self.base().await?;
            let since = format!("{SINCE}{short}");
            let mut object = self.empty(base.metadata.uid.as_deref());
            object["metadata"]["annotations"] = json!({since: Timestamp::now().to_string()});
            object["data"] = json!(data);
            let parameters = PatchParams::apply(&names::manager(short)).force();
            let secrets = self.secrets();
            let patch = Patch::Apply(&object);
            let name = &self.shared.place.challenges;
            match within(secrets.patch(name, &parameters, &patch)).await {
                // Somebody deleted the one that was there.
                Err(wrong @ Wrong::Changed(_)) => last = Some(wrong),
                done => return done,
            }
        }
        Err(last.unwrap_or_else(|| Wrong::Changed("it changes all the time".to_owned())))
    }

    /// Takes away what one order has applied.
    async fn forget(&self, short: &str, uid: Option<&str>) -> Result<(), Wrong> {
        let object = self.empty(uid);
        let parameters = PatchParams::apply(&names::manager(short));
        let secrets = self.secrets();
        let patch = Patch::Apply(&object);
        let name = &self.shared.place.challenges;
        let forgotten = stubbornly(|| secrets.patch(name, &parameters, &patch)).await;
        match forgotten {
            // With another Secret, or with none, it is gone.
            Ok(_) | Err(Wrong::Changed(_)) => Ok(()),
            Err(wrong) => Err(wrong),
        }
    }

    /// The Secret, of which nothing is said but which one it is: it is not made by this.
    fn empty(&self, uid: Option<&str>) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": self.shared.place.challenges,
                "namespace": self.shared.place.namespace,
                "uid": uid,
            },
        })
    }

    fn failed(&self, wrong: &Wrong) -> String {
        let place = &self.shared.place;
        format!("Secret {}/{}: {wrong}", place.namespace, place.challenges)
    }
}

impl Solver for ChallengeSolver {
    /// Done when every replica serves them; or after ten seconds, for one that died is not to keep
    /// all others from getting certificates. Fails for answers by DNS.
    async fn present(&self, answers: &[Answer]) -> Result<(), String> {
        let data = data(answers)?;
        if data.is_empty() {
            return Ok(());
        }
        let short = short(&data);
        let base = self.base().await.map_err(|wrong| self.failed(&wrong))?;
        let stale = stale(&base, &short, Timestamp::now());
        for old in &stale {
            let forgotten = self.forget(old, base.metadata.uid.as_deref()).await;
            if let Err(wrong) = forgotten {
                tracing::debug!("old answers to challenges stay: {wrong}");
            }
        }
        let applied = self
            .apply(&short, &data)
            .await
            .map_err(|wrong| self.failed(&wrong))?;
        let place = &self.shared.place;
        let key = ObjectKey::new(Kind::Secret, &place.namespace, &place.challenges);
        let version = applied.metadata.resource_version.unwrap_or_default();
        let behind = replicas::wait(&self.shared, &key, &version).await;
        if !behind.is_empty() {
            tracing::warn!(
                "answers to challenges are not known to be served by all replicas: {}",
                behind.join(", ")
            );
        }
        Ok(())
    }

    async fn withdraw(&self, answers: &[Answer]) {
        let short = match data(answers) {
            Ok(data) if !data.is_empty() => short(&data),
            // They were not put up.
            _ => return,
        };
        let gone = match self.base().await {
            Ok(base) => self.forget(&short, base.metadata.uid.as_deref()).await,
            Err(wrong) => Err(wrong),
        };
        if let Err(wrong) = gone {
            let why = self.failed(&wrong);
            tracing::warn!("answers to challenges stay for an hour or more: {why}");
        }
    }
}

/// As the Secret has them.
fn data(answers: &[Answer]) -> Result<Data, String> {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let mut data = Data::new();
    for answer in answers {
        if let Answer::Dns { name, .. } | Answer::DnsPersist { name, .. } = answer {
            return Err(format!(
                "the answer at {name} is not for replicas, but for DNS"
            ));
        }
        let Some((key, value)) = answer.entry()? else {
            continue;
        };
        data.insert(key, BASE64_STANDARD.encode(value));
    }
    Ok(data)
}

/// Tells orders from each other: no two have the same tokens or keys.
fn short(data: &Data) -> String {
    let values: Vec<&str> = data.values().map(String::as_str).collect();
    names::short(&values.join(" "))
}

/// The other orders whose answers are there for too long.
fn stale(secret: &Secret, own: &str, now: Timestamp) -> Vec<String> {
    let annotations = secret.metadata.annotations.iter().flatten();
    let of_orders = annotations.filter_map(|(key, since)| Some((key.strip_prefix(SINCE)?, since)));
    let is_stale = |since: &str| {
        let since = since.parse::<Timestamp>();
        // Of a clock that is far ahead, as much as of long ago.
        since.is_ok_and(|since| now.duration_since(since).abs() > STALE)
    };
    of_orders
        .filter(|(short, since)| *short != own && is_stale(since))
        .map(|(short, _)| short.to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use certs::acme::alpn_key;

    use super::*;

    fn http(token: &str) -> Answer {
        Answer::Http {
            name: "web.test".to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.print"),
        }
    }

    #[test]
    fn answers_have_keys_that_a_secret_may_have() {
        let one = data(&[http("a-b_C9")]).expect("an answer");
        assert_eq!(one["http.a-b_C9"], "YS1iX0M5LnByaW50");
        for wrong in ["", "a/b", "a b", &"a".repeat(300)] {
            assert!(data(&[http(wrong)]).is_err(), "{wrong}");
        }
        let dns = Answer::Dns {
            of: "web.test".to_owned(),
            name: "_acme-challenge.web.test".to_owned(),
            value: "x".to_owned(),
        };
        assert!(data(&[dns]).is_err());
        assert_eq!(alpn_key("web.test").len(), "alpn.".len() + 64);
    }

    #[test]
    fn what_an_order_left_behind_an_hour_ago_is_stale_and_our_own_is_not() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let mut secret = Secret::default();
        let since = [
            ("old", "2026-01-01T10:59:00Z"),
            ("new", "2026-01-01T11:01:00Z"),
            ("ahead", "2026-01-01T14:00:00Z"),
            ("own", "2026-01-01T01:00:00Z"),
            ("odd", "yesterday"),
        ];
        let all = since.map(|(short, at)| (format!("{SINCE}{short}"), at.to_owned()));
        secret.metadata.annotations = Some(all.into());
        assert_eq!(stale(&secret, "own", now), ["ahead", "old"]);
    }
}
