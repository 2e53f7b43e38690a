//! Whatever comes in whatever order, with lists between: what is taken out is what there is.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use objects::Store;
use objects::kinds::{Kind, Namespace, Object, ObjectKey, ObjectMeta, Secret, Service};

use super::inbox::Inbox;
use super::read::Read;
use super::target::Target;

const SEEDS: u64 = 512;
const STEPS: usize = 400;

type Truth = BTreeMap<ObjectKey, Object>;

/// A watch: what the API server sent that has not arrived.
struct Watch {
    target: Target,
    under_way: VecDeque<(ObjectKey, Option<Object>)>,
    /// Of a list that is being read: what it named, and what of it is still to come.
    list: Option<(HashSet<ObjectKey>, Vec<Object>)>,
    /// Whether it was cut, so that only a list can help.
    is_cut: bool,
}

impl Watch {
    fn of(target: Target) -> Self {
        Self {
            target,
            under_way: VecDeque::new(),
            list: None,
            is_cut: true,
        }
    }

    fn goes_on(&mut self, inbox: &Inbox, truth: &Truth, chance: &mut fastrand::Rng) {
        if let Some((_, rest)) = &mut self.list {
            if chance.u8(..20) == 0 {
                // It breaks off: what it did not come to say, nobody says.
                (self.list, self.is_cut) = (None, true);
            } else if rest.is_empty() {
                if let Some((names, _)) = self.list.take() {
                    inbox.listed(&self.target, names);
                }
            } else {
                let count = chance.usize(1..=rest.len());
                inbox.read(rest.drain(..count).map(read).collect::<Vec<_>>());
            }
        } else if self.is_cut {
            let all = truth.iter().filter(|(key, _)| self.target.covers(key));
            let (names, objects) = all
                .map(|(key, object)| (key.clone(), object.clone()))
                .unzip();
            self.list = Some((names, objects));
            self.is_cut = false;
            self.under_way.clear();
        } else if chance.u8(..60) == 0 {
            self.is_cut = true;
        } else if !self.under_way.is_empty() {
            // What was said of one object stays in order; of different ones, it need not.
            let picked = chance.usize(..self.under_way.len());
            let key = &self.under_way[picked].0;
            let first = self.under_way.iter().position(|(other, _)| other == key);
            if let Some((key, object)) = self.under_way.remove(first.unwrap_or_default()) {
                for _ in 0..=u8::from(chance.u8(..5) == 0) {
                    match &object {
                        Some(object) => inbox.read([read(object.clone())]),
                        None => inbox.gone(key.clone()),
                    }
                }
            }
        }
    }
}

fn read(object: Object) -> Read {
    Read {
        key: object.key(),
        version: String::new(),
        object: Ok(object),
    }
}

/// One of a few objects, by chance another than before.
fn some_object(chance: &mut fastrand::Rng) -> Object {
    let namespace = ["one", "two", "three"][chance.usize(..3)];
    let metadata = ObjectMeta {
        name: format!("o{}", chance.u8(..4)),
        namespace: Some(namespace.into()),
        uid: chance.u32(..).to_string().into(),
        ..ObjectMeta::default()
    };
    match chance.u8(..5) {
        0 => {
            let mut object = Namespace::default();
            object.metadata.name = namespace.to_owned();
            Object::Namespace(Arc::new(object))
        }
        1 => Object::Secret(Arc::new(Secret {
            metadata,
            type_: Some(format!("t{}", chance.u8(..))),
            ..Secret::default()
        })),
        _ => {
            let mut object = Service {
                metadata,
                ..Service::default()
            };
            object.spec.external_name = Some(format!("e{}.test", chance.u8(..)).into());
            Object::Service(Arc::new(object))
        }
    }
}

fn simulate(seed: u64) {
    let chance = &mut fastrand::Rng::with_seed(seed);
    let is_selecting = seed.is_multiple_of(3);
    let inbox = match is_selecting {
        true => Inbox::of_selected_namespaces(),
        false => Inbox::default(),
    };
    let mut watches: Vec<_> = [
        Target::all(Kind::Namespace, None),
        Target::all(Kind::Secret, None),
    ]
    .map(Watch::of)
    .into();
    let services: &[Option<&str>] = match seed % 2 {
        0 => &[None],
        _ => &[Some("one"), Some("two"), Some("three")],
    };
    let services = services.iter();
    watches.extend(services.map(|namespace| Watch::of(Target::all(Kind::Service, *namespace))));
    let (mut truth, mut store) = (Truth::new(), Store::default());
    for _ in 0..STEPS {
        let object = some_object(chance);
        let key = object.key();
        let gone = chance.u8(..3) == 0;
        match gone {
            true => truth.remove(&key),
            false => truth.insert(key.clone(), object.clone()),
        };
        for watch in &mut watches {
            if watch.target.covers(&key) {
                watch
                    .under_way
                    .push_back((key.clone(), (!gone).then(|| object.clone())));
            }
            for _ in 0..chance.u8(..3) {
                watch.goes_on(&inbox, &truth, chance);
            }
        }
        if chance.u8(..4) == 0 {
            inbox.take().apply(&mut store);
        }
    }
    for watch in &mut watches {
        while watch.is_cut || watch.list.is_some() || !watch.under_way.is_empty() {
            watch.goes_on(&inbox, &truth, chance);
        }
    }
    inbox.take().apply(&mut store);

    let is_selected = |key: &ObjectKey| {
        let namespace = ObjectKey::new(Kind::Namespace, "", &key.namespace);
        !is_selecting || key.namespace.is_empty() || truth.contains_key(&namespace)
    };
    let mut expected = Store::default();
    for (_, object) in truth.iter().filter(|(key, _)| is_selected(key)) {
        expected.apply(object.clone());
    }
    let (is, expected): (Vec<_>, Vec<_>) =
        (store.objects().collect(), expected.objects().collect());
    assert_eq!(is, expected, "seed {seed}");
}

#[test]
fn events_and_lists_in_any_order_come_to_what_there_is() {
    (0..SEEDS).for_each(simulate);
}
