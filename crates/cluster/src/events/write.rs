//! One Event, written.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use objects::kinds::{Kind, ObjectKey};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

use super::note::{self, Note};
use crate::MANAGER;
use crate::status::{Budget, backoff};

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(4);

/// How often a note is tried.
const ATTEMPTS: u32 = 5;

/// What reports them, to Kubernetes.
const CONTROLLER: &str = "narthex.dev/ingress";

/// Writes Events.
pub(crate) struct Writer {
    client: Client,
    /// Who reports them: this replica.
    instance: String,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// What became of an attempt.
enum Attempt {
    Done,
    /// The object has gone, or the API server will not have it.
    Dropped(String),
    /// To be tried again.
    Failed(String),
    NotLeader,
}

impl Writer {
    /// As the replica of that name.
    pub(crate) fn new(client: Client, replica: &str) -> Self {
        Self {
            client,
            instance: note::cut(replica, 128),
        }
    }

    /// Tells it, while it `may` be told, or gives it up after some attempts. What became of each is
    /// counted.
    pub(crate) async fn tell(
        &self,
        note: &Note,
        budget: &Budget,
        may: impl Fn() -> bool,
        count: impl Fn(&'static str),
    ) {
        for failures in 1..=ATTEMPTS {
            while let Err(at) = budget.take(Instant::now()) {
                sleep_until(at).await;
            }
            let attempt = timeout(REQUEST, self.attempt(note, &may)).await;
            let attempt = attempt.unwrap_or_else(|_| Attempt::Failed("no answer in time".into()));
            let result = match &attempt {
                Attempt::Done => "ok",
                Attempt::Dropped(_) => "dropped",
                Attempt::Failed(_) => "error",
                Attempt::NotLeader => "not_leader",
            };
            count(result);
            match attempt {
                Attempt::Done | Attempt::NotLeader => return,
                Attempt::Dropped(reason) => {
                    tracing::debug!("no Event on {}: {reason}", note.object);
                    return;
                }
                Attempt::Failed(reason) => {
                    tracing::debug!("an Event on {}: {reason}", note.object);
                    tokio::time::sleep(backoff(failures)).await;
                }
            }
        }
        tracing::warn!("an Event on {} could not be written", note.object);
    }

    async fn attempt(&self, note: &Note, may: impl Fn() -> bool) -> Attempt {
        let uid = match self.uid(&note.object).await {
            Ok(uid) => uid,
            Err(attempt) => return attempt,
        };
        let event = self.event(note, uid);
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        if !may() {
            return Attempt::NotLeader;
        }
        match events.create(&PostParams::default(), &event).await {
            Ok(_) => Attempt::Done,
            Err(kube::Error::Api(status)) if status.code == 409 => match note.times {
                // It stands, and was told: by the leader before us.
                1 => Attempt::Done,
                times => self.count(&events, &event, times).await,
            },
            Err(error) => failed(error),
        }
    }

    /// What was solved and is there again.
    async fn count(&self, events: &Api<Event>, event: &Event, times: i32) -> Attempt {
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let series = EventSeries {
            count: times,
            last_observed_time: MicroTime(Timestamp::now()),
        };
        let patch = Patch::Merge(json!({"series": series}));
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match events.patch(name, &parameters, &patch).await {
            Ok(_) => Attempt::Done,
            Err(error) => failed(error),
        }
    }

    /// `kubectl describe` finds an object's Events by its uid. That of a Secret is not asked for:
    /// nothing of a Secret's is read that need not be.
    async fn uid(&self, key: &ObjectKey) -> Result<Option<String>, Attempt> {
        if key.kind == Kind::Secret {
            return Ok(None);
        }
        let api_version = key.kind.api_version();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, key.kind.name()));
        let api: Api<DynamicObject> = if key.kind.namespaced() {
            Api::namespaced_with(self.client.clone(), &key.namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        };
        match api.get_metadata_opt(&key.name).await {
            Ok(Some(object)) => Ok(object.metadata.uid),
            Ok(None) => Err(Attempt::Dropped("it has gone".to_owned())),
            // Told all the same, though not as easily found.
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn event(&self, note: &Note, uid: Option<String>) -> Event {
        let key = &note.object;
        // Events on objects without a namespace are kept in this one, as Kubernetes does.
        let namespace = match &*key.namespace {
            "" => "default",
            namespace => namespace,
        };
        Event {
            metadata: ObjectMeta {
                name: Some(note.name(uid.as_deref().unwrap_or_default())),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(note.action.to_owned()),
            reason: Some(note.reason.to_owned()),
            note: Some(note.text.clone()),
            type_: Some(note.kind.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(key.kind.api_version().to_owned()),
                kind: Some(key.kind.name().to_owned()),
                namespace: Some(key.namespace.to_string()).filter(|it| !it.is_empty()),
                name: Some(key.name.to_string()),
                uid,
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

fn failed(error: kube::Error) -> Attempt {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400..=428 | 430..=499) => {
            Attempt::Dropped(status.message)
        }
        error => Attempt::Failed(error.to_string()),
    }
}
