//! What is to be written: no clock, no network.

use std::collections::{BTreeMap, BTreeSet};

use registry::creds::Hidden;

use super::Wanted;
use super::table::{Key, Table};
use super::view::{AccountRow, SecretRow, View};

/// Something to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// A Secret.
    Apply {
        key: Key,
        content: Hidden,
        /// The version that the view knew.
        base: Option<String>,
        /// The version that is replaced; none where there is no Secret.
        version: Option<String>,
    },
    /// The `imagePullSecrets` of a ServiceAccount, and which of them are ours.
    Link {
        key: Key,
        version: String,
        pulls: Vec<String>,
        ours: BTreeSet<String>,
    },
    /// A Secret is no longer wanted.
    Delete {
        key: Key,
        uid: String,
        version: String,
    },
}

impl Action {
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Apply { .. } | Self::Delete { .. } => "Secret",
            Self::Link { .. } => "ServiceAccount",
        }
    }

    /// On what, for people.
    pub(super) fn object(&self) -> String {
        let (Self::Apply { key, .. } | Self::Link { key, .. } | Self::Delete { key, .. }) = self;
        format!("{} {}/{}", self.kind(), key.0, key.1)
    }
}

/// A Secret as it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) content: Hidden,
    /// The version before it, as the view had it: which it may have for a moment yet.
    pub(super) base: Option<String>,
    pub(super) version: String,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) actions: Vec<Action>,
    /// Secrets that are in the way.
    pub(super) foreign: BTreeSet<Key>,
    /// In how many namespaces each Secret is, as it is wanted there; or is at all, where that is not known.
    pub(super) namespaces: BTreeMap<String, usize>,
}

/// Compares what is wanted with what there is.
pub(super) fn plan(wanted: &[Wanted], view: &View, applied: &BTreeMap<Key, Applied>) -> Plan {
    let mut plan = Plan::default();
    for one in wanted {
        let mut count = 0;
        if one.is_held {
            let rows = view.secrets.get(&one.secret).into_iter();
            count = rows
                .flat_map(Table::iter)
                .filter(|(_, row)| row.is_ours)
                .count();
            plan.namespaces.insert(one.secret.clone(), count);
            continue;
        }
        for ((_, namespace), row) in view.namespaces.iter() {
            if row.is_ending || !one.places.has(namespace, &row.labels) {
                continue;
            }
            let key = (namespace.clone(), one.secret.clone());
            match secret(view, &key) {
                Some(there) if !there.is_ours => {
                    plan.foreign.insert(key);
                    continue;
                }
                // When it has gone, there will be another.
                Some(there) if there.is_ending => continue,
                there => {
                    if there.is_some() || applied.contains_key(&key) {
                        count += 1;
                    }
                    plan.actions.extend(apply(one, key, there, applied));
                }
            }
        }
        plan.namespaces.insert(one.secret.clone(), count);
    }
    for (key, row) in view.accounts.iter() {
        plan.actions.extend(link(wanted, view, key, row));
    }
    for table in view.secrets.values() {
        for (key, row) in table.iter() {
            let stays = |one: &Wanted| one.is_held || has(one, view, &key.0);
            let is_wanted = wanted.iter().any(|one| one.secret == key.1 && stays(one));
            if row.is_ours && !row.is_ending && !is_wanted && is_open(view, &key.0) {
                plan.actions.push(Action::Delete {
                    key: key.clone(),
                    uid: row.uid.clone(),
                    version: row.version.clone(),
                });
            }
        }
    }
    plan
}

fn secret<'a>(view: &'a View, key: &Key) -> Option<&'a SecretRow> {
    view.secrets.get(&key.1)?.get(key)
}

/// Whether a namespace is there, and not going.
fn is_open(view: &View, namespace: &str) -> bool {
    let row = view.namespaces.get(&(String::new(), namespace.to_owned()));
    row.is_some_and(|row| !row.is_ending)
}

fn has(one: &Wanted, view: &View, namespace: &str) -> bool {
    let row = view.namespaces.get(&(String::new(), namespace.to_owned()));
    row.is_some_and(|row| one.places.has(namespace, &row.labels))
}

fn apply(
    one: &Wanted,
    key: Key,
    there: Option<&SecretRow>,
    applied: &BTreeMap<Key, Applied>,
) -> Option<Action> {
    let content = one.content.clone()?;
    let base = there.map(|row| row.version.clone());
    let last = applied.get(&key);
    // What was written last may not be seen yet.
    let is_behind = last.is_some_and(|last| last.base == base);
    let version = match last {
        Some(last) if is_behind => Some(last.version.clone()),
        _ => base.clone(),
    };
    let is_same =
        last.is_some_and(|last| last.content == content && version.as_ref() == Some(&last.version));
    (!is_same).then_some(Action::Apply {
        key,
        content,
        base,
        version,
    })
}

