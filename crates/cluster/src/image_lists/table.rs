//! What the watch has told: lists, the oldest first, and what was last written of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use registry::list::{ImageList, Problem};
use serde_json::{Value, json};

use super::object::{API_VERSION, KIND, Object};
use super::report::Report;
use super::status::{Known, Status, Wrong};

/// The most lists that are followed, the oldest of them.
pub const MOST: usize = 100;

/// How many problems of a list are told.
const TOLD: usize = 5;

/// A list that can be followed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`: another list of that name is another list.
    pub uid: Arc<str>,
    /// Which form of it this is.
    pub generation: i64,
    /// When it was made: of two that want the same, the older one has it.
    pub created: Timestamp,
    /// What it wants.
    pub list: Arc<ImageList>,
}

impl Listed {
    /// Whether it is the same one in the same form.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.uid, self.generation) == (&other.uid, other.generation)
    }
}

/// The lists of one namespace.
#[derive(Debug)]
pub(super) struct Table {
    namespace: String,
    rows: BTreeMap<String, Row>,
    /// The names that a list under way has brought.
    listed: Option<BTreeSet<String>>,
    is_complete: bool,
}

/// A list.
#[derive(Debug)]
struct Row {
    uid: Arc<str>,
    created: Timestamp,
    generation: i64,
    /// The last form that could be read.
    good: Option<Listed>,
    /// What is wrong with it as it is.
    wrong: Option<Wrong>,
    /// Whether it was not read at all.
    is_skipped: bool,
    /// As it is there.
    status: Status,
    /// What the API server would not have.
    refused: Option<Status>,
}

/// A status that is to be written.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) uid: Arc<str>,
    pub(super) status: Status,
}

