//! The ConfigMap `local-registry-hosting` in `kube-public`, by which tools find a cluster's registry (KEP-1755).

use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{Connection, chain};
use crate::clock::Moment;
use crate::{MANAGER, Timestamp, again};

/// The ConfigMap's name and namespace, which the KEP fixes.
const NAME: &str = "local-registry-hosting";
const NAMESPACE: &str = "kube-public";

/// The key of what is told.
const KEY: &str = "localRegistryHosting.v1";

/// The label of one that was written here; its value is `true`. Without it, it is somebody else's.
const MARK: &str = "narthex.dev/local-registry";

/// The annotations that say which process keeps it, and when that last said so.
const KEPT_BY: &str = "narthex.dev/local-registry-kept-by";
const KEPT_AT: &str = "narthex.dev/local-registry-kept-at";

/// How often the process that keeps it says so.
const RENEW: Duration = Duration::from_mins(1);

/// How long one that says nothing more is waited for by another.
const GONE: Duration = Duration::from_mins(3);

/// How often it is looked at whether it is still as it should be.
const LOOK: Duration = Duration::from_secs(30);

/// The first wait after a failure; it grows up to [`LOOK`].
const FIRST: Duration = Duration::from_secs(1);

/// How long a round may take.
const REQUEST: Duration = Duration::from_secs(5);

/// How long it may take at the end.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// What tools are told of a registry. Hosts have no scheme: `localhost:5000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRegistry {
    /// Where tools outside of the cluster reach it.
    pub host: String,
    /// Where nodes reach it, if that is not `host`.
    pub from_nodes: Option<String>,
    /// Where pods reach it, if that is not `host`.
    pub from_pods: Option<String>,
    /// A URL that tells people how to set it up.
    pub help: String,
}

impl LocalRegistry {
    /// The ConfigMap as a manifest, to be applied by anybody.
    pub fn manifest(&self) -> String {
        let mut text = format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {NAME}\n  namespace: {NAMESPACE}\n\
             data:\n  {KEY}: |\n"
        );
        for line in self.text().lines() {
            let _ = writeln!(text, "    {line}");
        }
        text
    }

    /// `LocalRegistryHostingV1`, in YAML.
    fn text(&self) -> String {
        let fields = [
            ("host", Some(&self.host)),
            ("hostFromContainerRuntime", self.from_nodes.as_ref()),
            ("hostFromClusterNetwork", self.from_pods.as_ref()),
            ("help", Some(&self.help)),
        ];
        let mut text = String::new();
        for (name, value) in fields {
            if let Some(value) = value {
                // JSON's texts are YAML's, too.
                let _ = writeln!(text, "{name}: {}", json!(value));
            }
        }
        text
    }

    /// Keeps it as it is to be, by server-side apply, until `end` is over, and gives it back then. One of somebody else
    /// is left alone, and so is one that another Narthex keeps, until that has given it back or has not been heard of
    /// for three minutes: the log says so once. Takes the rights to get, create and patch the ConfigMap of this name.
    pub async fn publish(self, connection: Connection, end: impl Future<Output = ()>) {
        let maps = Api::namespaced(connection.another(), NAMESPACE);
        let mut keeper = Keeper::new(self, identity());
        tokio::pin!(end);
        let mut failures = 0;
        let mut said = None;
        loop {
            let done = tokio::select! {
                done = timeout(REQUEST, keeper.round(&maps)) => done,
                () = &mut end => break,
            };
            let done = match done {
                Ok(Ok(state)) => Ok(state),
                Ok(Err(kube::Error::Api(status))) => Err(status.message),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err("the API server does not answer in time".to_owned()),
            };
            let wait = match &done {
                Ok(_) => LOOK,
                Err(_) => again::doubled(FIRST, LOOK, failures),
            };
            failures = if done.is_ok() { 0 } else { failures + 1 };
            if said.as_ref() != Some(&done) {
                keeper.say(&done);
                said = Some(done);
            }
            if timeout(wait, &mut end).await.is_ok() {
                break;
            }
        }
        match timeout(GIVE_BACK, keeper.give_back(&maps)).await {
            Ok(Ok(())) => {}
            // The next one waits until it has not heard of us for long enough.
            Ok(Err(error)) => tracing::debug!("{NAME} is not given back: {error}"),
            Err(_) => tracing::debug!("{NAME} is not given back in time"),
        }
    }
}

