//! Consistent hashing: Google's Maglev (NSDI 2016, section 3.4), and the hash it stands on.

/// Places of a table; a prime, as the method needs, and large enough that shares are even.
pub const PLACES: usize = 65_537;

/// A table from hashed keys to indexes of endpoints. `names` are what endpoints are known by in
/// every replica, so that all send a key to the same one; an endpoint's share of the places is
/// that of its weight. Empty without endpoints.
pub(crate) fn table(names: &[u64], weights: &[u16]) -> Box<[u16]> {
    let Ok(count) = u16::try_from(names.len()) else {
        return Box::default(); // More than 65,535: balanced otherwise.
    };
    if count == 0 {
        return Box::default();
    }
    let weight = |index: usize| f64::from(weights.get(index).copied().unwrap_or(1).max(1));
    let heaviest = (0..names.len()).map(weight).fold(1.0, f64::max);
    let mut preferences: Vec<Preference> = names
        .iter()
        .enumerate()
        .map(|(index, &name)| Preference {
            next: place(mix(name ^ 0x9e37_79b9_7f4a_7c15)),
            skip: place(mix(name ^ 0xc2b2_ae3d_27d4_eb4f)) % (PLACES - 1) + 1,
            share: weight(index) / heaviest,
            turns: 0.0,
        })
        .collect();
    let mut table: Box<[Option<u16>]> = vec![None; PLACES].into();
    let mut filled = 0;
    while filled < PLACES {
        for (index, preference) in (0..count).zip(&mut preferences) {
            // Light ones sit out some rounds.
            preference.turns += preference.share;
            if preference.turns < 1.0 {
                continue;
            }
            preference.turns -= 1.0;
            while table[preference.next].is_some() {
                preference.advance();
            }
            table[preference.next] = Some(index);
            preference.advance();
            filled += 1;
            if filled == PLACES {
                break;
            }
        }
    }
    table
        .iter()
        .map(|place| place.unwrap_or_default())
        .collect()
}

/// The places that one endpoint wants, in the order in which it wants them.
struct Preference {
    next: usize,
    skip: usize,
    share: f64,
    turns: f64,
}

impl Preference {
    fn advance(&mut self) {
        self.next = (self.next + self.skip) % PLACES;
    }
}

/// The place of a hash.
pub fn place(hash: u64) -> usize {
    // Below PLACES, so that it fits.
    usize::try_from(hash % PLACES as u64).unwrap_or_default()
}

/// A hash of bytes that is the same in every process and on every machine. No secret.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64;
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        state = (state ^ u64::from_le_bytes(*chunk))
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(29);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ u64::from_le_bytes(last))
}

/// Spreads every bit over all (the end of MurmurHash3).
pub fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: u64) -> Vec<u64> {
        (0..count).map(|n| hash(&n.to_le_bytes())).collect()
    }

    fn shares(table: &[u16], count: usize) -> Vec<usize> {
        let mut shares = vec![0; count];
        table
            .iter()
            .for_each(|&index| shares[usize::from(index)] += 1);
        shares
    }

    #[test]
    fn every_endpoint_has_its_weights_share() {
        let even = shares(&table(&names(10), &[]), 10);
        assert!(
            even.iter().all(|share| (6500..6610).contains(share)),
            "{even:?}"
        );
        let weighted = shares(&table(&names(3), &[1, 2, 5]), 3);
        for (share, weight) in weighted.iter().zip([1, 2, 5]) {
            let wanted = PLACES * weight / 8;
            assert!(share.abs_diff(wanted) < wanted / 50, "{weighted:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn few_keys_move_when_an_endpoint_goes(count in 2_u64..20, gone in 0_usize..20) {
            let before = names(count);
            let gone = gone % before.len();
            let mut after = before.clone();
            after.remove(gone);
            let (old, new) = (table(&before, &[]), table(&after, &[]));
            let kept = |place: usize| {
                let was = usize::from(old[place]);
                was == gone || before[was] == after[usize::from(new[place])]
            };
            let moved = (0..PLACES).filter(|&place| !kept(place)).count();
            // Of those that need not move. The paper has about 2 in 100 at this size.
            prop_assert!(moved < PLACES / 10, "{moved} of {PLACES}");
        }

        #[test]
        fn bytes_that_differ_hash_differently(a: Vec<u8>, b: Vec<u8>) {
            prop_assert_eq!(a == b, hash(&a) == hash(&b));
        }
    }
}
