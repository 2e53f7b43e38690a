//! A cluster whose API server does everything that one may do, as a seed decides: refuses, cuts
//! streams, says things twice, forgets versions, streams late, loses all its data.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use narthex_cluster::watch::Options;
use objects::kinds::{Kind, Object, ObjectKey};
use objects::{Store, kinds};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::Follower;
use super::scripted::{Answer, Asked, Server, end_of_list, event, list, status};

/// How many clusters are followed at the same time, each with a seed of its own.
const SEEDS: u64 = 24;

/// Changes to each, one every few milliseconds.
const STEPS: usize = 350;

const PLURALS: [&str; 5] = [
    "services",
    "ingresses",
    "endpointslices",
    "ingressclasses",
    "secrets",
];

const NAMES: usize = 6;

/// Before the first version that the API server tells, as if it had run for long.
const FIRST: u64 = 1_000_000;

struct World {
    chance: fastrand::Rng,
    version: u64,
    /// What happened up to here is forgotten.
    forgotten: u64,
    objects: BTreeMap<(&'static str, String), Value>,
    log: Vec<Change>,
    streams: Vec<Stream>,
    /// From now on, all goes well.
    is_calm: bool,
    done: Done,
}

/// How often something went wrong.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    refused: usize,
    cut: usize,
    forgotten: usize,
    repeated: usize,
    wiped: usize,
}

#[derive(Clone)]
struct Change {
    version: u64,
    plural: &'static str,
    name: String,
    event: Value,
}

struct Stream {
    plural: &'static str,
    /// One object alone.
    name: Option<String>,
    under_way: VecDeque<Value>,
    sender: UnboundedSender<Value>,
}

