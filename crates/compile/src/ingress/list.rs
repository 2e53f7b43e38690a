//! Every Ingress, from one compilation to the next.

use std::cmp::Ordering;
use std::sync::Arc;

use objects::Store;
use objects::kinds::Ingress;

use super::class::{self, Classes, Verdict};
use super::key;
use super::parse::{Parsed, parse};
use super::resolve::{Resolved, World, resolve, secrets, service_ports};
use crate::name::NameRef;
use crate::report::{ObjectReport, Problems};
use crate::seen::Changes;

/// Every Ingress, in the store's order.
#[derive(Debug, Default)]
pub(crate) struct Ingresses {
    entries: Vec<Entry>,
}

/// One Ingress and what was made of it.
#[derive(Debug)]
pub(crate) struct Entry {
    source: Arc<Ingress>,
    verdict: Verdict,
    /// What is served of it, if it is served.
    pub(crate) resolved: Option<Arc<Resolved>>,
    /// What is said of it; none for other controllers', and while it is out of date.
    pub(crate) report: Option<Arc<ObjectReport>>,
}

/// An Ingress that is not served as it was.
#[derive(Debug)]
pub(crate) struct Replaced {
    pub(crate) old: Option<Arc<Resolved>>,
    pub(crate) new: Option<Arc<Resolved>>,
}

/// What an update changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Those that are not served as they were.
    pub(crate) replaced: Vec<Replaced>,
    /// Whether any changed at all, served or not.
    pub(crate) any: bool,
}

impl Changed {
    fn push(&mut self, old: Option<Arc<Resolved>>, new: Option<Arc<Resolved>>) {
        self.any = true;
        if old.is_some() || new.is_some() {
            self.replaced.push(Replaced { old, new });
        }
    }
}

impl Entry {
    pub(crate) fn name(&self) -> NameRef<'_> {
        NameRef::of(&self.source.metadata)
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether the entry is reported on, and how: for those that are not served, all is said.
    fn report_unserved(
        verdict: Verdict,
        source: &Ingress,
        world: &World<'_>,
    ) -> Option<Arc<ObjectReport>> {
        matches!(verdict, Verdict::Classless | Verdict::Unknown).then(|| {
            let mut problems = Problems::of(key(source));
            class::explain(verdict, source, world.options, &mut problems);
            Arc::new(problems.into_report(false))
        })
    }
}

impl Ingresses {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The entry of an Ingress.
    pub(crate) fn entry_mut(&mut self, name: NameRef<'_>) -> Option<&mut Entry> {
        let index = self
            .entries
            .binary_search_by(|entry| entry.name().cmp(&name))
            .ok()?;
        Some(&mut self.entries[index])
    }

    /// Takes over what there is now. Whatever is the same object, and refers to the same, stays.
    pub(crate) fn update(
        &mut self,
        store: &Store,
        classes: &Classes,
        changes: &Changes,
        tls_is_stale: bool,
        world: &mut World<'_>,
    ) -> Changed {
        let anything = changes.classes
            || tls_is_stale
            || !changes.services.is_empty()
            || !changes.secrets.is_empty();
        let mut changed = Changed::default();
        let mut entries = Vec::with_capacity(self.entries.len());
        let mut former = std::mem::take(&mut self.entries).into_iter().peekable();
        for source in store.ingresses() {
            while let Some(gone) = former.next_if(|entry| is_before(&entry.source, source)) {
                changed.push(gone.resolved, None);
            }
            let old = former.next_if(|entry| {
                Arc::ptr_eq(&entry.source, source) || NameRef::of(&source.metadata) == entry.name()
            });
            let entry = match old {
                Some(old) if Arc::ptr_eq(&old.source, source) => {
                    if !anything {
                        entries.push(old);
                        continue;
                    }
                    let verdict = match changes.classes {
                        true => classes.verdict(source, world.options),
                        false => old.verdict,
                    };
                    if verdict == old.verdict && !refers_to_changed(&old, changes, tls_is_stale) {
                        entries.push(old);
                        continue;
                    }
                    let parsed = old
                        .resolved
                        .as_ref()
                        .map(|resolved| Arc::clone(&resolved.parsed));
                    let new = make(source, parsed, verdict, world);
                    changed.push(old.resolved, new.resolved.clone());
                    new
                }
                old => {
                    let verdict = classes.verdict(source, world.options);
                    let new = make(source, None, verdict, world);
                    let old = old.and_then(|old| old.resolved);
                    changed.push(old, new.resolved.clone());
                    new
                }
            };
            entries.push(entry);
        }
        for gone in former {
            changed.push(gone.resolved, None);
        }
        self.entries = entries;
        changed
    }
}

fn make(
    source: &Arc<Ingress>,
    parsed: Option<Arc<Parsed>>,
    verdict: Verdict,
    world: &mut World<'_>,
) -> Entry {
    let resolved = verdict.is_served().then(|| {
        let prefix = &world.options.annotations_prefix;
        let parsed = parsed.unwrap_or_else(|| Arc::new(parse(source, prefix)));
        Arc::new(resolve(&parsed, verdict, world))
    });
    let report = Entry::report_unserved(verdict, source, world);
    Entry {
        source: Arc::clone(source),
        verdict,
        resolved,
        report,
    }
}

fn is_before(a: &Ingress, b: &Arc<Ingress>) -> bool {
    !std::ptr::eq(a, &**b)
        && NameRef::of(&a.metadata).cmp(&NameRef::of(&b.metadata)) == Ordering::Less
}

fn refers_to_changed(entry: &Entry, changes: &Changes, tls_is_stale: bool) -> bool {
    let Some(resolved) = &entry.resolved else {
        return false;
    };
    let parsed = &resolved.parsed;
    (tls_is_stale && !parsed.tls.is_empty())
        || (!changes.services.is_empty()
            && service_ports(parsed).any(|(name, _)| changes.services.contains(&name)))
        || (!changes.secrets.is_empty()
            && secrets(parsed).any(|name| changes.secrets.contains(&name)))
}