/// One that keeps the ConfigMap, or would.
#[derive(Debug)]
struct Keeper {
    registry: LocalRegistry,
    /// What others know us by.
    identity: String,
    /// When we last said that we keep it, if we do.
    renewed: Option<Moment>,
    /// What another has said of that, and when we first saw it say so.
    heard: Option<([Option<String>; 2], Moment)>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Write,
    Leave(State),
}

/// What has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Published,
    /// Somebody else's, that says the same.
    Same,
    /// Somebody else's.
    Foreign,
    /// Another Narthex keeps it, and says the same.
    Shared,
    /// Another Narthex, of this name, keeps it.
    Kept(String),
}

impl Keeper {
    fn new(registry: LocalRegistry, identity: String) -> Self {
        Self {
            registry,
            identity,
            renewed: None,
            heard: None,
        }
    }

    fn say(&self, done: &Result<State, String>) {
        let place = format!("ConfigMap {NAMESPACE}/{NAME}");
        let host = &self.registry.host;
        match done {
            Ok(State::Published) => tracing::info!("{place} tells tools of {host}"),
            Ok(State::Same) => tracing::info!("{place} of somebody else says the same"),
            Ok(State::Shared) => {
                tracing::info!("{place} is kept by another Narthex and tells tools of {host}")
            }
            Ok(State::Foreign) => tracing::warn!(
                "{place} exists and was not made by Narthex, so that it is left alone: delete it, or \
                 label it {MARK}=true, so that it may be overwritten"
            ),
            Ok(State::Kept(other)) => tracing::warn!(
                "{place} is kept by {other} and tells tools of another registry than {host}: it is left alone until \
                 that one has ended; a cluster has one such registry, so give --hosting to one of them"
            ),
            Err(why) => tracing::warn!("{place} is not written: {why}"),
        }
    }

    async fn round(&mut self, maps: &Api<ConfigMap>) -> kube::Result<State> {
        // Whoever writes it at the same time is seen the second time.
        for is_last in [false, true] {
            let found = maps.get_opt(NAME).await?;
            let now = Moment::now();
            if let Step::Leave(state) = self.step(found.as_ref(), now) {
                return Ok(state);
            }
            let kept = json!({KEPT_BY: self.identity, KEPT_AT: Timestamp::now().to_string()});
            match self.write(maps, found.as_ref(), &kept).await {
                Ok(()) => {
                    self.renewed = Some(now);
                    return Ok(State::Published);
                }
                Err(kube::Error::Api(status)) if status.code == 409 && !is_last => {}
                Err(error) => return Err(error),
            }
        }
        unreachable!("the second time is the last")
    }

    /// What the ConfigMap calls for, as it is `now`.
    fn step(&mut self, map: Option<&ConfigMap>, now: Moment) -> Step {
        let Some(map) = map else {
            return Step::Write;
        };
        let is_ours = map.labels().get(MARK).is_some_and(|it| it == "true");
        let told = map.data.as_ref().and_then(|it| it.get(KEY));
        let says = told == Some(&self.registry.text());
        if !is_ours {
            return Step::Leave(if says { State::Same } else { State::Foreign });
        }
        let kept = [KEPT_BY, KEPT_AT].map(|name| map.annotations().get(name).cloned());
        let other = match &kept[0] {
            Some(by) if *by == self.identity => {
                let is_due = |it: Moment| now.since(it) >= RENEW;
                return match says && !self.renewed.is_none_or(is_due) {
                    true => Step::Leave(State::Published),
                    false => Step::Write,
                };
            }
            Some(by) if !by.is_empty() => by.clone(),
            _ => return Step::Write,
        };
        self.renewed = None;
        // By our own clock alone: theirs may be another one.
        let since = match &self.heard {
            Some((heard, since)) if *heard == kept => *since,
            _ => now,
        };
        self.heard = Some((kept, since));
        match now.since(since) >= GONE {
            true => Step::Write,
            false if says => Step::Leave(State::Shared),
            false => Step::Leave(State::Kept(other)),
        }
    }

