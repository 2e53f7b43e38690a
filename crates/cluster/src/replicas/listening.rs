//! Which ports of Gateways a replica listens on, in a form that the leader compares with its plans.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::str::FromStr;

use compile::{GatewayPlan, PlannedPort};
use model::{Entrance, Layer};

/// The ports of ours that are open for Gateways, each with a hash of the Gateway and the port that it
/// is for: two replicas may for a moment have given one port to different Gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listening(BTreeSet<(u16, u32)>);

impl Listening {
    /// What is planned, without what could not be opened.
    pub(crate) fn new(plans: &[GatewayPlan], unbound: &[Entrance]) -> Self {
        let ports = plans
            .iter()
            .flat_map(|plan| plan.ports.iter().map(move |port| (plan, port)));
        let is_bound = |port: &PlannedPort| {
            let mut unbound = unbound.iter();
            !unbound.any(|it| (it.port, it.layer) == (port.target, port.layer))
        };
        let bound = ports.filter(|(_, port)| is_bound(port));
        Self(bound.map(|(plan, port)| entry(plan, port)).collect())
    }

    /// Whether a port of a Gateway is open.
    pub(crate) fn has(&self, plan: &GatewayPlan, port: &PlannedPort) -> bool {
        self.0.contains(&entry(plan, port))
    }
}

fn entry(plan: &GatewayPlan, port: &PlannedPort) -> (u16, u32) {
    let layer = match port.layer {
        Layer::Tcp => "tcp",
        Layer::Udp => "udp",
    };
    let text = format!("{}/{}/{}/{layer}", plan.namespace, plan.name, port.port);
    (port.target, hash(text.as_bytes()))
}

/// FNV-1a: the same in every release.
pub(crate) fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// `20017=1a2b3c4d,20018=00c0ffee`
impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (port, hash)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(',')?;
            }
            write!(f, "{port}={hash:08x}")?;
        }
        Ok(())
    }
}

/// A part that cannot be read is left out: a newer replica may say more than we know.
impl FromStr for Listening {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            let (port, hash) = part.split_once('=')?;
            Some((port.parse().ok()?, u32::from_str_radix(hash, 16).ok()?))
        };
        Ok(Self(text.split(',').filter_map(part).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::plan;

    #[test]
    fn what_is_open_survives_its_text_and_is_one_gateways() {
        let plans = [plan("web", &[(80, 20001), (443, 20002)])];
        let unbound = [Entrance::tcp(20002)];
        let listening = Listening::new(&plans, &unbound);
        let [first, second] = &*plans[0].ports else {
            panic!("two ports");
        };
        let read: Listening = listening.to_string().parse().unwrap_or_default();
        assert_eq!(read, listening);
        assert!(read.has(&plans[0], first));
        assert!(!read.has(&plans[0], second));
        let other = plan("other", &[(80, 20001)]);
        assert!(!read.has(&other, &other.ports[0]));
        assert_eq!("x,1=y,".parse(), Ok(Listening::default()));
    }
}
