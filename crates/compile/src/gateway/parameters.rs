//! Parameters of GatewayClasses and Gateways: ConfigMaps with a few keys.

use std::collections::BTreeMap;
use std::fmt::Display;

use objects::Store;
use objects::kinds::gateway::ObjectReference;
use objects::kinds::{ConfigMap, Kind, ObjectKey};

use super::quantity::Quantity;
use super::references::object;
use crate::status::Wrong;
use crate::suggest::nearest;

pub(super) const REASON: &str = "InvalidParameters";

/// What the keys are: see the book, Gateway API.
const HINT: &str = "a ConfigMap with the keys data-plane, replicas, service-type, cpu-request, \
                    memory-request and memory-limit";

/// The most problems of one ConfigMap that are told at a time.
const PROBLEMS: usize = 8;

const KEYS: [&str; 6] = [
    "data-plane",
    "replicas",
    "service-type",
    "cpu-request",
    "memory-request",
    "memory-limit",
];

/// Who serves a Gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum DataPlane {
    /// The replicas that serve all others as well.
    #[default]
    Shared,
    /// A Deployment of its own, in its namespace.
    Dedicated,
}

/// What kind of Service a Gateway gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// With an address of the cluster's load balancers.
    #[default]
    LoadBalancer,
    /// With a port of every node.
    NodePort,
    /// For inside alone.
    ClusterIp,
}

impl ServiceType {
    /// As `spec.type` of a Service.
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "LoadBalancer",
            Self::NodePort => "NodePort",
            Self::ClusterIp => "ClusterIP",
        }
    }
}

/// What parameters say, as far as they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    data_plane: Option<DataPlane>,
    replicas: Option<u16>,
    service_type: Option<ServiceType>,
    cpu_request: Option<Quantity>,
    memory_request: Option<Quantity>,
    memory_limit: Option<Quantity>,
}

impl Parameters {
    pub(super) fn data_plane(&self) -> DataPlane {
        self.data_plane.unwrap_or_default()
    }

    pub(super) fn replicas(&self) -> u16 {
        self.replicas.unwrap_or(2)
    }

    /// None is what the command line says.
    pub(super) fn service_type(&self) -> Option<ServiceType> {
        self.service_type
    }

    pub(super) fn cpu_request(&self) -> Quantity {
        or_default(self.cpu_request.as_ref(), "100m")
    }

    pub(super) fn memory_request(&self) -> Quantity {
        let default = or_default(self.memory_request.as_ref(), "90Mi");
        match (&self.memory_request, &self.memory_limit) {
            // As Kubernetes does where a limit stands alone.
            (None, Some(limit)) => default.min(limit.clone()),
            _ => default,
        }
    }

    /// None is no limit.
    pub(super) fn memory_limit(&self) -> Option<&Quantity> {
        self.memory_limit.as_ref()
    }

    /// What a ConfigMap says that is referred to.
    pub(super) fn find(
        reference: &ObjectReference,
        namespace: Option<&str>,
        field: &str,
        store: &Store,
        mut refer: impl FnMut(ObjectKey),
    ) -> Result<Self, Wrong> {
        let wrong = |message: String| Wrong::new(REASON, field, message, HINT);
        let kind = reference.kind.as_deref().unwrap_or_default();
        if (reference.group(), kind) != ("", "ConfigMap") {
            let group = reference.group();
            return Err(wrong(format!(
                "parameters of kind {kind:?} and group {group:?} are not known: refer to a \
                 ConfigMap, whose group is \"\""
            )));
        }
        let Some(namespace) = namespace else {
            return Err(wrong(
                "it names no namespace: write that of the ConfigMap".to_owned(),
            ));
        };
        let name = &reference.name;
        refer(object(Kind::ConfigMap, namespace, name));
        let map = store.config_map(namespace, name);
        let map =
            map.ok_or_else(|| wrong(format!("there is no ConfigMap {namespace}/{name}: make it")))?;
        Self::read(map)
            .map_err(|problems| wrong(format!("ConfigMap {namespace}/{name}: {problems}")))
    }

