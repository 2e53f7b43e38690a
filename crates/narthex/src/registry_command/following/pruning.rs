//! Tags that lists brought and no longer name.

use std::collections::HashSet;

use futures_util::TryStreamExt as _;
use registry::store::{Result, Store, TakenBack};
use registry::sync::Plan;

use crate::check::plural;
use crate::flags::registry::Prune;

/// How many names a line of the log has.
const SHOWN: usize = 20;

/// What a round does of it.
#[derive(Debug)]
pub(super) enum Pruning {
    Not,
    /// Nothing, for this reason.
    Kept(String),
    /// What is not among these.
    But {
        wanted: HashSet<String>,
        say_only: bool,
    },
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pruned {
    pub(super) count: u64,
    /// What people should know.
    pub(super) said: Option<String>,
}

impl Pruning {
    /// Of a round over all lists. Where an entry means nothing, everything stays.
    pub(super) fn of(plan: &Plan, prune: Prune) -> Self {
        if prune == Prune::Off {
            return Self::Not;
        }
        if let Some(name) = plan.without.first() {
            return kept(&format!("{name} has none of the tags that are asked for"));
        }
        if plan.items.is_empty() && plan.failed.is_empty() {
            return kept("the lists name no image");
        }
        Self::But {
            wanted: plan.items.iter().map(|item| item.goes_to()).collect(),
            say_only: prune == Prune::Tell,
        }
    }

    /// Nothing, if this is `missing` of what the lists name: what takes another's place comes first.
    pub(super) fn unless(self, missing: Option<&String>) -> Self {
        match (self, missing) {
            (Self::But { .. }, Some(name)) => kept(&format!("{name} is not brought")),
            (pruning, _) => pruning,
        }
    }

    /// Takes away what is not wanted.
    pub(super) async fn prune(self, store: &Store) -> Pruned {
        let (wanted, say_only) = match self {
            Self::Not => return Pruned::default(),
            Self::Kept(why) => {
                return Pruned {
                    count: 0,
                    said: Some(why),
                };
            }
            Self::But { wanted, say_only } => (wanted, say_only),
        };
        let mut gone = Vec::new();
        let done = take_back(store, &wanted, say_only, &mut gone).await;
        let failed = done
            .err()
            .map(|error| format!("tags that the lists no longer name stay for now: {error}"));
        let would = match say_only && !gone.is_empty() {
            true => Some(would(&mut gone)),
            false => None,
        };
        Pruned {
            count: if say_only { 0 } else { gone.len() as u64 },
            said: failed.or(would),
        }
    }
}

fn kept(why: &str) -> Pruning {
    Pruning::Kept(format!(
        "tags that the lists no longer name stay for now: {why}"
    ))
}

async fn take_back(
    store: &Store,
    wanted: &HashSet<String>,
    say_only: bool,
    gone: &mut Vec<String>,
) -> Result<()> {
    let mut brought = store.brought();
    let mut unwanted = Vec::new();
    while let Some((name, tag)) = brought.try_next().await? {
        if !wanted.contains(&format!("{name}:{}", tag.as_str())) {
            unwanted.push((name, tag));
        }
    }
    drop(brought);
    for (name, tag) in unwanted {
        let image = format!("{name}:{}", tag.as_str());
        match store.take_back(&name, &tag, say_only).await? {
            TakenBack::Yes => {
                if !say_only {
                    tracing::info!("{image} leaves: no list names it any more");
                }
                gone.push(image);
            }
            TakenBack::Theirs if say_only => {}
            TakenBack::Theirs => {
                tracing::info!("{image} stays: somebody has changed what a list brought");
            }
        }
    }
    Ok(())
}

fn would(gone: &mut [String]) -> String {
    gone.sort_unstable();
    let shown = gone[..gone.len().min(SHOWN)].join(", ");
    let more = match gone.len() > SHOWN {
        true => ", …",
        false => "",
    };
    let tags = plural(gone.len(), "tag");
    format!("{tags} that no list names would leave with --sync-prune=on: {shown}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lists_mean_is_known_before_anything_leaves() {
        assert!(matches!(
            Pruning::of(&Plan::default(), Prune::Off),
            Pruning::Not
        ));
        assert!(matches!(
            Pruning::of(&Plan::default(), Prune::On),
            Pruning::Kept(_)
        ));
        let but = || Pruning::But {
            wanted: HashSet::new(),
            say_only: false,
        };
        assert!(matches!(but().unless(None), Pruning::But { .. }));
        let missing = "a:1".to_owned();
        match but().unless(Some(&missing)) {
            Pruning::Kept(why) => assert!(why.contains("a:1"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(Pruning::Not.unless(Some(&missing)), Pruning::Not));
    }

    #[test]
    fn a_line_of_the_log_has_an_end() {
        let mut few = ["b:1".to_owned(), "a:1".to_owned()];
        assert!(would(&mut few).ends_with(": a:1, b:1"));
        let mut many: Vec<_> = (0..100).map(|number| format!("a:{number}")).collect();
        let said = would(&mut many);
        assert!(said.ends_with(", …") && said.len() < 300, "{said}");
    }
}
