//! How near an endpoint is: Service `spec.trafficDistribution` (KEP-3015), and the hints of
//! EndpointSlices, which are advice. Both fail open: farther endpoints take what nearer ones cannot.

use objects::kinds::{Endpoint, NamedHint, Service, Shared};

use crate::options::Options;
use crate::report::Problems;

const FIELD: &str = "spec.trafficDistribution";

/// Where we are.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    node: Option<String>,
    zone: Option<String>,
}

impl Place {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            node: options.node_name.clone(),
            zone: options.zone.clone(),
        }
    }

    /// How an endpoint stands to this place.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Standing {
        let same = |ours: &Option<String>, theirs: &Option<Shared>| {
            ours.is_some() && ours.as_deref() == theirs.as_deref()
        };
        let hints = endpoint.hints.as_ref();
        let hinted = |hints: Option<&Vec<NamedHint>>, ours: &Option<String>| {
            let hints = hints.filter(|hints| !hints.is_empty())?;
            Some(hints.iter().any(|hint| Some(&hint.name) == ours.as_ref()))
        };
        let for_zones = hinted(hints.and_then(|hints| hints.for_zones.as_ref()), &self.zone);
        let for_nodes = hinted(hints.and_then(|hints| hints.for_nodes.as_ref()), &self.node);
        Standing {
            node: same(&self.node, &endpoint.node_name) || for_nodes == Some(true),
            zone: for_zones.unwrap_or_else(|| same(&self.zone, &endpoint.zone)),
            hinted: for_zones,
        }
    }
}

/// How an endpoint stands to a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    node: bool,
    /// By its hint, or else by its zone.
    zone: bool,
    /// Whether it is meant for our zone; none is no hint.
    hinted: Option<bool>,
}

/// What a Service prefers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Preference {
    /// What hints say, if every endpoint has one.
    #[default]
    Hints,
    SameZone,
    SameNode,
}

impl Preference {
    /// Reads `spec.trafficDistribution`. A word that is none of the known is left to the default.
    pub(super) fn read(service: &Service, problems: Option<&mut Problems>) -> Self {
        match service.spec.traffic_distribution.as_deref() {
            None | Some("") => Self::Hints,
            Some("PreferSameZone" | "PreferClose") => Self::SameZone,
            Some("PreferSameNode") => Self::SameNode,
            Some(other) => {
                if let Some(problems) = problems {
                    let message = format!("{other:?} is not known; requests go to all endpoints");
                    let hint = "PreferSameZone, PreferSameNode, or nothing";
                    problems.warning(FIELD, message, hint);
                }
                Self::Hints
            }
        }
    }

    /// How far each of these is, 0 being the nearest.
    pub(super) fn distances(self, standings: &[Standing]) -> Vec<u8> {
        // Hints that some endpoints lack are being written, or left over: kube-proxy takes none then.
        let all_hinted = standings.iter().all(|standing| standing.hinted.is_some());
        let distance = |standing: &Standing| match self {
            Self::Hints if all_hinted => u8::from(standing.hinted == Some(false)),
            Self::Hints => 0,
            Self::SameZone => u8::from(!standing.zone),
            Self::SameNode if standing.node => 0,
            Self::SameNode => 1 + u8::from(!standing.zone),
        };
        standings.iter().map(distance).collect()
    }
}

#[cfg(test)]
mod tests {
    use objects::kinds::{Kind, ObjectKey};
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::service;

    fn distances(preference: Preference, place: &Place, endpoints: &[Value]) -> Vec<u8> {
        let standings: Vec<_> = endpoints
            .iter()
            .map(|endpoint| {
                let endpoint = serde_json::from_value(endpoint.clone()).expect("an endpoint");
                place.of(&endpoint)
            })
            .collect();
        preference.distances(&standings)
    }

    fn place() -> Place {
        Place {
            node: Some("n1".to_owned()),
            zone: Some("a".to_owned()),
        }
    }

    #[test]
    fn the_node_comes_before_the_zone_and_the_zone_before_all() {
        let endpoints = [
            json!({"nodeName": "n1", "zone": "a"}),
            json!({"nodeName": "n2", "zone": "a"}),
            json!({"nodeName": "n3", "zone": "b"}),
            json!({}),
        ];
        assert_eq!(
            distances(Preference::SameNode, &place(), &endpoints),
            [0, 1, 2, 2]
        );
        assert_eq!(
            distances(Preference::SameZone, &place(), &endpoints),
            [0, 0, 1, 1]
        );
        assert_eq!(distances(Preference::Hints, &place(), &endpoints), [0; 4]);
        // Who does not know where it is has no near ones, and all are equally far.
        let nowhere = Place::default();
        assert_eq!(
            distances(Preference::SameNode, &nowhere, &endpoints),
            [2; 4]
        );
    }

    #[test]
    fn a_preference_that_nobody_knows_is_said_and_is_none() {
        for (word, preference, is_said) in [
            ("", Preference::Hints, false),
            ("PreferClose", Preference::SameZone, false),
            ("PreferSameZone", Preference::SameZone, false),
            ("PreferSameNode", Preference::SameNode, false),
            ("PreferSameRack", Preference::Hints, true),
        ] {
            let service = service(
                "default",
                "web",
                json!({"spec": {"trafficDistribution": word}}),
            );
            let key = ObjectKey::new(Kind::Service, "default", "web");
            let mut problems = Problems::of(key);
            assert_eq!(Preference::read(&service, Some(&mut problems)), preference);
            let fields: Vec<_> = problems
                .into_shared()
                .iter()
                .map(|problem| problem.field.clone())
                .collect();
            let said: &[&str] = if is_said { &[FIELD] } else { &[] };
            assert_eq!(fields, said, "{word}");
        }
    }

    #[test]
    fn hints_count_where_every_endpoint_has_one() {
        let hinted = |zone: &str| json!({"zone": "a", "hints": {"forZones": [{"name": zone}]}});
        let both = [hinted("a"), hinted("b")];
        assert_eq!(distances(Preference::Hints, &place(), &both), [0, 1]);
        assert_eq!(distances(Preference::SameZone, &place(), &both), [0, 1]);
        let one = [hinted("b"), json!({"zone": "b"})];
        assert_eq!(distances(Preference::Hints, &place(), &one), [0, 0]);
        let node = [json!({"hints": {"forNodes": [{"name": "n1"}]}}), json!({})];
        assert_eq!(distances(Preference::SameNode, &place(), &node), [0, 2]);
    }
}
