//! Sets of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses by ranges, found without going through all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    /// First and last of each, sorted, none touching another.
    v4: Box<[(u32, u32)]>,
    /// Likewise.
    v6: Box<[(u128, u128)]>,
}

impl AddressSet {
    /// Whether an address is in it; one of IPv4 in IPv6 clothes is none of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => has(&self.v4, u32::from(address)),
            IpAddr::V6(address) => has(&self.v6, u128::from(address)),
        }
    }

    /// Whether there is none in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(nets: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        Self {
            v4: merged(v4),
            v6: merged(v6),
        }
    }
}

fn has<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

/// Nets are inside each other or apart: what begins inside another ends there.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    ranges.dedup_by(|later, earlier| later.1 <= earlier.1);
    ranges.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nets() -> impl Strategy<Value = Vec<IpNet>> {
        let v4 = (any::<[u8; 4]>(), 0..=32_u8)
            .prop_map(|(address, len)| IpNet::new(address.into(), len).expect("a length"));
        let near = (any::<u8>(), 24..=32_u8)
            .prop_map(|(last, len)| IpNet::new([10, 0, 0, last].into(), len).expect("a length"));
        let v6 = (any::<[u8; 16]>(), 0..=128_u8)
            .prop_map(|(address, len)| IpNet::new(address.into(), len).expect("a length"));
        proptest::collection::vec(prop_oneof![v4, near, v6], 0..12)
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_set_if_it_is_in_a_net(
            nets in nets(),
            v4 in any::<[u8; 4]>(),
            last in any::<u8>(),
            v6 in any::<[u8; 16]>(),
        ) {
            let set: AddressSet = nets.iter().copied().collect();
            for address in [IpAddr::from(v4), IpAddr::from([10, 0, 0, last]), IpAddr::from(v6)] {
                let plainly = nets.iter().any(|net| net.contains(&address));
                prop_assert_eq!(set.contains(address), plainly, "{}", address);
            }
        }
    }
}
