//! Namespaces, ServiceAccounts, and the Secrets that may be ours, as the API server has them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures_util::stream::{SelectAll, select_all};
use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Secret, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};

use super::sources::is_forbidden;
use super::table::{EVERYWHERE, Key, Table};
use super::{ENTRIES, MARK};
use crate::again::Again;
use crate::client::Connection;

/// A namespace.
#[derive(Debug, Clone, Default)]
pub(super) struct NamespaceRow {
    pub(super) labels: BTreeMap<String, String>,
    /// Whether it is going: nothing can be made in it.
    pub(super) is_ending: bool,
}

/// A ServiceAccount.
#[derive(Debug, Clone, Default)]
pub(super) struct AccountRow {
    pub(super) version: String,
    /// Its `imagePullSecrets`.
    pub(super) pulls: Vec<String>,
    /// Those that are ours.
    pub(super) ours: BTreeSet<String>,
    pub(super) is_ending: bool,
}

/// A Secret, of which no more is read than this.
#[derive(Debug, Clone, Default)]
pub(super) struct SecretRow {
    pub(super) uid: String,
    pub(super) version: String,
    /// Whether it is marked.
    pub(super) is_ours: bool,
    pub(super) is_ending: bool,
}

/// What there is.
#[derive(Default)]
pub(super) struct View {
    pub(super) namespaces: Table<NamespaceRow>,
    pub(super) accounts: Table<AccountRow>,
    /// By their names.
    pub(super) secrets: BTreeMap<String, Table<SecretRow>>,
    /// The namespaces that there are to be; none: all.
    within: Option<BTreeSet<String>>,
    /// What was last said of each watch that does not work.
    said: BTreeMap<String, String>,
    events: SelectAll<Pin<Box<dyn Stream<Item = Told> + Send>>>,
}

/// What a watch brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Secrets that have gone.
    pub(super) gone: Vec<Key>,
    /// A list of Secrets is complete: one that was written and is not in it may have gone unseen, between two watches.
    pub(super) is_list: bool,
}

enum Told {
    Namespace(Result<Event<PartialObjectMeta<Namespace>>, watcher::Error>),
    /// With the namespace that is watched, as the next one.
    Account(String, Result<Event<ServiceAccount>, watcher::Error>),
    Secret(
        (String, String),
        Result<Event<PartialObjectMeta<Secret>>, watcher::Error>,
    ),
}

impl View {
    /// With the Secrets of these names, in all namespaces; or in some, for which rights there are enough. Namespaces themselves
    /// are watched in any case.
    pub(super) fn new(
        connection: &Connection,
        names: &BTreeSet<String>,
        within: Option<&BTreeSet<String>>,
    ) -> Self {
        // Of its own: nothing that is written waits for a watch.
        let client = connection.another();
        let scopes: Vec<_> = match within {
            None => vec![EVERYWHERE.to_owned()],
            Some(namespaces) => namespaces.iter().cloned().collect(),
        };
        let namespaces = watcher(
            Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
            watcher::Config::default(),
        )
        .backoff(Again::default())
        .map(Told::Namespace)
        .boxed();
        let accounts = scopes.iter().map(|scope| {
            let api = match scope.as_str() {
                EVERYWHERE => Api::all(client.clone()),
                namespace => Api::namespaced(client.clone(), namespace),
            };
            let scope = scope.clone();
            watcher(api, watcher::Config::default())
                .backoff(Again::default())
                .map(move |event| Told::Account(scope.clone(), event))
                .boxed()
        });
        let secrets = names.iter().flat_map(|name| {
            let of = |scope: &String| (name.clone(), scope.clone());
            scopes.iter().map(of).collect::<Vec<_>>()
        });
        let secrets = secrets.map(|(name, scope)| {
            let api: Api<PartialObjectMeta<Secret>> = match scope.as_str() {
                EVERYWHERE => Api::all(client.clone()),
                namespace => Api::namespaced(client.clone(), namespace),
            };
            // A right to the Secrets of this name is enough for it.
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            watcher(api, config)
                .backoff(Again::default())
                .map(move |event| Told::Secret((name.clone(), scope.clone()), event))
                .boxed()
        });
        Self {
            accounts: Table::of(scopes.clone()),
            secrets: names
                .iter()
                .map(|name| (name.clone(), Table::of(scopes.clone())))
                .collect(),
            within: within.cloned(),
            events: select_all([namespaces].into_iter().chain(accounts).chain(secrets)),
            ..Self::default()
        }
    }

