//! The keys of session tickets, out of the Secret that all replicas share.
//!
//! A key's entry is `from-` and the seconds since 1970 from when on it encrypts; its value is 48
//! random bytes.

use std::sync::Arc;

use model::ticket::SECRET_LEN;
use model::{TicketKey, TicketKeys};
use objects::Store;
use objects::kinds::{Kind, ObjectKey, Secret};

use crate::name::NameRef;
use crate::options::Options;
use crate::report::{ObjectReport, Problems};

/// The most keys that are read: one to encrypt, one to come, and those of tickets under way.
const MOST: usize = 8;

/// What was last found.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    /// What it was read from.
    secret: Option<Arc<Secret>>,
    keys: Option<Arc<TicketKeys>>,
    report: Option<Arc<ObjectReport>>,
    read: bool,
}

impl Tickets {
    /// Looks for the keys. Tells what is said of the Secret that was not, and what was that is not.
    pub(crate) fn update(&mut self, options: &Options, store: &Store) -> Vec<ObjectKey> {
        let Some((namespace, name)) = options.ticket_secret() else {
            return Vec::new();
        };
        let secret = store.secret(namespace, name);
        let same = match (&self.secret, secret) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        if self.read && same {
            return Vec::new();
        }
        self.read = true;
        self.secret = secret.map(Arc::clone);
        let key = ObjectKey::new(Kind::Secret, namespace, name);
        let mut problems = Problems::of(key.clone());
        let keys = match secret {
            Some(secret) => read(secret, &mut problems),
            // It is made soon.
            None if options.session_ticket_secret.is_none() => return Vec::new(),
            None => {
                let name = NameRef { namespace, name };
                problems.warning(
                    "",
                    format!("there is no Secret {name}; sessions are resumed by who began them"),
                    HINT,
                );
                TicketKeys::default()
            }
        };
        if self.keys.as_deref() != Some(&keys) {
            self.keys = Some(Arc::new(keys));
        }
        let report = (!problems.is_empty()).then(|| Arc::new(problems.into_report(false)));
        if report == self.report {
            return Vec::new();
        }
        self.report = report;
        vec![key]
    }

    /// The keys; none if there is no Secret to hold them.
    pub(crate) fn keys(&self) -> Option<Arc<TicketKeys>> {
        self.keys.clone()
    }

    /// What is wrong with the Secret.
    pub(crate) fn report(&self) -> Option<&Arc<ObjectReport>> {
        self.report.as_ref()
    }
}

const HINT: &str = "keys `from-SECONDS` (since 1970) with 48 random bytes each";

fn read(secret: &Secret, problems: &mut Problems) -> TicketKeys {
    let mut keys: Vec<TicketKey> = Vec::new();
    let mut bad = |key: &str, message: String| problems.error(format!("data.{key}"), message, HINT);
    for key in &secret.undecodable {
        bad(key, "is no base64; it is left out".to_owned());
    }
    for (key, value) in &secret.data {
        let Some(from) = from(key) else {
            bad(key, "is no name of a key; it is left out".to_owned());
            continue;
        };
        match value.as_slice().try_into() {
            Ok(secret) => keys.push(TicketKey { from, secret }),
            Err(_) => {
                let length = value.len();
                bad(
                    key,
                    format!("has {length} bytes, not {SECRET_LEN}; it is left out"),
                );
            }
        }
    }
    keys.sort_by_key(|key| std::cmp::Reverse(key.from));
    if let Some(first) = keys.get(MOST) {
        problems.warning(
            format!("data.from-{}", first.from),
            format!("is left out with all that are older: {MOST} keys are read"),
            "no keys that are older than a day",
        );
        keys.truncate(MOST);
    }
    TicketKeys { keys: keys.into() }
}

/// The seconds in a name, written in one way only.
fn from(key: &str) -> Option<u64> {
    let digits = key.strip_prefix("from-")?;
    let seconds: u64 = digits.parse().ok()?;
    (seconds.to_string() == digits).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{options, secret};

    fn found(data: &serde_json::Value) -> (Vec<u64>, Vec<String>) {
        let mut store = Store::default();
        store.apply(secret(
            "narthex",
            "tickets",
            serde_json::json!({"stringData": data}),
        ));
        let options = Options {
            session_ticket_secret: Some(("narthex".into(), "tickets".into())),
            ..options()
        };
        let mut tickets = Tickets::default();
        let said = tickets.update(&options, &store);
        assert_eq!(said.is_empty(), tickets.report().is_none());
        assert_eq!(tickets.update(&options, &store), [], "said once");
        let keys = tickets.keys().expect("a Secret is named");
        let problems = tickets.report().map(|report| {
            let fields = report.problems().map(|problem| problem.field.clone());
            fields.collect()
        });
        let keys = keys.keys.iter().map(|key| key.from).collect();
        (keys, problems.unwrap_or_default())
    }

    #[test]
    fn keys_are_found_by_their_time_and_each_malformed_one_is_named() {
        let good = "k".repeat(SECRET_LEN);
        let (keys, problems) = found(&serde_json::json!({
            "from-5": good, "from-1800000000": good, "from-70": good,
            "from-007": good, "from-x": good, "other": good, "from-9": "short",
        }));
        assert_eq!(keys, [1_800_000_000, 70, 5]);
        assert_eq!(
            problems,
            ["data.from-007", "data.from-9", "data.from-x", "data.other"]
        );
    }

    #[test]
    fn of_many_keys_the_newest_are_read() {
        let good = "k".repeat(SECRET_LEN);
        let names = (1..=10).map(|from| (format!("from-{from}"), good.clone().into()));
        let (keys, problems) = found(&serde_json::Value::Object(names.collect()));
        assert_eq!(keys, [10, 9, 8, 7, 6, 5, 4, 3]);
        assert_eq!(problems, ["data.from-2"]);
    }

    #[test]
    fn without_the_secret_there_is_a_warning_and_no_key() {
        let options = Options {
            session_ticket_secret: Some(("narthex".into(), "tickets".into())),
            ..options()
        };
        let mut tickets = Tickets::default();
        assert_eq!(tickets.update(&options, &Store::default()).len(), 1);
        assert!(tickets.keys().is_some_and(|keys| keys.keys.is_empty()));
    }
}
