//! One AdmissionReview (admission.k8s.io/v1) answered.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use compile::{Foreseen, Options, Ownership, Preview, preview};
use objects::kinds::Ingress;
use objects::{Problem, Severity, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The most warnings of one answer: the API server cuts what is more than 4 KiB in all.
const MAX_WARNINGS: usize = 10;

/// The longest warning in bytes, beyond which the API server may cut it.
const MAX_WARNING: usize = 256;

/// The most fields that one refusal names.
const MAX_CAUSES: usize = 20;

const API_VERSION: &str = "admission.k8s.io/v1";

/// What answers reviews: the present objects, and the options that `serve` has.
pub struct Judge {
    present: Box<dyn Fn() -> Option<Store> + Send + Sync>,
    options: Options,
    scope: Scope,
}

/// What the present objects are of all that there are.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The namespaces that are watched; none are all.
    pub namespaces: Vec<String>,
    /// Whether only namespaces with the right labels are watched: those of the present Namespaces.
    pub selected: bool,
    /// Whether there are no Secrets but those that something refers to, so that none can be said
    /// not to exist.
    pub secrets_by_reference: bool,
}

impl Scope {
    fn has(&self, namespace: &str, store: &Store) -> bool {
        let is_named = |named: &String| named == namespace;
        (self.namespaces.is_empty() || self.namespaces.iter().any(is_named))
            && (!self.selected || store.namespace(namespace).is_some())
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").finish_non_exhaustive()
    }
}

/// What became of a review; the label `result` of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// Nothing to be said.
    Allowed,
    /// Allowed with warnings.
    Warned,
    /// Refused.
    Refused,
    /// Allowed because it could not be looked at.
    Unchecked,
    /// Not answered: not a review.
    Malformed,
}

impl Outcome {
    pub(super) const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Warned,
        Self::Refused,
        Self::Unchecked,
        Self::Malformed,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Warned => "warned",
            Self::Refused => "refused",
            Self::Unchecked => "unchecked",
            Self::Malformed => "malformed",
        }
    }
}

/// An AdmissionReview as the API server sends it, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    request: Request,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    kind: GroupKind,
    #[serde(default)]
    sub_resource: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct GroupKind {
    group: String,
    kind: String,
}

/// A request to be answered.
#[derive(Debug)]
pub(super) struct Asked(Request);

/// The answer to one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    /// JSON.
    pub(super) body: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Asked {
    /// Reads a request's body.
    ///
    /// # Errors
    /// What it is instead of an AdmissionReview: there is no uid to answer to.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let review: Review = serde_json::from_slice(body)
            .map_err(|error| format!("this is no AdmissionReview: {error}"))?;
        if review.api_version != API_VERSION {
            return Err(format!("this is no AdmissionReview of {API_VERSION}"));
        }
        Ok(Self(review.request))
    }

    /// The answer where the object was not looked at.
    pub(super) fn unchecked(&self, why: &str) -> Answer {
        let warning = format!("Narthex did not check this object: {why}");
        self.answer(Outcome::Unchecked, None, [warning])
    }

    fn answer(
        &self,
        outcome: Outcome,
        status: Option<Value>,
        warnings: impl IntoIterator<Item = String>,
    ) -> Answer {
        let answered = Answered {
            api_version: API_VERSION,
            kind: "AdmissionReview",
            response: Response {
                uid: &self.0.uid,
                allowed: status.is_none(),
                status,
                warnings: few(warnings),
            },
        };
        // Strings and numbers alone: this cannot fail, and an empty body is no refusal.
        let body = serde_json::to_vec(&answered).unwrap_or_default();
        Answer { outcome, body }
    }
}

impl Judge {
    /// `present` gives the objects as they are, or none while not all of them have been read. It
    /// is called on a blocking thread, and what it gives is kept no longer than one answer takes.
    pub fn new(
        present: impl Fn() -> Option<Store> + Send + Sync + 'static,
        options: Options,
        scope: Scope,
    ) -> Self {
        Self {
            present: Box::new(present),
            options,
            scope,
        }
    }

    /// Answers one request. `now` is in seconds since 1970.
    pub(super) fn answer(&self, asked: &Asked, now: i64) -> Answer {
        let request = &asked.0;
        let is_ingress =
            request.kind.group == "networking.k8s.io" && request.kind.kind == "Ingress";
        let writes = ["CREATE", "UPDATE"].contains(&request.operation.as_str());
        if !is_ingress || !writes || !request.sub_resource.is_empty() {
            return asked.answer(Outcome::Allowed, None, []);
        }
        let read = |value: &Value| Ingress::deserialize(value).map(Arc::new);
        let new = match read(&request.object) {
            Ok(new) => new,
            Err(error) => return asked.unchecked(&format!("it cannot be read: {error}")),
        };
        // An update's former object that cannot be read is none that could excuse anything.
        let sent = read(&request.old_object).ok();
        let old = sent.filter(|_| request.operation == "UPDATE" && !request.old_object.is_null());
        // The same rules and annotations: a finalizer, a label or an owner. Whatever is wrong was
        // so before, and whoever does this (a garbage collector, say) could not mend it.
        if old.as_ref().is_some_and(|old| means_the_same(old, &new)) {
            return asked.answer(Outcome::Allowed, None, []);
        }
        let Some(store) = (self.present)() else {
            return asked.unchecked("it has not read all objects yet");
        };
        let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
        if !self.scope.has(namespace, &store) {
            return asked.answer(Outcome::Allowed, None, []);
        }
        let mut seen = preview(&store, old.as_ref(), &new, &self.options, now);
        if self.scope.secrets_by_reference {
            let is_unread =
                |found: &Foreseen| found.missing && found.problem.field.ends_with(".secretName");
            seen.problems.retain(|found| !is_unread(found));
        }
        answer_to(asked, &new, &seen)
    }
}

