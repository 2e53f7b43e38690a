//! What is said of Gateway API's objects, for people.

use std::io::{self, Write};

use admin::view;
use compile::status::is_good;
use serde_json::Value;

use crate::check::plural;
use crate::finding::OneLine;
use crate::terminal::{Colour, painted};

/// A line for each object, or a few; first those of which a condition is not as it should be.
pub(super) fn write(
    out: &mut impl Write,
    objects: &[view::Object],
    is_after_problems: bool,
    colours: bool,
) -> io::Result<()> {
    if objects.is_empty() {
        return Ok(());
    }
    if is_after_problems {
        writeln!(out)?;
    }
    let (good, bad): (Vec<_>, Vec<_>) = objects.iter().partition(|it| is_all_good(&it.status));
    let mut page = Page { out, colours };
    bad.into_iter()
        .chain(good)
        .try_for_each(|object| page.object(object))
}

struct Page<'a, W> {
    out: &'a mut W,
    colours: bool,
}

impl<W: Write> Page<'_, W> {
    fn object(&mut self, object: &view::Object) -> io::Result<()> {
        let status = &object.status;
        let namespace = object.metadata.namespace.as_deref();
        let namespace = namespace.map_or_else(String::new, |it| format!("{it}/"));
        let name = format!("{} {namespace}{}", object.kind, object.metadata.name);
        let conditions = self.conditions(&status["conditions"]);
        let entries: Vec<_> = PARENTS
            .iter()
            .flat_map(|(list, reference)| {
                array(&status[list])
                    .iter()
                    .zip(std::iter::repeat(reference))
            })
            .collect();
        match (&*conditions, &*entries) {
            ("", [(entry, reference)]) => self.line(&format!(
                "{name} at {}: {}",
                parent(&entry[reference]),
                self.conditions(&entry["conditions"])
            )),
            ("", []) => self.line(&format!("{name}: nothing refers to it")),
            ("", _) => self.line(&name),
            _ => self.line(&format!("{name}: {conditions}")),
        }?;
        if entries.len() > 1 {
            for (entry, reference) in &entries {
                let conditions = self.conditions(&entry["conditions"]);
                self.line(&format!("  at {}: {conditions}", parent(&entry[reference])))?;
            }
        }
        for listener in array(&status["listeners"]) {
            self.listener(listener)?;
        }
        let addresses = array(&status["addresses"]).iter();
        let addresses: Vec<_> = addresses.map(|it| text(&it["value"])).collect();
        match addresses.is_empty() {
            true => Ok(()),
            false => self.line(&format!("  addresses: {}", addresses.join(", "))),
        }
    }

    fn listener(&mut self, listener: &Value) -> io::Result<()> {
        let attached = listener["attachedRoutes"].as_u64().unwrap_or_default();
        let attached = plural(usize::try_from(attached).unwrap_or(usize::MAX), "route");
        let kinds = array(&listener["supportedKinds"]).iter();
        let kinds: Vec<_> = kinds.map(|it| text(&it["kind"])).collect();
        let kinds = match kinds.is_empty() {
            true => String::new(),
            false => format!(" ({})", kinds.join(", ")),
        };
        let conditions = self.conditions(&listener["conditions"]);
        let name = text(&listener["name"]);
        self.line(&format!(
            "  listener {name}: {attached}{kinds}: {conditions}"
        ))
    }

    /// `Accepted, not ResolvedRefs (BackendNotFound: there is no …)`
    fn conditions(&self, conditions: &Value) -> String {
        let conditions = array(conditions).iter();
        let said = conditions.filter_map(|condition| {
            let name = text(&condition["type"]);
            let holds = condition["status"] == "True";
            let is_good = is_good(&name, holds);
            // What is good by not being so is not worth a word.
            if is_good && !holds {
                return None;
            }
            let not = if holds { "" } else { "not " };
            let reason = text(&condition["reason"]);
            let is_plain = is_good && (reason == name || reason == "Resolved");
            let why = match is_plain {
                true => String::new(),
                false => format!(" ({reason}: {})", text(&condition["message"])),
            };
            let word = format!("{not}{name}{why}");
            let colours = self.colours && !is_good;
            Some(painted(word, Colour::Red, colours).to_string())
        });
        said.collect::<Vec<_>>().join(", ")
    }

    fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }
}

/// The lists of a status that have conditions of their own for each of what the object is at, and
/// what that is in.
const PARENTS: [(&str, &str); 2] = [("parents", "parentRef"), ("ancestors", "ancestorRef")];

fn is_all_good(status: &Value) -> bool {
    let lists = ["parents", "ancestors", "listeners"];
    let inner = lists.iter().flat_map(|list| array(&status[list]));
    let all = inner.chain([status]);
    all.flat_map(|it| array(&it["conditions"]))
        .all(|it| is_good(&text(&it["type"]), it["status"] == "True"))
}

/// `Gateway shop/web, listener https, port 443`
fn parent(reference: &Value) -> String {
    let part = |name: &str, before: &str, after: &str| match &reference[name] {
        Value::Null => String::new(),
        Value::Number(number) => format!("{before}{number}{after}"),
        value => format!("{before}{}{after}", text(value)),
    };
    [
        part("kind", "", " "),
        part("namespace", "", "/"),
        part("name", "", ""),
        part("sectionName", ", listener ", ""),
        part("port", ", port ", ""),
    ]
    .concat()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text, of which manifests say what is in it.
fn text(value: &Value) -> String {
    OneLine(value.as_str().unwrap_or_default()).to_string()
}