impl Stream {
    fn is_of(&self, plural: &str, name: &str) -> bool {
        self.plural == plural && self.name.as_deref().is_none_or(|one| one == name)
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            chance: fastrand::Rng::with_seed(seed),
            version: FIRST,
            forgotten: 0,
            objects: BTreeMap::new(),
            log: Vec::new(),
            streams: Vec::new(),
            is_calm: false,
            done: Done::default(),
        };
        for _ in 0..20 {
            world.change();
        }
        world
    }

    fn one_in(&mut self, count: u32) -> bool {
        !self.is_calm && self.chance.u32(..count) == 0
    }

    /// Something happens to an object.
    fn change(&mut self) {
        let plural = PLURALS[self.chance.usize(..PLURALS.len())];
        let name = format!("{plural}-{}", self.chance.usize(..NAMES));
        let is_there = self.objects.contains_key(&(plural, name.clone()));
        match self.chance.u32(..10) {
            0 | 1 if is_there => self.delete(plural, &name),
            // Another one of the same name, at once.
            2 | 3 if is_there => {
                self.delete(plural, &name);
                self.put(plural, &name, false);
            }
            4 => self.put(plural, &name, true),
            _ => self.put(plural, &name, false),
        }
    }

    fn put(&mut self, plural: &'static str, name: &str, is_malformed: bool) {
        self.version += 1;
        let mut object = object(plural, name, self.version, self.chance.u16(1..));
        if is_malformed {
            // No API server lets this through; one with another idea of the version may.
            object["metadata"]["labels"] = json!(7);
        }
        let former = self
            .objects
            .insert((plural, name.to_owned()), object.clone());
        let kind = if former.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        self.tell(plural, name, event(kind, &object));
    }

    fn delete(&mut self, plural: &'static str, name: &str) {
        if let Some(mut object) = self.objects.remove(&(plural, name.to_owned())) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.tell(plural, name, event("DELETED", &object));
        }
    }

    fn tell(&mut self, plural: &'static str, name: &str, event: Value) {
        for stream in &mut self.streams {
            if stream.is_of(plural, name) {
                stream.under_way.push_back(event.clone());
            }
        }
        self.log.push(Change {
            version: self.version,
            plural,
            name: name.to_owned(),
            event,
        });
    }

    /// Tells some of what is under way, and lets something go wrong.
    fn go_on(&mut self) {
        if self.one_in(60) {
            self.forgotten = self.version.saturating_sub(self.chance.u64(..5));
        }
        if self.one_in(STEPS as u32 / 2) && self.done.wiped < 3 {
            self.wipe();
        }
        let bookmark = self.one_in(15).then(|| {
            let metadata = json!({"resourceVersion": self.version.to_string()});
            event("BOOKMARK", &json!({"kind": "X", "metadata": metadata}))
        });
        for mut stream in std::mem::take(&mut self.streams) {
            if self.one_in(40) {
                self.done.cut += 1;
                continue;
            }
            stream.under_way.extend(bookmark.clone());
            let count = match self.is_calm {
                true => stream.under_way.len(),
                false => self.chance.usize(..4).min(stream.under_way.len()),
            };
            let mut is_open = true;
            for event in stream.under_way.drain(..count) {
                if self.chance.u32(..8) == 0 && event["type"] == "MODIFIED" {
                    self.done.repeated += 1;
                    is_open &= stream.sender.send(event.clone()).is_ok();
                }
                is_open &= stream.sender.send(event).is_ok();
            }
            if is_open {
                self.streams.push(stream);
            }
        }
    }

    /// All that it knew is gone, and versions begin anew.
    fn wipe(&mut self) {
        self.done.wiped += 1;
        self.version /= 10;
        self.forgotten = 0;
        self.log.clear();
        self.streams.clear();
        let mut left = std::mem::take(&mut self.objects);
        left.retain(|_, _| self.chance.bool());
        for (plural, name) in left.into_keys() {
            self.put(plural, &name, false);
        }
    }

    /// From now on all is well, and nothing malformed is left.
    fn calm(&mut self) {
        self.is_calm = true;
        let malformed = self
            .objects
            .iter()
            .filter(|(_, object)| object["metadata"]["labels"] == 7);
        let malformed: Vec<_> = malformed.map(|(key, _)| key.clone()).collect();
        for (plural, name) in malformed {
            self.put(plural, &name, false);
        }
        self.go_on();
    }

    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        let mut parts = asked.path.rsplit('/');
        let last = parts.next().unwrap_or_default();
        let of = |part: &str| PLURALS.into_iter().find(|plural| *plural == part);
        let (plural, name) = match of(last) {
            Some(plural) => (plural, asked.parameter("fieldSelector")),
            None => (of(parts.next().unwrap_or_default())?, Some(last)),
        };
        let name = name.map(|name| {
            let name = name.trim_start_matches("metadata.name");
            let name = name.trim_start_matches("%3D").trim_start_matches('=');
            name.to_owned()
        });
        if self.one_in(8) {
            self.done.refused += 1;
            let code = [500, 503, 429, 504][self.chance.usize(..4)];
            return Some(match self.chance.bool() {
                true => Answer::Nothing,
                false => Answer::Json(code, status(code, "not now")),
            });
        }
        if asked.is_watch() {
            return Some(self.watch(asked, plural, name));
        }
        Some(match (of(last), name) {
            (None, Some(name)) => match self.objects.get(&(plural, name)) {
                Some(object) => Answer::Json(200, object.clone()),
                None => Answer::Json(404, status(404, "not there")),
            },
            _ => Answer::Json(
                200,
                list(&self.version.to_string(), &self.all(plural, None)),
            ),
        })
    }

    fn watch(&mut self, asked: &Asked, plural: &'static str, name: Option<String>) -> Answer {
        let after = asked
            .parameter("resourceVersion")
            .and_then(|text| text.parse().ok())
            .filter(|version| *version > 0);
        let mut under_way = VecDeque::new();
        match after {
            Some(after) if after < self.forgotten => {
                self.done.forgotten += 1;
                let gone = status(410, "too old resource version");
                if self.chance.bool() {
                    return Answer::Json(410, gone);
                }
                under_way.push_back(event("ERROR", &gone));
            }
            // One that has lost its data was restarted for it: nothing that was asked before it
            // was lost is answered after.
            Some(after) if after > self.version => return Answer::Nothing,
            Some(after) => {
                let missed = self.log.iter().filter(|change| {
                    change.version > after
                        && change.plural == plural
                        && name.as_ref().is_none_or(|name| *name == change.name)
                });
                under_way.extend(missed.map(|change| change.event.clone()));
            }
            None => {
                let all = self.all(plural, name.as_deref());
                under_way.extend(all.iter().map(|object| event("ADDED", object)));
                if asked.parameter("sendInitialEvents").is_some() {
                    under_way.push_back(end_of_list(&self.version.to_string()));
                }
            }
        }
        let (sender, receiver) = unbounded_channel();
        self.streams.push(Stream {
            plural,
            name,
            under_way,
            sender,
        });
        Answer::Stream(receiver)
    }

    fn all(&self, plural: &str, name: Option<&str>) -> Vec<Value> {
        let all = self
            .objects
            .iter()
            .filter(|((of, is), _)| *of == plural && name.is_none_or(|name| name == is));
        all.map(|(_, object)| object.clone()).collect()
    }

    /// What whoever reads it now has.
    fn fresh(&self) -> Vec<Object> {
        let mut store = Store::default();
        for ((plural, name), value) in &self.objects {
            let is_referred = references().iter().any(|key| *key.name == **name);
            if *plural != "secrets" || is_referred {
                store.apply(typed(plural, value));
            }
        }
        store.objects().collect()
    }
}

