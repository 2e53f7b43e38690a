//! Which port of this process serves a port of a Gateway.
//!
//! In a cluster, many Gateways share the replicas, each with ports of its own: out of a range, the
//! same on every replica and after a restart, because each Gateway's Service says which. What no
//! Service says yet is worked out here, alike everywhere.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use hashbrown::{HashMap, HashSet};
use model::Layer;

use crate::name::Name;

/// A port of a Gateway as clients know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Wanted {
    pub(crate) gateway: Name,
    pub(crate) port: u16,
    pub(crate) layer: Layer,
}

/// Gives each wanted port one of the range: the recorded one if that is in the range and nobody
/// else's, else a free one. Who comes first in `wanted` chooses first. What there is no room for is
/// not in the result.
pub(crate) fn assign(
    wanted: &[Wanted],
    recorded: &HashMap<Wanted, u16>,
    range: &RangeInclusive<u16>,
) -> BTreeMap<Wanted, u16> {
    let mut taken: HashSet<(u16, Layer)> = HashSet::new();
    let mut given = BTreeMap::new();
    for one in wanted {
        if let Some(&port) = recorded.get(one)
            && range.contains(&port)
            && taken.insert((port, one.layer))
        {
            given.insert(one.clone(), port);
        }
    }
    // Recorded for what is not there at present, perhaps for what a Service still leads to.
    let stale: HashSet<_> = recorded
        .iter()
        .map(|(one, port)| (*port, one.layer))
        .collect();
    let size = u64::from(range.end() - range.start()) + 1;
    for one in wanted {
        if given.contains_key(one) {
            continue;
        }
        let start = hash(one) % size;
        let mut candidates = (0..size)
            .map(|step| (start + step) % size)
            .filter_map(|place| range.start().checked_add(u16::try_from(place).ok()?));
        let free = candidates.find(|&port| {
            !taken.contains(&(port, one.layer)) && !stale.contains(&(port, one.layer))
        });
        if let Some(port) = free {
            taken.insert((port, one.layer));
            given.insert(one.clone(), port);
        }
    }
    given
}

/// FNV-1a: the same on every machine and in every release.
fn hash(wanted: &Wanted) -> u64 {
    let layer: &[u8] = match wanted.layer {
        Layer::Tcp => b"tcp",
        Layer::Udp => b"udp",
    };
    let parts = [
        wanted.gateway.namespace.as_bytes(),
        b"/",
        wanted.gateway.name.as_bytes(),
        b"/",
        &wanted.port.to_be_bytes(),
        layer,
    ];
    let bytes = parts.into_iter().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(gateway: &str, port: u16) -> Wanted {
        Wanted {
            gateway: Name::new("default", gateway),
            port,
            layer: Layer::Tcp,
        }
    }

    #[test]
    fn what_is_recorded_stays_whatever_comes_before_it() {
        let range = 20000..=20003;
        let all = [wanted("a", 80), wanted("b", 80), wanted("c", 80)];
        let first = assign(&all[1..], &HashMap::new(), &range);
        let recorded: HashMap<_, _> = first.clone().into_iter().collect();
        let second = assign(&all, &recorded, &range);
        assert_eq!(second.len(), 3);
        assert!(first.iter().all(|(one, port)| second[one] == *port));
    }

    #[test]
    fn nobody_gets_anothers_port_nor_one_outside_of_the_range() {
        let range = 20000..=20001;
        let all = [wanted("a", 80), wanted("b", 80), wanted("c", 80)];
        let recorded = [(wanted("a", 80), 22), (wanted("b", 80), 20001)];
        let given = assign(&all, &recorded.into_iter().collect(), &range);
        assert_eq!(given.get(&wanted("b", 80)), Some(&20001));
        assert_eq!(given.get(&wanted("a", 80)), Some(&20000));
        assert_eq!(given.get(&wanted("c", 80)), None, "there is no room");
        let same = [(wanted("a", 80), 20001), (wanted("b", 80), 20001)];
        let given = assign(&all[..2], &same.into_iter().collect(), &range);
        assert_eq!(given[&wanted("a", 80)], 20001);
        assert_eq!(given[&wanted("b", 80)], 20000);
    }
}
