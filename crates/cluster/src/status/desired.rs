//! What is to be done about one Ingress's status: no clock, no network.

use super::Addresses;
use super::view::Entry;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is right, or none of our business, or the addresses are not known yet.
    Leave,
    /// A live replica, perhaps this one, does not serve it yet as it is.
    Wait,
    /// These addresses are to be written.
    Write(Addresses),
    /// The addresses that we wrote are to be taken away.
    Clear,
}

/// What is known about one Ingress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) entry: &'a Entry,
    /// Whether it is served, here.
    pub(super) is_served: bool,
    /// Whether what is served here is at least as new as the entry.
    pub(super) is_judged: bool,
    /// Whether the other live replicas are that far.
    pub(super) is_everywhere: bool,
    /// Whether its status is an ingress-nginx's, which lives.
    pub(super) is_anothers: bool,
    /// None if not known yet.
    pub(super) addresses: Option<&'a Addresses>,
}

/// What is to be done.
pub(super) fn decide(facts: Facts<'_>) -> Decision {
    let Facts {
        entry, addresses, ..
    } = facts;
    let clear = match entry.is_ours {
        true => Decision::Clear,
        false => Decision::Leave,
    };
    if facts.is_anothers {
        return Decision::Leave;
    }
    if !facts.is_judged {
        return Decision::Wait;
    }
    if !facts.is_served {
        return clear;
    }
    match addresses {
        None => Decision::Leave,
        Some(none) if none.is_empty() => clear,
        Some(same) if *same == entry.addresses => Decision::Leave,
        Some(_) if !facts.is_everywhere => Decision::Wait,
        Some(addresses) => Decision::Write(addresses.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Address;
    use super::*;

    fn addresses(all: &[&str]) -> Addresses {
        Addresses::sorted(all.iter().map(|it| Address::parse(it)).collect())
    }

    fn entry(has: &[&str], is_ours: bool) -> Entry {
        Entry {
            version: "1".into(),
            class: None,
            addresses: addresses(has),
            is_ours,
        }
    }

    fn facts<'a>(entry: &'a Entry, wanted: &'a Addresses) -> Facts<'a> {
        Facts {
            entry,
            is_served: true,
            is_judged: true,
            is_everywhere: true,
            is_anothers: false,
            addresses: Some(wanted),
        }
    }

    #[test]
    fn an_address_is_written_where_it_differs_and_every_replica_serves_it() {
        let wanted = addresses(&["203.0.113.1"]);
        for (has, is_ours) in [
            (&[][..], false),
            (&["198.51.100.1"], true),
            (&["198.51.100.1"], false),
        ] {
            let entry = entry(has, is_ours);
            let facts = facts(&entry, &wanted);
            assert_eq!(decide(facts), Decision::Write(wanted.clone()));
            let behind = Facts {
                is_everywhere: false,
                ..facts
            };
            assert_eq!(decide(behind), Decision::Wait);
            let early = Facts {
                is_judged: false,
                ..facts
            };
            assert_eq!(decide(early), Decision::Wait);
            for left in [
                Facts {
                    is_anothers: true,
                    ..facts
                },
                Facts {
                    addresses: None,
                    ..facts
                },
            ] {
                assert_eq!(decide(left), Decision::Leave, "{left:?}");
            }
        }
        for is_ours in [true, false] {
            let same = entry(&["203.0.113.1"], is_ours);
            assert_eq!(decide(facts(&same, &wanted)), Decision::Leave);
        }
    }

    #[test]
    fn what_we_wrote_is_taken_away_and_nothing_else() {
        let (wanted, none) = (addresses(&["203.0.113.1"]), addresses(&[]));
        for (is_ours, expected) in [(true, Decision::Clear), (false, Decision::Leave)] {
            let entry = entry(&["203.0.113.1"], is_ours);
            let gone = Facts {
                is_served: false,
                ..facts(&entry, &wanted)
            };
            assert_eq!(decide(gone), expected);
            assert_eq!(decide(facts(&entry, &none)), expected);
            // Another's while we do not know better.
            let anothers = Facts {
                is_anothers: true,
                ..gone
            };
            assert_eq!(decide(anothers), Decision::Leave);
            let early = Facts {
                is_judged: false,
                ..gone
            };
            assert_eq!(decide(early), Decision::Wait);
        }
    }
}