fn link(wanted: &[Wanted], view: &View, key: &Key, row: &AccountRow) -> Option<Action> {
    let (namespace, account) = key;
    if row.is_ending || !is_open(view, namespace) {
        return None;
    }
    let is_linked = |one: &&Wanted| {
        let there = secret(view, &(namespace.clone(), one.secret.clone()));
        !one.is_held
            && one.places.accounts.has(account)
            && has(one, view, namespace)
            && match there {
                Some(there) => there.is_ours,
                None => one.content.is_some(),
            }
    };
    let desired: BTreeSet<_> = wanted
        .iter()
        .filter(is_linked)
        .map(|one| one.secret.clone())
        .collect();
    let is_held = |name: &String| wanted.iter().any(|one| one.is_held && one.secret == *name);
    let stays = |name: &String| desired.contains(name) || is_held(name);
    let mut pulls = row.pulls.clone();
    pulls.retain(|name| stays(name) || !row.ours.contains(name));
    let mut ours = row.ours.clone();
    ours.retain(stays);
    for name in desired {
        if !pulls.contains(&name) {
            pulls.push(name.clone());
            ours.insert(name);
        }
    }
    (pulls != row.pulls || ours != row.ours).then(|| Action::Link {
        key: key.clone(),
        version: row.version.clone(),
        pulls,
        ours,
    })
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use registry::creds::{Names, Places};

    use super::super::view::NamespaceRow;
    use super::*;

    /// `Secrets` of this name are watched; namespaces `a`, `b` and `kube-system` are there, each with an account.
    fn view(secret: &str) -> View {
        let mut view = View::default();
        for name in ["a", "b", "kube-system"] {
            let key = (String::new(), name.to_owned());
            let row = NamespaceRow::default();
            view.namespaces
                .take(Event::Apply(()), |()| (key.clone(), row.clone()));
            set_account(&mut view, name, &[], &[]);
        }
        view.secrets.insert(secret.to_owned(), Default::default());
        view
    }

    fn set_account(view: &mut View, namespace: &str, pulls: &[&str], ours: &[&str]) {
        let key = (namespace.to_owned(), "default".to_owned());
        let row = AccountRow {
            version: "7".to_owned(),
            pulls: pulls.iter().map(|it| (*it).to_owned()).collect(),
            ours: ours.iter().map(|it| (*it).to_owned()).collect(),
            is_ending: false,
        };
        view.accounts
            .take(Event::Apply(()), |()| (key.clone(), row.clone()));
    }

    fn set_secret(view: &mut View, namespace: &str, name: &str, is_ours: bool, version: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let row = SecretRow {
            uid: "u".to_owned(),
            version: version.to_owned(),
            is_ours,
            is_ending: false,
        };
        let table = view.secrets.get_mut(name).expect("watched");
        table.take(Event::Apply(()), |()| (key.clone(), row.clone()));
    }

    fn wanted(content: Option<&str>) -> Vec<Wanted> {
        vec![Wanted {
            secret: "s".to_owned(),
            places: Places::default(),
            content: content.map(Hidden::new),
            is_held: false,
        }]
    }

    fn said(plan: &Plan) -> Vec<String> {
        let said = plan.actions.iter().map(|action| {
            let what = match action {
                Action::Apply { .. } => "apply",
                Action::Link { .. } => "link",
                Action::Delete { .. } => "delete",
            };
            format!("{what} {}/{}", action_key(action).0, action_key(action).1)
        });
        said.collect()
    }

    fn action_key(action: &Action) -> &Key {
        let (Action::Apply { key, .. } | Action::Link { key, .. } | Action::Delete { key, .. }) =
            action;
        key
    }

    #[test]
    fn every_namespace_but_kube_system_gets_it_and_its_account_names_it() {
        let made = plan(&wanted(Some("c")), &view("s"), &BTreeMap::new());
        let expected = ["apply a/s", "apply b/s", "link a/default", "link b/default"];
        assert_eq!(said(&made), expected);
        assert_eq!(made.namespaces["s"], 0, "nothing is written yet");
        let applied = Applied {
            content: Hidden::new("c"),
            base: None,
            version: "5".to_owned(),
        };
        let key = ("a".to_owned(), "s".to_owned());
        let made = plan(
            &wanted(Some("c")),
            &view("s"),
            &BTreeMap::from([(key, applied)]),
        );
        assert_eq!(made.namespaces["s"], 1);
    }

    #[test]
    fn what_is_not_known_yet_leaves_everything_as_it_is() {
        let mut view = view("s");
        set_secret(&mut view, "a", "s", true, "1");
        set_account(&mut view, "a", &["s"], &["s"]);
        let made = plan(&wanted(None), &view, &BTreeMap::new());
        assert_eq!(said(&made), [""; 0]);
    }

    #[test]
    fn what_is_written_is_not_written_again_until_it_is_changed() {
        let mut view = view("s");
        let applied = |base: Option<&str>| {
            let all = ["a", "b"].map(|namespace| {
                let applied = Applied {
                    content: Hidden::new("c"),
                    base: base.map(str::to_owned),
                    version: "5".to_owned(),
                };
                ((namespace.to_owned(), "s".to_owned()), applied)
            });
            BTreeMap::from(all)
        };
        let applies = |view: &View, content: &str, applied| {
            let made = plan(&wanted(Some(content)), view, &applied);
            let versions = made.actions.into_iter().filter_map(|action| match action {
                Action::Apply { version, .. } => Some(version),
                _ => None,
            });
            versions.collect::<Vec<_>>()
        };
        // Not seen yet, then seen.
        assert_eq!(applies(&view, "c", applied(None)), []);
        let five = Some("5".to_owned());
        assert_eq!(
            applies(&view, "d", applied(None)),
            [five.clone(), five.clone()]
        );
        for namespace in ["a", "b"] {
            set_secret(&mut view, namespace, "s", true, "5");
        }
        assert_eq!(applies(&view, "c", applied(None)), []);
        assert_eq!(
            applies(&view, "d", applied(Some("3"))),
            [five.clone(), five]
        );
        // Somebody else was there.
        set_secret(&mut view, "a", "s", true, "9");
        assert_eq!(applies(&view, "c", applied(None)), [Some("9".to_owned())]);
    }

    #[test]
    fn what_is_not_ours_is_left_alone_and_said() {
        let mut view = view("s");
        set_secret(&mut view, "a", "s", false, "1");
        set_secret(&mut view, "kube-system", "s", false, "1");
        let made = plan(&wanted(Some("c")), &view, &BTreeMap::new());
        assert_eq!(said(&made), ["apply b/s", "link b/default"]);
        let key = ("a".to_owned(), "s".to_owned());
        assert_eq!(made.foreign, BTreeSet::from([key]));
        let made = plan(&[], &view, &BTreeMap::new());
        assert_eq!(said(&made), [""; 0]);
    }

    #[test]
    fn what_is_held_stays_where_it_is_and_goes_nowhere_else() {
        let mut view = view("s");
        set_secret(&mut view, "a", "s", true, "1");
        set_account(&mut view, "a", &["s"], &["s"]);
        set_secret(&mut view, "kube-system", "s", true, "1");
        let mut held = wanted(Some("c"));
        held[0].is_held = true;
        assert_eq!(said(&plan(&held, &view, &BTreeMap::new())), [""; 0]);
    }

    #[test]
    fn what_is_no_longer_wanted_is_taken_away_and_nothing_else_is() {
        let mut view = view("s");
        set_secret(&mut view, "a", "s", true, "1");
        set_secret(&mut view, "kube-system", "s", true, "1");
        set_account(&mut view, "a", &["mine", "s"], &["s"]);
        // Named by somebody else, before us.
        set_account(&mut view, "b", &["s"], &[]);
        let made = plan(&[], &view, &BTreeMap::new());
        let expected = ["link a/default", "delete a/s", "delete kube-system/s"];
        assert_eq!(said(&made), expected);
        let Action::Link { pulls, ours, .. } = &made.actions[0] else {
            panic!("a link");
        };
        assert_eq!(
            (pulls.as_slice(), ours.len()),
            (["mine".to_owned()].as_slice(), 0)
        );
    }

    #[test]
    fn other_entries_and_other_accounts_stay_as_they_are() {
        let mut view = view("s");
        for namespace in ["a", "b"] {
            set_secret(&mut view, namespace, "s", true, "1");
        }
        set_account(&mut view, "a", &["mine"], &[]);
        set_account(&mut view, "b", &["s", "mine"], &[]);
        let made = plan(&wanted(None), &view, &BTreeMap::new());
        assert_eq!(said(&made), ["link a/default"]);
        let Action::Link { pulls, .. } = &made.actions[0] else {
            panic!("a link");
        };
        assert_eq!(pulls, &["mine", "s"]);
        let mut others = wanted(None);
        others[0].places.accounts = Names(vec!["builder".to_owned()]);
        assert_eq!(said(&plan(&others, &view, &BTreeMap::new())), [""; 0]);
    }

    #[test]
    fn a_namespace_that_is_going_is_left_alone() {
        let mut view = view("s");
        set_secret(&mut view, "a", "s", true, "1");
        let ending = NamespaceRow {
            is_ending: true,
            ..NamespaceRow::default()
        };
        let key = (String::new(), "a".to_owned());
        view.namespaces
            .take(Event::Apply(()), |()| (key.clone(), ending.clone()));
        let made = plan(&wanted(Some("c")), &view, &BTreeMap::new());
        assert_eq!(said(&made), ["apply b/s", "link b/default"]);
        assert_eq!(said(&plan(&[], &view, &BTreeMap::new())), [""; 0]);
    }
}
