//! Gateway API's objects with their status, as they were compiled.

use std::sync::Arc;

use admin::view;
use compile::status::{ByObject, Gate, ObjectStatus, Pen, Since, render};
use compile::{Compiled, Share};
use objects::Sorted;
use objects::kinds::{Kind, ObjectKey};
use serde_json::Value;

/// The objects of one configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    statuses: Arc<Sorted<ObjectStatus, ByObject>>,
    /// The name that our entries have.
    controller: Box<str>,
    said_by: SaidBy,
}

/// Whose word a status is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum SaidBy {
    /// Of this process, which is all there is.
    #[default]
    Alone,
    /// Of this process, which is one of several replicas.
    Replica,
}

impl SaidBy {
    fn text(self) -> &'static str {
        match self {
            Self::Alone => "this process",
            Self::Replica => {
                "this replica alone; what the API server has also waits for every live replica and \
                 for the Gateway's Service"
            }
        }
    }
}

impl Objects {
    /// What was compiled, served or not.
    pub(crate) fn new(compiled: &Compiled, controller: &str, said_by: SaidBy) -> Self {
        Self {
            statuses: Arc::clone(&compiled.statuses),
            controller: controller.into(),
            said_by,
        }
    }

    /// Every one, by kind, namespace and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = view::Object> {
        self.statuses.iter().map(|status| self.view(status))
    }

    /// What is said of one.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&ObjectStatus> {
        self.statuses.get(&key).map(|status| &**status)
    }

    /// Whether one is accepted somewhere.
    pub(crate) fn is_accepted(&self, key: &ObjectKey) -> bool {
        let lists = self.get(key).map(|status| status.status.lists());
        let lists = lists.unwrap_or_default().into_iter();
        let mut all = lists.flat_map(|(_, conditions)| conditions);
        all.any(|condition| condition.name == "Accepted" && condition.holds)
    }

    /// Those that are wanted.
    ///
    /// # Errors
    /// What is wrong with the question, for people.
    pub(crate) fn find(&self, wanted: &view::Wanted) -> Result<view::Objects, String> {
        let kind = wanted.kind.as_deref().map(kind).transpose()?;
        let after = wanted.after.as_deref().map(key).transpose()?;
        let is_wanted = |status: &&Arc<ObjectStatus>| {
            let object = &status.object;
            let is = |wanted: &Option<String>, is: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == is)
            };
            after.as_ref().is_none_or(|after| object > after)
                && kind.is_none_or(|kind| object.kind == kind)
                && is(&wanted.namespace, &object.namespace)
                && is(&wanted.name, &object.name)
        };
        let found: Vec<_> = self.statuses.iter().filter(is_wanted).collect();
        let (now, later) = found.split_at(wanted.limit.min(found.len()));
        let next = now.last().filter(|_| !later.is_empty());
        Ok(view::Objects {
            said_by: self.said_by.text(),
            items: now.iter().map(|status| self.view(status)).collect(),
            remaining: later.len(),
            next: next.map(|status| word(&status.object)),
        })
    }

    fn view(&self, status: &ObjectStatus) -> view::Object {
        let ObjectKey {
            kind,
            namespace,
            name,
        } = &status.object;
        view::Object {
            api_version: kind.api_version(),
            kind: kind.name(),
            metadata: view::Metadata {
                namespace: kind.namespaced().then(|| namespace.to_string()),
                name: name.to_string(),
                generation: status.generation,
            },
            status: self.render(status),
        }
    }

    fn render(&self, status: &ObjectStatus) -> Value {
        // There is nothing of others to be kept.
        let share = Share::ALL;
        let pen = Pen {
            controller: &self.controller,
            generation: status.generation,
            since: Since::Found(&time),
            namespace: &status.object.namespace,
            share: &share,
        };
        render(status, &Gate::open(), &Value::Null, pen)
    }
}

/// `HTTPRoute/shop/web`, to go on after it.
fn word(object: &ObjectKey) -> String {
    let ObjectKey {
        kind,
        namespace,
        name,
    } = object;
    format!("{kind}/{namespace}/{name}")
}

fn key(word: &str) -> Result<ObjectKey, String> {
    let wrong = || format!("after={word} is none of ours: give what `next` says");
    let mut parts = word.splitn(3, '/');
    let mut part = || parts.next().ok_or_else(wrong);
    let (name, namespace) = (part()?, part()?);
    Ok(ObjectKey::new(kind(name)?, namespace, part()?))
}

fn kind(name: &str) -> Result<Kind, String> {
    let kind = Kind::from_name(name).filter(|kind| kind.is_of_gateway_api());
    kind.ok_or_else(|| format!("{name} is no kind of Gateway API, as Gateway or HTTPRoute"))
}

/// As the API has it.
fn time(seconds: i64) -> String {
    cluster::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}