/// The Secrets that are watched, each by itself: not all that there are.
fn references() -> Vec<ObjectKey> {
    (0..NAMES / 2)
        .map(|at| ObjectKey::new(Kind::Secret, "shop", &format!("secrets-{at}")))
        .collect()
}

fn object(plural: &str, name: &str, version: u64, number: u16) -> Value {
    let mut metadata = json!({
        "name": name, "namespace": "shop", "resourceVersion": version.to_string(),
        "uid": format!("uid-{version}"), "labels": {}
    });
    match plural {
        "services" => json!({"metadata": metadata, "spec": {"ports": [{"port": number}]}}),
        "ingresses" => json!({"metadata": metadata, "spec": {
            "ingressClassName": "narthex", "rules": [{"host": format!("h{number}.test")}]}}),
        "endpointslices" => {
            metadata["labels"] =
                json!({"kubernetes.io/service-name": format!("services-{}", number % 6)});
            json!({"metadata": metadata, "addressType": "IPv4", "ports": [{"port": number}],
                "endpoints": [{"addresses": ["10.0.0.1"]}]})
        }
        "ingressclasses" => {
            metadata
                .as_object_mut()
                .expect("an object")
                .remove("namespace");
            json!({"metadata": metadata, "spec": {"controller": format!("example.com/c{number}")}})
        }
        _ => json!({"metadata": metadata, "type": "Opaque", "data": {"n": format!("{number:08}")}}),
    }
}

fn typed(plural: &str, value: &Value) -> Object {
    fn of<T: serde::de::DeserializeOwned>(value: &Value) -> Arc<T> {
        Arc::new(serde_json::from_value(value.clone()).expect("well-formed"))
    }
    match plural {
        "services" => Object::Service(of::<kinds::Service>(value)),
        "ingresses" => Object::Ingress(of::<kinds::Ingress>(value)),
        "endpointslices" => Object::EndpointSlice(of::<kinds::EndpointSlice>(value)),
        "ingressclasses" => Object::IngressClass(of::<kinds::IngressClass>(value)),
        _ => Object::Secret(of::<kinds::Secret>(value)),
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().expect("no test panics with it")
}

async fn follow(seed: u64) -> Done {
    let world = Arc::new(Mutex::new(World::new(seed)));
    let asked = Arc::clone(&world);
    let script = move |asked_for: &Asked| lock(&asked).answer(asked_for);
    // As API servers of today do, and as older ones do.
    let server = match seed % 2 {
        0 => Server::start_streaming(script).await,
        _ => Server::start(script).await,
    };
    let mut follower = Follower::start_with(&server, &Options::default()).await;
    follower.watches.refer(&references().into());
    let mut chance = fastrand::Rng::with_seed(!seed);
    for _ in 0..STEPS {
        {
            let mut world = lock(&world);
            world.change();
            world.go_on();
        }
        if chance.u32(..3) == 0 {
            follower.take();
        }
        sleep(Duration::from_millis(chance.u64(..12))).await;
    }
    lock(&world).calm();
    let what = format!("as a fresh list, seed {seed}");
    let delivering = async {
        loop {
            lock(&world).go_on();
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = delivering => {}
        () = follower.until(&what, |follower| {
            let world = lock(&world);
            follower.store.objects().eq(world.fresh()) && follower.problems.is_empty()
        }) => {}
    }
    lock(&world).done
}

/// `NARTHEX_SEED` runs a single one.
#[tokio::test]
async fn whatever_an_api_server_does_in_the_end_all_is_known_as_it_is() {
    let seeds: Vec<u64> = match std::env::var("NARTHEX_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..SEEDS).collect(),
    };
    let all: Vec<_> = seeds
        .iter()
        .map(|&seed| tokio::spawn(follow(seed)))
        .collect();
    let mut sum = Done::default();
    for one in all {
        let done = one.await.expect("no panic");
        sum.refused += done.refused;
        sum.cut += done.cut;
        sum.forgotten += done.forgotten;
        sum.repeated += done.repeated;
        sum.wiped += done.wiped;
    }
    println!("{sum:?}");
    let each = [sum.refused, sum.cut, sum.repeated, sum.forgotten, sum.wiped];
    let least = if seeds.len() > 1 { seeds.len() / 2 } else { 0 };
    assert!(each.into_iter().all(|count| count >= least), "{sum:?}");
}
