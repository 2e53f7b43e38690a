//! Lists of a status that several write: each keeps to what is its own.

use std::fmt;

use objects::kinds::gateway::ParentReference;
use objects::kinds::{Kind, ObjectKey};
use serde_json::{Map, Value, json};

use super::{Condition, ParentStatus};
use crate::Share;

/// The most conditions that a list may have.
const CONDITIONS: usize = 8;

/// The longest message of a condition, in bytes.
const MESSAGE: usize = 32_768;

/// Conditions that are ours, and are there only while there is a reason.
const PASSING: [&str; 2] = ["PartiallyInvalid", "InsecureFrontendValidationMode"];

/// The condition of a Gateway that is to have a data plane of its own: whether that is there. It is
/// said by those who made it, while all else is said by the data plane.
pub(super) const DATA_PLANE: &str = "narthex.dev/DataPlane";

/// With what is written.
#[derive(Debug, Clone, Copy)]
pub struct Pen<'a> {
    /// The name that our entries have.
    pub controller: &'a str,
    /// The object's generation.
    pub generation: i64,
    /// When what is said now began to be so, where nobody has said it before.
    pub since: Since<'a>,
    /// The object's namespace.
    pub namespace: &'a str,
    /// Which Gateways and ListenerSets we speak for.
    pub share: &'a Share,
}

/// A time for a condition's `lastTransitionTime`.
#[derive(Clone, Copy)]
pub enum Since<'a> {
    /// This one, as in the API.
    Now(&'a str),
    /// When this process found it to be so, in seconds since 1970, as in the API.
    Found(&'a dyn Fn(i64) -> String),
}

impl fmt::Debug for Since<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(now) => f.debug_tuple("Now").field(now).finish(),
            Self::Found(_) => f.write_str("Found"),
        }
    }
}

/// One condition as it is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said<'a> {
    pub(super) name: &'a str,
    pub(super) holds: bool,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
    /// When this was found, in seconds since 1970.
    pub(super) since: i64,
}

impl<'a> From<&'a Condition> for Said<'a> {
    fn from(condition: &'a Condition) -> Self {
        Self {
            name: condition.name,
            holds: condition.holds,
            reason: condition.reason,
            message: &condition.message,
            since: condition.since,
        }
    }
}

impl Pen<'_> {
    /// Conditions as they are to be: ours, and in their places those that others added.
    pub(super) fn conditions(self, wanted: &[Said<'_>], present: &Value) -> Value {
        let present = list(present);
        let name = |one: &Value| one["type"].as_str().unwrap_or_default().to_owned();
        let mut all: Vec<(bool, Value)> = Vec::new();
        for former in present {
            let name = name(former);
            match wanted.iter().find(|one| one.name == name) {
                Some(said) => all.push((true, self.condition(said, Some(former)))),
                None if self.is_passing(&name) => {}
                None => all.push((false, former.clone())),
            }
        }
        let is_new = |said: &&Said<'_>| !present.iter().any(|one| name(one) == said.name);
        let new = wanted.iter().filter(is_new);
        all.extend(new.map(|said| (true, self.condition(said, None))));
        while all.len() > CONDITIONS
            && let Some(last) = all.iter().rposition(|(is_ours, _)| !is_ours)
        {
            all.remove(last);
        }
        all.into_iter().map(|(_, condition)| condition).collect()
    }

    /// Conditions with one of ours; all others are somebody else's.
    pub(super) fn with(self, said: &Said<'_>, present: &Value) -> Value {
        let mut all = list(present).to_vec();
        let former = all.iter().position(|one| one["type"] == said.name);
        match former {
            Some(index) => all[index] = self.condition(said, Some(&all[index])),
            None if all.len() < CONDITIONS => all.push(self.condition(said, None)),
            None => {}
        }
        all.into()
    }

    fn is_passing(self, name: &str) -> bool {
        // A data plane that is one Gateway's leaves the word about itself to those who made it.
        PASSING.contains(&name) || name == DATA_PLANE && self.share.has_classes()
    }

    fn condition(self, said: &Said<'_>, former: Option<&Value>) -> Value {
        let status = if said.holds { "True" } else { "False" };
        let since = former.filter(|former| former["status"] == status);
        let since = since.and_then(|former| former["lastTransitionTime"].as_str());
        let since = since.map_or_else(|| self.time(said), str::to_owned);
        json!({
            "type": said.name,
            "status": status,
            "reason": said.reason,
            "message": cut(said.message),
            "observedGeneration": self.generation,
            "lastTransitionTime": since,
        })
    }

    fn time(self, said: &Said<'_>) -> String {
        match self.since {
            Since::Now(now) => now.to_owned(),
            Since::Found(show) => show(said.since),
        }
    }

    /// Entries of a list that each controller has its own of, under the field `reference`: others'
    /// stay as and where they are, ours are those that are `wanted`. At most so many.
    pub(super) fn entries(
        self,
        reference: &str,
        wanted: &[ParentStatus],
        present: &Value,
        most: usize,
    ) -> Value {
        let present = list(present);
        let others = present
            .iter()
            .filter(|entry| !self.is_ours(reference, entry))
            .count();
        let wanted = &wanted[..wanted.len().min(most.saturating_sub(others))];
        let mut is_done = vec![false; wanted.len()];
        let mut all = Vec::new();
        for entry in present {
            if !self.is_ours(reference, entry) {
                all.push(entry.clone());
                continue;
            }
            let same = |one: &ParentStatus| is_same(&one.parent, &entry[reference]);
            if let Some(index) = wanted.iter().position(same)
                && !std::mem::replace(&mut is_done[index], true)
            {
                all.push(self.entry(reference, &wanted[index], &entry["conditions"]));
            }
        }
        let new = wanted.iter().zip(is_done).filter(|(_, is_done)| !is_done);
        all.extend(new.map(|(one, _)| self.entry(reference, one, &Value::Null)));
        all.into()
    }

    /// Whether a list has an entry of ours.
    pub(super) fn has_entry(self, reference: &str, present: &Value) -> bool {
        list(present)
            .iter()
            .any(|entry| self.is_ours(reference, entry))
    }

    fn is_ours(self, reference: &str, entry: &Value) -> bool {
        entry["controllerName"] == self.controller
            && (self.share.is_all() || self.share.has(&self.parent_of(&entry[reference])))
    }

    /// What an entry is about.
    fn parent_of(self, reference: &Value) -> ObjectKey {
        let text = |name: &str| reference[name].as_str();
        let kind = text("kind").and_then(Kind::from_name);
        ObjectKey::new(
            kind.unwrap_or(Kind::Gateway),
            text("namespace").unwrap_or(self.namespace),
            text("name").unwrap_or_default(),
        )
    }

    fn entry(self, reference: &str, wanted: &ParentStatus, conditions: &Value) -> Value {
        let said: Vec<_> = wanted.conditions.iter().map(Said::from).collect();
        json!({
            reference: parent(&wanted.parent),
            "controllerName": self.controller,
            "conditions": self.conditions(&said, conditions),
        })
    }
}