impl Table {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            rows: BTreeMap::new(),
            listed: None,
            is_complete: false,
        }
    }

    /// Takes an event in.
    pub(super) fn take(&mut self, event: Event<Object>) {
        match event {
            Event::Init => self.listed = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                if let Some(listed) = &mut self.listed {
                    listed.insert(object.name_any());
                }
                self.put(object);
            }
            Event::InitDone => {
                // A list that was cut takes nothing away: only this one has all.
                let listed = self.listed.take().unwrap_or_default();
                self.rows.retain(|name, _| listed.contains(name));
                self.is_complete = true;
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => {
                self.rows.remove(&object.name_any());
            }
        }
        self.limit();
    }

    /// Whether everything was read once.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether there is one that was too many when it came, and is not any more.
    pub(super) fn lacks_some(&self) -> bool {
        if self.listed.is_some() {
            return false;
        }
        let mut first = self.by_age().into_iter().take(MOST);
        first.any(|name| self.rows[&name].is_skipped)
    }

    /// Those that can be followed, the oldest first.
    pub(super) fn listed(&self) -> Vec<Listed> {
        let all = self.by_age().into_iter();
        all.filter_map(|name| self.rows[&name].good.clone())
            .collect()
    }

    /// The statuses that are to be others.
    pub(super) fn wanted(&self, reports: &BTreeMap<String, Report>, now: Timestamp) -> Vec<Wanted> {
        let rows = self.rows.iter();
        let next = rows.filter_map(|(name, row)| {
            let known = Known {
                generation: row.generation,
                wrong: row.wrong.as_ref(),
                report: reports.get(&*row.uid),
            };
            let status = row.status.next(known, now);
            let refused = row.refused.as_ref();
            let is_news = status.is_news(&row.status);
            let may_be_taken = refused.is_none_or(|refused| status.is_news(refused));
            (is_news && may_be_taken).then(|| Wanted {
                name: name.clone(),
                uid: Arc::clone(&row.uid),
                status,
            })
        });
        next.collect()
    }

    /// It was written, or refused.
    pub(super) fn written(&mut self, wanted: &Wanted, is_taken: bool) {
        let row = self.rows.get_mut(&wanted.name);
        let Some(row) = row.filter(|it| it.uid == wanted.uid) else {
            return;
        };
        match is_taken {
            true => (row.status, row.refused) = (wanted.status.clone(), None),
            false => row.refused = Some(wanted.status.clone()),
        }
    }

    fn put(&mut self, object: Object) {
        let name = object.name_any();
        let uid: Arc<str> = object.uid().unwrap_or_default().into();
        let generation = object.metadata.generation.unwrap_or_default();
        let created = object.creation_timestamp().map(|it| it.0);
        let created = created.unwrap_or(Timestamp::UNIX_EPOCH);
        let former = self.rows.remove(&name).filter(|it| it.uid == uid);
        let is_known = |row: &Row| row.generation == generation && !row.is_skipped;
        let row = match former {
            // What was last written is known better by whoever wrote it.
            Some(row) if is_known(&row) => row,
            former => {
                let mut row = former.unwrap_or_else(|| Row {
                    uid: Arc::clone(&uid),
                    created,
                    generation,
                    good: None,
                    wrong: None,
                    is_skipped: false,
                    status: object.status(),
                    refused: None,
                });
                row.generation = generation;
                let older = self.rows.iter();
                let older = older.filter(|(other, it)| (it.created, *other) < (created, &name));
                row.is_skipped = older.count() >= MOST;
                if !row.is_skipped {
                    self.read(object.spec, &name, &mut row);
                }
                row
            }
        };
        self.rows.insert(name, row);
    }

    fn read(&self, spec: Value, name: &str, row: &mut Row) {
        let called = format!("{KIND} {}/{name}", self.namespace);
        let mut whole = json!({"apiVersion": API_VERSION, "kind": KIND});
        whole["spec"] = spec;
        match ImageList::of_object(&whole, &called) {
            Ok(list) => {
                row.wrong = None;
                row.good = Some(Listed {
                    name: name.to_owned(),
                    uid: Arc::clone(&row.uid),
                    generation: row.generation,
                    created: row.created,
                    list: Arc::new(list),
                });
            }
            Err(problems) => {
                let message = told(&problems, row.good.is_some());
                tracing::warn!("{called}: {message}");
                row.wrong = Some(Wrong {
                    reason: "Invalid",
                    message,
                });
            }
        }
    }

    /// Gives up what is too much.
    fn limit(&mut self) {
        if self.rows.len() <= MOST {
            return;
        }
        for name in self.by_age().into_iter().skip(MOST) {
            let Some(row) = self.rows.get_mut(&name) else {
                continue;
            };
            row.good = None;
            row.is_skipped = true;
            row.wrong = Some(Wrong {
                reason: "TooMany",
                message: format!(
                    "there are {MOST} older ImageLists in its namespace, and no more are followed"
                ),
            });
        }
    }

    fn by_age(&self) -> Vec<String> {
        let mut all: Vec<_> = self
            .rows
            .iter()
            .map(|(name, it)| (it.created, name))
            .collect();
        all.sort();
        all.into_iter().map(|(_, name)| name.clone()).collect()
    }
}