    /// Whether everything was read once.
    pub(super) fn is_complete(&self) -> bool {
        self.namespaces.is_complete()
            && self.accounts.is_complete()
            && self.secrets.values().all(Table::is_complete)
    }

    /// Waits for news, and takes it in.
    pub(super) async fn changed(&mut self) -> News {
        let Some(told) = self.events.next().await else {
            // Watches do not end; should they, there is nothing more to be told.
            return std::future::pending().await;
        };
        match told {
            Told::Namespace(Ok(event)) => {
                if self.is_within(&event) {
                    self.namespaces.take(event, namespace);
                }
                self.works("namespaces");
            }
            Told::Account(scope, Ok(event)) => {
                self.accounts.take_of(&scope, event, account);
                self.works(&of("serviceaccounts", &scope));
            }
            Told::Secret((name, scope), Ok(event)) => {
                let table = self.secrets.entry(name.clone()).or_default();
                let is_list = matches!(event, Event::InitDone);
                let gone = table.take_of(&scope, event, secret);
                self.works(&of(&format!("secrets {name}"), &scope));
                return News { gone, is_list };
            }
            Told::Namespace(Err(error)) => self.fails("namespaces", &error),
            Told::Account(scope, Err(error)) => {
                if is_refused(&scope, &error) {
                    self.accounts.give_up_of(&scope);
                }
                self.fails(&of("serviceaccounts", &scope), &error);
            }
            Told::Secret((name, scope), Err(error)) => {
                if is_refused(&scope, &error)
                    && let Some(table) = self.secrets.get_mut(&name)
                {
                    table.give_up_of(&scope);
                }
                self.fails(&of(&format!("secrets {name}"), &scope), &error);
            }
        }
        News::default()
    }

    /// Whether a Secret of that name is there.
    pub(super) fn has_secret(&self, key: &Key) -> bool {
        let table = self.secrets.get(&key.1);
        table.is_some_and(|table| table.get(key).is_some())
    }

    fn is_within(&self, event: &Event<PartialObjectMeta<Namespace>>) -> bool {
        let (Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = event
        else {
            return true;
        };
        let within = self.within.as_ref();
        within.is_none_or(|it| it.contains(&object.name_any()))
    }

    fn works(&mut self, what: &str) {
        if self.said.remove(what).is_some() {
            tracing::info!("pull secrets: {what} can be watched again");
        }
    }

    fn fails(&mut self, what: &str, error: &watcher::Error) {
        let error = error.to_string();
        if self.said.get(what) != Some(&error) {
            tracing::warn!("pull secrets: {what} cannot be watched: {error}");
            self.said.insert(what.to_owned(), error);
        }
    }
}

/// What is watched where, for people.
fn of(what: &str, scope: &str) -> String {
    match scope {
        EVERYWHERE => what.to_owned(),
        namespace => format!("{what} of the namespace {namespace}"),
    }
}

/// Whether the rights in one of several namespaces are missing, which keeps nothing from the others.
fn is_refused(scope: &str, error: &watcher::Error) -> bool {
    scope != EVERYWHERE && is_forbidden(error)
}

fn namespace(object: PartialObjectMeta<Namespace>) -> (Key, NamespaceRow) {
    let row = NamespaceRow {
        labels: object.labels().clone(),
        is_ending: object.metadata.deletion_timestamp.is_some(),
    };
    ((String::new(), object.name_any()), row)
}

fn account(object: ServiceAccount) -> (Key, AccountRow) {
    let ours = object.annotations().get(ENTRIES);
    let ours = ours.iter().flat_map(|text| text.split(','));
    let row = AccountRow {
        version: object.resource_version().unwrap_or_default(),
        ours: ours
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        is_ending: object.metadata.deletion_timestamp.is_some(),
        pulls: {
            let pulls = object.image_pull_secrets.iter().flatten();
            pulls.map(|one| one.name.clone()).collect()
        },
    };
    (
        (object.namespace().unwrap_or_default(), object.name_any()),
        row,
    )
}

fn secret(object: PartialObjectMeta<Secret>) -> (Key, SecretRow) {
    let row = SecretRow {
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        is_ours: object
            .labels()
            .get(MARK)
            .is_some_and(|value| value == "true"),
        is_ending: object.metadata.deletion_timestamp.is_some(),
    };
    (
        (object.namespace().unwrap_or_default(), object.name_any()),
        row,
    )
}