fn means_the_same(old: &Ingress, new: &Ingress) -> bool {
    old.spec == new.spec && old.metadata.annotations == new.metadata.annotations
}

/// Refused is what is wrong with an Ingress of ours, by itself or with what is there, and was not
/// so before; everything else that is remarkable is a warning.
fn answer_to(asked: &Asked, new: &Ingress, seen: &Preview) -> Answer {
    let mut known: BTreeMap<_, usize> = BTreeMap::new();
    for problem in &seen.before {
        *known.entry(likeness(problem)).or_default() += 1;
    }
    let mut refused = Vec::new();
    let mut warnings = Vec::new();
    for found in &seen.problems {
        let problem = &found.problem;
        let is_known = known
            .get_mut(&likeness(problem))
            .and_then(|count| count.checked_sub(1).map(|less| *count = less))
            .is_some();
        let is_refused = problem.severity == Severity::Error
            && seen.ownership == Ownership::Ours
            && !found.missing
            && !is_known;
        if is_refused {
            refused.push(problem);
        } else {
            warnings.push(said(problem));
        }
    }
    let others = seen.others.iter().map(|problem| {
        let object = problem.object.as_ref().map(ToString::to_string);
        format!(
            "{} loses to this one: {}",
            object.unwrap_or_default(),
            said(problem)
        )
    });
    warnings.extend(others);
    if refused.is_empty() {
        let outcome = if warnings.is_empty() {
            Outcome::Allowed
        } else {
            Outcome::Warned
        };
        return asked.answer(outcome, None, warnings);
    }
    let status = refusal(new, &refused);
    asked.answer(Outcome::Refused, Some(status), warnings)
}

/// What makes two problems the same, wherever in its list an entry has moved.
fn likeness(problem: &Problem) -> (String, &str) {
    let mut field = String::with_capacity(problem.field.len());
    let mut rest = problem.field.as_str();
    while let Some((before, after)) = rest.split_once('[') {
        field.push_str(before);
        let Some((index, next)) = after.split_once(']') else {
            break;
        };
        // The name of an annotation is no index.
        if index.parse::<u32>().is_err() {
            field.push_str(index);
        }
        rest = next;
    }
    field.push_str(rest);
    (field, &problem.message)
}

fn refusal(new: &Ingress, refused: &[&Problem]) -> Value {
    let told = refused.iter().take(MAX_CAUSES);
    let causes: Vec<Value> = told
        .clone()
        .map(|problem| {
            serde_json::json!({
                "reason": "FieldValueInvalid", "field": problem.field, "message": wrong(problem),
            })
        })
        .collect();
    let mut message: Vec<String> = told.map(|problem| said(problem)).collect();
    if let more @ 1.. = refused.len().saturating_sub(MAX_CAUSES) {
        message.push(format!("and {more} more problems"));
    }
    serde_json::json!({
        "status": "Failure",
        "code": 422,
        "reason": "Invalid",
        "message": message.join("; "),
        "details": {
            "group": "networking.k8s.io",
            "kind": "Ingress",
            "name": new.metadata.name,
            "causes": causes,
        },
    })
}

/// `FIELD: message (hint)`
fn said(problem: &Problem) -> String {
    match problem.field.as_str() {
        "" => wrong(problem),
        field => format!("{field}: {}", wrong(problem)),
    }
}

fn wrong(problem: &Problem) -> String {
    match problem.hint.as_str() {
        "" => problem.message.clone(),
        hint => format!("{} ({hint})", problem.message),
    }
}

/// As many warnings as the API server passes on, each on one short line.
fn few(warnings: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = warnings.into_iter().collect();
    let more = all.len().saturating_sub(MAX_WARNINGS);
    if more > 0 {
        all.truncate(MAX_WARNINGS);
        all.push(format!("and {more} more: see `kubectl narthex check`"));
    }
    all.iter().map(|warning| one_line(warning)).collect()
}

fn one_line(text: &str) -> String {
    const MORE: &str = "…";

    let mut line = String::new();
    for c in text.chars() {
        // What drives a terminal has no place in what a terminal shows.
        let shown = if c.is_control() { ' ' } else { c };
        line.push(shown);
    }
    if line.len() > MAX_WARNING {
        let end = line.floor_char_boundary(MAX_WARNING - MORE.len());
        line.truncate(end);
        line.push_str(MORE);
    }
    line
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