/// A reference with its defaults, as the API server would fill them in.
fn parent(parent: &ParentReference) -> Value {
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), value.into());
        }
    };
    put("group", Some(parent.group()));
    put("kind", Some(parent.kind()));
    put("namespace", parent.namespace.as_deref());
    put("name", Some(&parent.name));
    put("sectionName", parent.section_name.as_deref());
    if let Some(port) = parent.port {
        all.insert("port".to_owned(), port.into());
    }
    all.into()
}

fn is_same(wanted: &ParentReference, entry: &Value) -> bool {
    let mut entry = entry.clone();
    if let Some(entry) = entry.as_object_mut() {
        let defaults = parent(&ParentReference::default());
        for name in ["group", "kind"] {
            let default = || defaults[name].clone();
            entry.entry(name).or_insert_with(default);
        }
    }
    parent(wanted) == entry
}

/// What a list has in it; nothing if it is none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Not longer than a message may be.
fn cut(message: &str) -> &str {
    let mut end = message.len().min(MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PEN: Pen<'_> = Pen {
        controller: "narthex.dev/gateway",
        generation: 3,
        since: Since::Now(NOW),
        namespace: "shop",
        share: &ALL,
    };

    static ALL: Share = Share::ALL;

    const NOW: &str = "2026-01-02T03:04:05Z";
    const BEFORE: &str = "2025-01-01T00:00:00Z";

    fn said(name: &'static str, holds: bool) -> Said<'static> {
        Said {
            name,
            holds,
            reason: "Because",
            message: "so it is",
            since: 0,
        }
    }

    fn condition(name: &str, status: &str) -> Value {
        json!({
            "type": name, "status": status, "reason": "Former", "message": "it was so",
            "observedGeneration": 2, "lastTransitionTime": BEFORE,
        })
    }

    fn names(conditions: &Value) -> Vec<&str> {
        let names = list(conditions).iter();
        names.filter_map(|one| one["type"].as_str()).collect()
    }

    fn reference(name: &str) -> ParentReference {
        ParentReference {
            name: name.into(),
            ..ParentReference::default()
        }
    }

    fn wanted(name: &str) -> ParentStatus {
        ParentStatus {
            parent: reference(name),
            conditions: [].into(),
        }
    }

    fn entry(controller: &str, name: &str) -> Value {
        json!({
            "controllerName": controller,
            "parentRef": {"name": name, "extra": "kept"},
            "conditions": [condition("Theirs", "True")],
        })
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_last_change() {
        let present = json!([
            condition("Accepted", "True"),
            condition("Programmed", "False")
        ]);
        let wanted = [said("Accepted", true), said("Programmed", true)];
        let now = PEN.conditions(&wanted, &present);
        assert_eq!(now[0]["lastTransitionTime"], BEFORE);
        assert_eq!(now[0]["reason"], "Because");
        assert_eq!(now[0]["observedGeneration"], 3);
        assert_eq!(now[1]["lastTransitionTime"], NOW);
        assert_eq!(PEN.conditions(&wanted, &now), now);
    }

    #[test]
    fn others_conditions_stay_in_their_places_and_ours_go_with_their_reason() {
        let present = json!([
            condition("example.com/Other", "Unknown"),
            condition("PartiallyInvalid", "True"),
            condition("Accepted", "False"),
        ]);
        let now = PEN.conditions(
            &[said("ResolvedRefs", true), said("Accepted", true)],
            &present,
        );
        assert_eq!(
            names(&now),
            ["example.com/Other", "Accepted", "ResolvedRefs"]
        );
        assert_eq!(now[0], present[0]);
    }

    #[test]
    fn there_are_never_more_conditions_than_there_may_be() {
        let others = (0..8).map(|index| condition(&format!("Other{index}"), "True"));
        let present: Value = others.collect();
        let now = PEN.conditions(&[said("Accepted", true)], &present);
        assert_eq!(list(&now).len(), 8);
        assert_eq!(names(&now).last(), Some(&"Accepted"));
    }

    #[test]
    fn others_entries_stay_as_they_are_and_ours_are_replaced_in_place() {
        let ours = PEN.entries("parentRef", &[wanted("web")], &Value::Null, 32);
        let present = json!([
            entry("example.com/a", "web"),
            ours[0],
            entry("example.com/b", "web"),
            entry(PEN.controller, "gone"),
        ]);
        let wanted = [wanted("new"), wanted("web")];
        let now = PEN.entries("parentRef", &wanted, &present, 32);
        let controllers: Vec<_> = list(&now).iter().map(|it| &it["controllerName"]).collect();
        let ours = PEN.controller;
        assert_eq!(controllers, ["example.com/a", ours, "example.com/b", ours]);
        assert_eq!((&now[0], &now[2]), (&present[0], &present[2]));
        assert_eq!(now[1]["parentRef"]["name"], "web");
        assert_eq!(now[3]["parentRef"]["name"], "new");
        assert_eq!(now[3]["parentRef"]["kind"], "Gateway");
        let none = PEN.entries("parentRef", &[], &now, 32);
        assert_eq!(none, json!([present[0], present[2]]));
        assert!(PEN.has_entry("parentRef", &now) && !PEN.has_entry("parentRef", &none));
    }

    #[test]
    fn of_two_processes_of_one_controller_each_keeps_to_its_own_parents() {
        let web: BTreeSet<_> = [ObjectKey::new(Kind::Gateway, "shop", "web")].into();
        let (shared, own) = (Share::without(web.clone()), Share::only(web));
        let with = |share| Pen { share, ..PEN };
        let both = json!([entry(PEN.controller, "web"), entry(PEN.controller, "all")]);
        let left = with(&shared).entries("parentRef", &[], &both, 32);
        assert_eq!(left, json!([both[0]]));
        let left = with(&own).entries("parentRef", &[], &both, 32);
        assert_eq!(left, json!([both[1]]));
        let elsewhere = Pen {
            namespace: "other",
            ..with(&own)
        };
        assert!(!elsewhere.has_entry("parentRef", &both));
    }

    #[test]
    fn the_word_about_a_data_plane_is_that_of_who_made_it() {
        let present = json!([
            condition(DATA_PLANE, "True"),
            condition("Accepted", "False")
        ]);
        let own = Share::only(BTreeSet::new());
        let pen = Pen { share: &own, ..PEN };
        let now = pen.conditions(&[said("Accepted", true)], &present);
        assert_eq!(now[0], present[0]);
        let now = PEN.conditions(&[said("Accepted", true)], &present);
        assert_eq!(names(&now), ["Accepted"]);
        let now = PEN.with(&said(DATA_PLANE, false), &present);
        assert_eq!(now[0]["status"], "False");
        assert_eq!(now[1], present[1]);
    }

    #[test]
    fn what_others_wrote_leaves_us_the_rest_of_the_room() {
        let others = (0..15).map(|index| entry("example.com/a", &format!("web-{index}")));
        let present: Value = others.collect();
        let now = PEN.entries("ancestorRef", &[wanted("a"), wanted("b")], &present, 16);
        assert_eq!(list(&now).len(), 16);
        assert_eq!(now[15]["ancestorRef"]["name"], "a");
    }

    #[test]
    fn one_parent_is_told_from_another_by_every_field() {
        let mut section = reference("web");
        section.section_name = Some("https".into());
        let mut port = reference("web");
        port.port = Some(443);
        let all = [reference("web"), section, port, reference("other")];
        for (index, one) in all.iter().enumerate() {
            for (other_index, other) in all.iter().enumerate() {
                assert_eq!(is_same(one, &parent(other)), index == other_index);
            }
        }
        assert!(is_same(&reference("web"), &json!({"name": "web"})));
    }
}
