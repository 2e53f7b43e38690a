//! Session tickets that every replica can read (RFC 8446, section 4.6.1; RFC 5077, section 4).
//!
//! A ticket is the name of a key, a nonce, and, encrypted and authenticated by AES-256-GCM, the
//! time at which it was made and the session. Where there is no key to share, or none whose time
//! has come, tickets are this process's own, whose keys rustls makes and rotates.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use model::TicketKeys;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

/// For how many seconds a ticket is good, whatever its key's time: half a day.
const LIFETIME: u32 = 12 * 3600;

/// How far ahead of ours the clock may be of who made a ticket, in seconds.
const AHEAD: u64 = 300;

/// The first bytes of a secret are the key's name, the others the key.
const NAME: usize = 16;

/// Encrypts and decrypts tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    shared: ArcSwap<Box<[Key]>>,
    /// For as long as there is nothing to share.
    own: Arc<dyn ProducesTickets>,
}

#[derive(Debug)]
struct Key {
    from: u64,
    name: [u8; NAME],
    cipher: RandomizedNonceKey,
}

impl Tickets {
    /// This process's own.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            shared: ArcSwap::default(),
            own: Ticketer::new()?,
        })
    }

    /// Takes over the keys to share from here on, if there are any. Tickets of keys that are gone
    /// are as good as none.
    pub(super) fn share(&self, keys: Option<&TicketKeys>) {
        let keys = keys.map_or(&[][..], |keys| &keys.keys);
        let keys = keys.iter().filter_map(|key| {
            let (name, secret) = key.secret.split_first_chunk::<NAME>()?;
            Some(Key {
                from: key.from,
                name: *name,
                cipher: RandomizedNonceKey::new(&AES_256_GCM, secret).ok()?,
            })
        });
        let mut keys: Vec<Key> = keys.collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.from));
        self.shared.store(Arc::new(keys.into()));
    }

    fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let keys = self.shared.load();
        let Some(key) = keys.iter().find(|key| key.from <= now) else {
            return self.own.encrypt(plain);
        };
        let mut sealed = [&now.to_be_bytes(), plain].concat();
        let nonce = key
            .cipher
            .seal_in_place_append_tag(Aad::from(&key.name), &mut sealed);
        Some([&key.name[..], nonce.ok()?.as_ref(), &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let keys = self.shared.load();
        let named = ticket.split_first_chunk::<NAME>().and_then(|(name, rest)| {
            let key = keys.iter().find(|key| key.name == *name)?;
            Some((key, rest))
        });
        let Some((key, rest)) = named else {
            return self.own.decrypt(ticket);
        };
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = key
            .cipher
            .open_in_place(nonce, Aad::from(&key.name), &mut opened)
            .ok()?;
        let (made, plain) = opened.split_first_chunk()?;
        let made = u64::from_be_bytes(*made);
        let is_good = made <= now + AHEAD && now <= made.saturating_add(LIFETIME.into());
        is_good.then(|| plain.to_vec())
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, seconds())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, seconds())
    }
}

/// Since 1970.
fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use model::TicketKey;
    use model::ticket::SECRET_LEN;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn with(keys: &[(u64, u8)]) -> Tickets {
        let tickets = Tickets::new().unwrap();
        let keys = keys.iter().map(|&(from, fill)| TicketKey {
            from,
            secret: [fill; SECRET_LEN],
        });
        let keys = TicketKeys {
            keys: keys.collect(),
        };
        tickets.share(Some(&keys));
        tickets
    }

    fn opens(tickets: &Tickets, ticket: &[u8]) -> bool {
        tickets.open(ticket, NOW).as_deref() == Some(b"session")
    }

    #[test]
    fn a_ticket_of_one_process_is_read_by_another_with_the_same_keys_alone() {
        let keys = [(NOW - 10, 1)];
        let ticket = with(&keys).seal(b"session", NOW).unwrap();
        assert!(opens(&with(&keys), &ticket));
        assert!(!opens(&with(&[(NOW - 10, 2)]), &ticket));
        assert!(!opens(&Tickets::new().unwrap(), &ticket));
    }

    #[test]
    fn the_newest_key_whose_time_has_come_encrypts_and_all_decrypt() {
        let name = |tickets: &Tickets| tickets.seal(b"session", NOW).unwrap()[0];
        let keys = [(NOW - 10, 1), (NOW, 2), (NOW + 10, 3)];
        assert_eq!(name(&with(&keys)), 2);
        // Another's clock is ahead.
        let early = with(&[(NOW - 1, 3)]).seal(b"session", NOW).unwrap();
        assert!(opens(&with(&keys), &early));
        let late = with(&[(NOW - 10, 1)]).seal(b"session", NOW).unwrap();
        assert!(opens(&with(&keys), &late));
    }

    #[test]
    fn before_any_keys_time_and_without_any_tickets_are_the_processes_own() {
        for tickets in [with(&[(NOW + 10, 1)]), with(&[])] {
            let ticket = tickets.seal(b"session", NOW).unwrap();
            assert!(opens(&tickets, &ticket));
            tickets.share(None);
            assert!(opens(&tickets, &ticket), "still its own");
            assert!(!opens(&with(&[(NOW + 10, 1)]), &ticket));
        }
    }

    #[test]
    fn a_ticket_is_good_for_half_a_day_and_not_made_in_the_future() {
        let tickets = with(&[(0, 1)]);
        let made = |at: u64| tickets.seal(b"session", at).unwrap();
        assert!(opens(&tickets, &made(NOW - u64::from(LIFETIME))));
        assert!(!opens(&tickets, &made(NOW - u64::from(LIFETIME) - 1)));
        assert!(opens(&tickets, &made(NOW + AHEAD)));
        assert!(!opens(&tickets, &made(NOW + AHEAD + 1)));
    }

    #[test]
    fn no_byte_of_a_ticket_can_be_another() {
        let tickets = with(&[(0, 1)]);
        let ticket = tickets.seal(b"session", NOW).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(!opens(&tickets, &changed), "byte {at}");
            assert!(!opens(&tickets, &ticket[..at]), "cut at {at}");
        }
    }
}