    /// Writes it, if it is still the one that was found.
    async fn write(
        &self,
        maps: &Api<ConfigMap>,
        found: Option<&ConfigMap>,
        annotations: &Value,
    ) -> kube::Result<()> {
        let mut parameters = PatchParams::apply(MANAGER);
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": NAMESPACE,
                "labels": {MARK: "true"},
                "annotations": annotations,
            },
            "data": {KEY: self.registry.text()},
        });
        if let Some(map) = found {
            // It is the one that was seen to be ours. Where there was none, somebody may make one: then their fields
            // are in the way, and stay.
            parameters.force = true;
            object["metadata"]["resourceVersion"] = map.resource_version().into();
        }
        let patch = Patch::Apply(&object);
        maps.patch(NAME, &parameters, &patch).await.map(drop)
    }

    /// Lets the next one have it at once.
    async fn give_back(&self, maps: &Api<ConfigMap>) -> kube::Result<()> {
        if self.renewed.is_none() {
            return Ok(());
        }
        let found = maps.get_opt(NAME).await?;
        let by = |map: &ConfigMap| map.annotations().get(KEPT_BY) == Some(&self.identity);
        match &found {
            // What we do not say any more is taken away.
            Some(map) if by(map) => self.write(maps, found.as_ref(), &json!({})).await,
            _ => Ok(()),
        }
    }
}

/// Of this process, for people as well.
fn identity() -> String {
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    format!("{machine}_{:08x}", fastrand::u32(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_map_is_the_keps() {
        let registry = LocalRegistry {
            host: "localhost:5000".to_owned(),
            from_nodes: Some("registry:5000".to_owned()),
            from_pods: None,
            help: "https://example.com/?a=\"b\"".to_owned(),
        };
        let read = objects::tree::Node::parse(&registry.manifest(), 1).expect("YAML");
        let read: Value = read.to_json();
        assert_eq!(read["metadata"]["namespace"], "kube-public");
        let inner = read["data"][KEY].as_str().expect("a text");
        assert_eq!(inner, registry.text());
        let inner = objects::tree::Node::parse(inner, 1).expect("YAML");
        let inner = inner.to_json();
        assert_eq!(inner["host"], "localhost:5000");
        assert_eq!(inner["hostFromContainerRuntime"], "registry:5000");
        assert_eq!(inner["help"], "https://example.com/?a=\"b\"");
        assert!(inner["hostFromClusterNetwork"].is_null());
    }

    fn keeper(identity: &str, host: &str) -> Keeper {
        let registry = LocalRegistry {
            host: host.to_owned(),
            from_nodes: None,
            from_pods: None,
            help: "https://example.com/".to_owned(),
        };
        Keeper::new(registry, identity.to_owned())
    }

    /// As a keeper writes it.
    fn written(by: &mut Keeper, at: &str, now: Moment) -> ConfigMap {
        by.renewed = Some(now);
        let map = json!({
            "metadata": {
                "labels": {MARK: "true"},
                "annotations": {KEPT_BY: by.identity, KEPT_AT: at},
            },
            "data": {KEY: by.registry.text()},
        });
        serde_json::from_value(map).expect("a ConfigMap")
    }

    #[test]
    fn whoever_keeps_it_is_left_alone_while_it_is_heard_of() {
        let at = |seconds| Moment::default() + Duration::from_secs(seconds);
        let (mut a, mut b) = (keeper("a", "a:5000"), keeper("b", "b:5000"));
        assert_eq!(a.step(None, at(0)), Step::Write);
        let mut map = written(&mut a, "0", at(0));
        for minute in 1..10 {
            let now = at(minute * 60);
            assert_eq!(a.step(Some(&map), now), Step::Write, "it is due");
            map = written(&mut a, &minute.to_string(), now);
            assert_eq!(a.step(Some(&map), now), Step::Leave(State::Published));
            let kept = Step::Leave(State::Kept("a".to_owned()));
            assert_eq!(b.step(Some(&map), now), kept);
        }
        // Nothing more is heard.
        let kept = Step::Leave(State::Kept("a".to_owned()));
        assert_eq!(b.step(Some(&map), at(540 + 179)), kept);
        assert_eq!(b.step(Some(&map), at(540 + 180)), Step::Write);
        let map = written(&mut b, "x", at(800));
        let kept = Step::Leave(State::Kept("b".to_owned()));
        assert_eq!(a.step(Some(&map), at(800)), kept);
        assert_eq!(a.renewed, None, "nothing is given back");
    }

    #[test]
    fn what_nobody_keeps_is_taken_and_what_says_the_same_is_shared() {
        let at = Moment::default();
        let (mut a, mut same) = (keeper("a", "a:5000"), keeper("c", "a:5000"));
        let mut map = written(&mut a, "0", at);
        assert_eq!(same.step(Some(&map), at), Step::Leave(State::Shared));
        // As it was given back, or written before there were keepers.
        map.metadata.annotations = None;
        assert_eq!(same.step(Some(&map), at), Step::Write);
        assert_eq!(a.step(Some(&map), at), Step::Write);
        map.metadata.labels = None;
        assert_eq!(a.step(Some(&map), at), Step::Leave(State::Same));
    }
}