/// For people.
fn told(problems: &[Problem], has_former: bool) -> String {
    let texts = problems.iter().take(TOLD).map(|it| {
        let field = &it.place.field;
        match field.is_empty() {
            true => it.message.clone(),
            false => format!("{field}: {}", it.message),
        }
    });
    let mut message = texts.collect::<Vec<_>>().join("; ");
    if problems.len() > TOLD {
        message.push_str(&format!("; and {} more", problems.len() - TOLD));
    }
    match has_former {
        true => format!("what it was before is followed on: {message}"),
        false => message,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn object(name: &str, generation: i64, age: u32, spec: Value) -> Object {
        let object = json!({
            "metadata": {
                "name": name, "namespace": "images", "uid": format!("uid-{name}"),
                "generation": generation,
                "creationTimestamp": format!("2026-01-01T{:02}:{:02}:00Z", 23 - age / 60, 59 - age % 60),
            },
            "spec": spec,
        });
        serde_json::from_value(object).expect("an object")
    }

    fn right() -> Value {
        json!({"images": [{"source": "a.example/b:1"}]})
    }

    fn names(table: &Table) -> Vec<String> {
        table.listed().into_iter().map(|it| it.name).collect()
    }

    fn reasons(table: &Table) -> BTreeMap<String, (String, String)> {
        let wanted = table
            .wanted(&BTreeMap::new(), Timestamp::UNIX_EPOCH)
            .into_iter();
        wanted
            .map(|it| {
                let condition = &it.status.conditions[0];
                (
                    it.name,
                    (condition.reason.clone(), condition.message.clone()),
                )
            })
            .collect()
    }

    #[test]
    fn lists_come_change_and_go_and_a_wrong_one_stays_what_it_was() {
        let mut table = Table::new("images");
        table.take(Event::Init);
        table.take(Event::InitApply(object("a", 1, 5, right())));
        assert!(!table.is_complete());
        table.take(Event::InitDone);
        table.take(Event::Apply(object("b", 1, 9, right())));
        assert_eq!(names(&table), ["b", "a"], "the oldest first");
        let wrong = json!({"images": [{"source": "oci:/etc"}]});
        table.take(Event::Apply(object("a", 2, 5, wrong.clone())));
        table.take(Event::Apply(object("c", 1, 1, wrong)));
        assert_eq!(names(&table), ["b", "a"]);
        assert_eq!(table.listed()[1].generation, 1);
        let reasons = reasons(&table);
        assert_eq!(reasons["b"].0, "Syncing");
        let (reason, message) = &reasons["a"];
        assert_eq!(reason, "Invalid");
        let start = "what it was before is followed on: spec.images[0].source: ";
        assert!(message.starts_with(start), "{message}");
        assert!(reasons["c"].1.starts_with("spec.images[0].source: "));
        table.take(Event::Delete(object("b", 1, 9, right())));
        // What a list that begins anew does not have any more, has gone; but not before it is whole.
        table.take(Event::Init);
        assert_eq!(names(&table), ["a"]);
        table.take(Event::InitDone);
        assert!(names(&table).is_empty());
    }

    #[test]
    fn a_status_that_was_written_or_refused_is_not_written_again() {
        let mut table = Table::new("images");
        table.take(Event::Apply(object("a", 1, 0, right())));
        for is_taken in [true, false] {
            table.take(Event::Apply(object(
                "a",
                1 + i64::from(!is_taken),
                0,
                right(),
            )));
            let wanted = table.wanted(&BTreeMap::new(), Timestamp::UNIX_EPOCH);
            assert_eq!(wanted.len(), 1);
            table.written(&wanted[0], is_taken);
            assert!(
                table
                    .wanted(&BTreeMap::new(), Timestamp::UNIX_EPOCH)
                    .is_empty()
            );
            // What comes back by the watch is no news.
            let mut seen = object("a", 1 + i64::from(!is_taken), 0, right());
            seen.status = json!({"conditions": 7});
            table.take(Event::Apply(seen));
            assert!(
                table
                    .wanted(&BTreeMap::new(), Timestamp::UNIX_EPOCH)
                    .is_empty()
            );
        }
    }

    #[test]
    fn of_too_many_the_oldest_are_followed_and_another_when_one_goes() {
        let mut table = Table::new("images");
        table.take(Event::Init);
        for age in 0..=MOST as u32 {
            table.take(Event::InitApply(object(
                &format!("l{age:03}"),
                1,
                age,
                right(),
            )));
        }
        table.take(Event::InitDone);
        assert_eq!(table.listed().len(), MOST);
        assert!(!table.lacks_some());
        assert_eq!(reasons(&table)["l000"].0, "TooMany");
        table.take(Event::Delete(object("l050", 1, 50, right())));
        assert!(table.lacks_some());
        table.take(Event::Apply(object("l000", 1, 0, right())));
        assert!(!table.lacks_some() && table.listed().len() == MOST);
        assert_eq!(reasons(&table)["l000"].0, "Syncing");
    }
}