    /// Every problem, one after the other: key, what is wrong, what would be right.
    fn read(map: &ConfigMap) -> Result<Self, String> {
        let empty = BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&empty);
        let mut problems = Vec::new();
        let mut parameters = Self::default();
        for (key, value) in data {
            if let Err(problem) = parameters.set(key, value.trim()) {
                problems.push(problem);
            }
        }
        problems.extend(parameters.contradiction());
        problems.truncate(PROBLEMS);
        match problems.is_empty() {
            true => Ok(parameters),
            false => Err(problems.join("; ")),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let wrong = |right: &str| {
            let short: String = value.chars().take(64).collect();
            format!("{key} is {short:?}: write {right}")
        };
        match key {
            "data-plane" => {
                self.data_plane = Some(match value {
                    "shared" => DataPlane::Shared,
                    "dedicated" => DataPlane::Dedicated,
                    _ => return Err(wrong("shared or dedicated")),
                });
            }
            "replicas" => {
                let number = value.parse().ok().filter(|it| (1..=100).contains(it));
                let right = || wrong("a number from 1 to 100");
                self.replicas = Some(number.ok_or_else(right)?);
            }
            "service-type" => {
                self.service_type = Some(match value {
                    "LoadBalancer" => ServiceType::LoadBalancer,
                    "NodePort" => ServiceType::NodePort,
                    "ClusterIP" => ServiceType::ClusterIp,
                    _ => return Err(wrong("LoadBalancer, NodePort or ClusterIP")),
                });
            }
            "cpu-request" => {
                self.cpu_request = Some(amount(value, ["1m", "256"]).map_err(wrong_with(&wrong))?);
            }
            "memory-request" => {
                let memory = amount(value, ["16Mi", "1Ti"]);
                self.memory_request = Some(memory.map_err(wrong_with(&wrong))?);
            }
            "memory-limit" => {
                let memory = amount(value, ["16Mi", "1Ti"]);
                self.memory_limit = Some(memory.map_err(wrong_with(&wrong))?);
            }
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    fn contradiction(&self) -> Option<String> {
        let (request, limit) = (self.memory_request.as_ref()?, self.memory_limit.as_ref()?);
        (limit < request).then(|| {
            format!("memory-limit is {limit}: write at least the memory-request, {request}")
        })
    }

    /// With what a Gateway's own parameters say, where those of its class say otherwise.
    pub(super) fn with(&self, own: &Self) -> Result<Self, String> {
        let pick = |own: &Option<Quantity>, of_class: &Option<Quantity>| {
            own.as_ref().or(of_class.as_ref()).cloned()
        };
        let all = Self {
            data_plane: own.data_plane.or(self.data_plane),
            replicas: own.replicas.or(self.replicas),
            service_type: own.service_type.or(self.service_type),
            cpu_request: pick(&own.cpu_request, &self.cpu_request),
            memory_request: pick(&own.memory_request, &self.memory_request),
            memory_limit: pick(&own.memory_limit, &self.memory_limit),
        };
        match all.contradiction() {
            Some(problem) => Err(format!("with those of its GatewayClass, {problem}")),
            None => Ok(all),
        }
    }
}

fn wrong_with<R: Display>(wrong: &impl Fn(&str) -> String) -> impl FnOnce(R) -> String + '_ {
    move |right| wrong(&right.to_string())
}

/// A quantity within limits. Else what would be right.
fn amount(text: &str, limits: [&'static str; 2]) -> Result<Quantity, String> {
    let read = Quantity::parse(text).filter(|it| {
        let [least, most] = limits.map(Quantity::parse);
        Some(it) >= least.as_ref() && Some(it) <= most.as_ref()
    });
    let [least, most] = limits;
    read.ok_or_else(|| {
        format!("a Kubernetes quantity from {least} to {most}, as 100m, 0.5 or 90Mi")
    })
}

fn or_default(given: Option<&Quantity>, default: &str) -> Quantity {
    let default = || Quantity::parse(default).expect("a constant that is a quantity");
    given.cloned().unwrap_or_else(default)
}

fn unknown(key: &str) -> String {
    let short: String = key.chars().take(64).collect();
    match nearest(key, &KEYS) {
        Some(meant) => format!("{short} is no key that is known: write {meant}"),
        None => format!("{short} is no key that is known: write {}", KEYS.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[(&str, &str)]) -> Result<Parameters, String> {
        let data = data
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        Parameters::read(&ConfigMap {
            data: Some(data.collect()),
            ..ConfigMap::default()
        })
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let parameters = Parameters::read(&ConfigMap::default()).expect("right");
        assert_eq!(parameters.data_plane(), DataPlane::Shared);
        assert_eq!(parameters.replicas(), 2);
        assert_eq!(parameters.service_type(), None);
        assert_eq!(parameters.cpu_request().as_str(), "100m");
        assert_eq!(parameters.memory_request().as_str(), "90Mi");
        assert_eq!(parameters.memory_limit(), None);
        let small = read(&[("memory-limit", "64Mi")]).expect("right");
        assert_eq!(small.memory_request().as_str(), "64Mi");
    }

    #[test]
    fn every_key_is_read() {
        let parameters = read(&[
            ("data-plane", "dedicated"),
            ("replicas", "3\n"),
            ("service-type", "ClusterIP"),
            ("cpu-request", "0.5"),
            ("memory-request", "128Mi"),
            ("memory-limit", "1Gi"),
        ])
        .expect("right");
        assert_eq!(parameters.data_plane(), DataPlane::Dedicated);
        assert_eq!(parameters.replicas(), 3);
        assert_eq!(parameters.service_type(), Some(ServiceType::ClusterIp));
        assert_eq!(parameters.cpu_request().as_str(), "0.5");
        assert_eq!(parameters.memory_request().as_str(), "128Mi");
        assert_eq!(parameters.memory_limit().map(Quantity::as_str), Some("1Gi"));
    }

    #[test]
    fn each_wrong_value_is_named_with_a_right_one() {
        for (key, value, right) in [
            ("data-plane", "own", "write shared or dedicated"),
            ("replicas", "0", "a number from 1 to 100"),
            ("replicas", "101", "a number from 1 to 100"),
            ("replicas", "two", "a number from 1 to 100"),
            (
                "service-type",
                "loadbalancer",
                "write LoadBalancer, NodePort or ClusterIP",
            ),
            ("cpu-request", "0", "from 1m to 256"),
            ("cpu-request", "{{cpu}}", "from 1m to 256"),
            ("memory-request", "90", "from 16Mi to 1Ti"),
            ("memory-limit", "2Ti", "from 16Mi to 1Ti"),
            ("replica", "2", "write replicas"),
            ("colour", "blue", "data-plane, replicas, service-type"),
        ] {
            let problem = read(&[(key, value)]).expect_err(key);
            assert!(problem.starts_with(key), "{problem}");
            assert!(problem.contains(right), "{problem}");
        }
        let many: Vec<_> = (0..1000).map(|it| format!("key-{it}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        assert!(read(&many).expect_err("unknown").len() < 8 * 256);
        let both = read(&[("replicas", "0"), ("data-plane", "x")]).expect_err("two");
        assert!(
            both.contains("data-plane is") && both.contains("replicas is"),
            "{both}"
        );
    }

    #[test]
    fn a_gateways_own_parameters_come_before_those_of_its_class() {
        let class = read(&[("data-plane", "dedicated"), ("memory-request", "128Mi")]);
        let class = class.expect("right");
        let own = read(&[("data-plane", "shared"), ("replicas", "4")]).expect("right");
        let all = class.with(&own).expect("right");
        assert_eq!(all.data_plane(), DataPlane::Shared);
        assert_eq!(
            (all.replicas(), all.memory_request().as_str()),
            (4, "128Mi")
        );
        let own = read(&[("memory-limit", "64Mi")]).expect("right by itself");
        let problem = class.with(&own).expect_err("below the class's request");
        assert!(problem.contains("memory-limit is 64Mi"), "{problem}");
    }
}
