//! Which names get a certificate at their first handshake: those that a policy allows, and no more
//! of them at a time than the CA and we can bear.
//!
//! Whoever connects chooses the name, so everything here is bounded. [`Policy`] says of a name at
//! once whether it may be, may not be, or somebody has to be asked; [`ask`] asks.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

mod ask;

pub use ask::Asker;

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Names, in which `*` stands for one label: `*.example.org`, `shop-*.example.org`. None
    /// allows any name, if there is somebody to ask.
    pub patterns: Vec<String>,
    /// Whether somebody is asked of each name that the patterns allow.
    pub asks: bool,
    /// How many names that have no certificate yet may be let in within an hour.
    pub hourly: usize,
    /// How long a name that may not be is remembered.
    pub refused_for: Duration,
    /// How many names are remembered, of those refused and of those let in.
    pub remembered: usize,
}

impl Default for Rules {
    /// Nothing is allowed.
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            asks: false,
            hourly: 20,
            refused_for: Duration::from_secs(10 * 60),
            remembered: 10_000,
        }
    }
}

/// What a policy says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may have a certificate. It counts as let in.
    Allowed,
    /// It may not; [`Refusal`] says why.
    Refused(Refusal),
    /// Somebody has to be asked; what they say is told to [`Policy::told`].
    Ask,
}

/// Why a name gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is no name that a certificate can be for: an address, a single label, a wildcard.
    NoName,
    /// No pattern allows it.
    NotAllowed,
    /// Whoever was asked refused it, not long ago.
    Denied,
    /// Too many names were let in within the last hour.
    TooMany,
}

/// Decides of names.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    /// Those refused, and until when.
    refused: HashMap<String, SystemTime>,
    /// Those let in within the last hour, the oldest first.
    let_in: VecDeque<(SystemTime, String)>,
    /// Those let in at all: each counts once.
    known: HashMap<String, SystemTime>,
}

/// Over which names are counted.
const HOUR: Duration = Duration::from_secs(60 * 60);

impl Policy {
    /// One that remembers nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            refused: HashMap::new(),
            let_in: VecDeque::new(),
            known: HashMap::new(),
        }
    }

    /// Takes other rules; what was let in stays counted, what was refused is decided anew.
    pub fn set(&mut self, rules: Rules) {
        self.rules = rules;
        self.refused.clear();
    }

    /// Whether a name could ever be, in any case of letters: whether a certificate can be for it and
    /// a pattern allows it. Remembers nothing.
    pub fn permits(&self, name: &str) -> bool {
        normal(name).is_some_and(|name| self.allows(&name))
    }

    /// What is to become of a name, in any case of letters.
    pub fn decide(&mut self, name: &str, now: SystemTime) -> Verdict {
        let Some(name) = normal(name) else {
            return Verdict::Refused(Refusal::NoName);
        };
        if !self.allows(&name) {
            return Verdict::Refused(Refusal::NotAllowed);
        }
        if self.known.contains_key(&name) {
            return Verdict::Allowed;
        }
        if self.refused.get(&name).is_some_and(|until| now < *until) {
            return Verdict::Refused(Refusal::Denied);
        }
        if self.is_full(now) {
            return Verdict::Refused(Refusal::TooMany);
        }
        if self.rules.asks {
            return Verdict::Ask;
        }
        self.let_in(name, now);
        Verdict::Allowed
    }

    /// What somebody who was asked has said of a name. Then it is [`Verdict::Allowed`], or refused
    /// after all, because others were let in meanwhile.
    pub fn told(&mut self, name: &str, may: bool, now: SystemTime) -> Verdict {
        let Some(name) = normal(name) else {
            return Verdict::Refused(Refusal::NoName);
        };
        if !may {
            let until = now + self.rules.refused_for;
            remember(&mut self.refused, name, until, self.rules.remembered);
            return Verdict::Refused(Refusal::Denied);
        }
        if self.known.contains_key(&name) {
            return Verdict::Allowed;
        }
        if self.is_full(now) {
            return Verdict::Refused(Refusal::TooMany);
        }
        self.let_in(name, now);
        Verdict::Allowed
    }

    /// Whether a pattern allows a name; with none, whether there is somebody to ask.
    fn allows(&self, name: &str) -> bool {
        match self.rules.patterns.as_slice() {
            [] => self.rules.asks,
            patterns => patterns.iter().any(|pattern| matches(pattern, name)),
        }
    }

    fn is_full(&mut self, now: SystemTime) -> bool {
        while let Some((when, _)) = self.let_in.front()
            // One of the future was let in while a clock was ahead.
            && (*when + HOUR <= now || *when > now + HOUR)
        {
            self.let_in.pop_front();
        }
        self.let_in.len() >= self.rules.hourly
    }

    fn let_in(&mut self, name: String, now: SystemTime) {
        self.refused.remove(&name);
        self.let_in.push_back((now, name.clone()));
        remember(&mut self.known, name, now, self.rules.remembered);
    }
}

/// The name of the Secret in which a name's certificate is kept: what people can read of it, and
/// what tells names apart.
pub fn secret_name(name: &str) -> String {
    const READABLE: usize = 40;

    let readable: String = name
        .chars()
        .take(READABLE)
        .map(|letter| match letter {
            'a'..='z' | '0'..='9' => letter,
            _ => '-',
        })
        .collect();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, name.as_bytes());
    let hash: String = hash.as_ref()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("on-demand-{}-{hash}", readable.trim_matches('-'))
}

/// Adds one, and forgets the half of earlier times if there are too many.
fn remember(all: &mut HashMap<String, SystemTime>, name: String, time: SystemTime, most: usize) {
    if all.len() >= most.max(1) && !all.contains_key(&name) {
        // Seldom: it takes as many new names as are remembered.
        let mut times: Vec<SystemTime> = all.values().copied().collect();
        let middle = times.len() / 2;
        let (_, middle, _) = times.select_nth_unstable(middle);
        let middle = *middle;
        let mut left = all.len() / 2 + 1;
        all.retain(|_, it| {
            let goes = left > 0 && *it <= middle;
            left -= usize::from(goes);
            !goes
        });
    }
    all.insert(name, time);
}

/// A name as certificates have it: at least two labels, in lower case.
fn normal(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = |label: &str| {
        let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(letter)
    };
    let is_name = name.len() <= 253
        && name.contains('.')
        && name.split('.').all(label)
        && name.parse::<std::net::IpAddr>().is_err();
    is_name.then_some(name)
}

/// Whether a pattern is a name's, label by label.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    let (mut patterns, mut labels) = (pattern.split('.'), name.split('.'));
    loop {
        match (patterns.next(), labels.next()) {
            (None, None) => return true,
            (Some(pattern), Some(label)) if fits(pattern, label) => {}
            _ => return false,
        }
    }
}

/// Within a label one `*` stands for some letters; alone, for a whole one.
fn fits(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((before, after)) => {
            label.len() > before.len() + after.len()
                && label.starts_with(before)
                && label.ends_with(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn policy(patterns: &[&str], asks: bool) -> Policy {
        Policy::new(Rules {
            patterns: patterns.iter().map(|&it| it.to_owned()).collect(),
            asks,
            hourly: 3,
            ..Rules::default()
        })
    }

    #[test]
    fn patterns_stand_for_one_label_each() {
        let mut policy = policy(
            &["*.example.org", "shop-*.example.net", "Example.com"],
            false,
        );
        for (name, verdict) in [
            ("A.example.org", Verdict::Allowed),
            ("shop-1.example.net.", Verdict::Allowed),
            ("example.com", Verdict::Allowed),
            ("a.b.example.org", Verdict::Refused(Refusal::NotAllowed)),
            ("example.org", Verdict::Refused(Refusal::NotAllowed)),
            ("shop-.example.net", Verdict::Refused(Refusal::NotAllowed)),
            ("www.example.com", Verdict::Refused(Refusal::NotAllowed)),
            ("*.example.org", Verdict::Refused(Refusal::NoName)),
            ("localhost", Verdict::Refused(Refusal::NoName)),
            ("10.0.0.1", Verdict::Refused(Refusal::NoName)),
            ("a..example.org", Verdict::Refused(Refusal::NoName)),
            ("", Verdict::Refused(Refusal::NoName)),
        ] {
            assert_eq!(policy.decide(name, start()), verdict, "{name}");
        }
        // Without a pattern and without anybody to ask there is nothing that is allowed.
        let nothing = Policy::new(Rules::default()).decide("a.example.org", start());
        assert_eq!(nothing, Verdict::Refused(Refusal::NotAllowed));
    }

    #[test]
    fn so_many_new_names_an_hour_are_let_in_and_known_ones_always() {
        let mut policy = policy(&["*.example.org"], false);
        let name = |i: usize| format!("n{i}.example.org");
        for i in 0..3 {
            assert_eq!(policy.decide(&name(i), start()), Verdict::Allowed);
        }
        let too_many = Verdict::Refused(Refusal::TooMany);
        assert_eq!(policy.decide(&name(3), start()), too_many);
        assert_eq!(policy.decide(&name(0), start()), Verdict::Allowed);
        let later = start() + HOUR;
        assert_eq!(policy.decide(&name(3), later), Verdict::Allowed);
    }

    #[test]
    fn who_is_asked_decides_and_a_no_holds_for_a_while() {
        let mut policy = policy(&[], true);
        assert_eq!(policy.decide("a.example.org", start()), Verdict::Ask);
        assert_eq!(
            policy.told("a.example.org", true, start()),
            Verdict::Allowed
        );
        assert_eq!(policy.decide("A.example.org", start()), Verdict::Allowed);
        let denied = Verdict::Refused(Refusal::Denied);
        assert_eq!(policy.told("b.example.org", false, start()), denied);
        assert_eq!(policy.decide("b.example.org", start()), denied);
        let later = start() + Duration::from_secs(600);
        assert_eq!(policy.decide("b.example.org", later), Verdict::Ask);
        // Of many that are asked of at once no more are let in than may be.
        for i in 0..2 {
            policy.told(&format!("c{i}.example.org"), true, start());
        }
        let too_many = Verdict::Refused(Refusal::TooMany);
        assert_eq!(policy.told("d.example.org", true, start()), too_many);
    }

    #[test]
    fn a_secret_is_named_so_that_people_and_api_servers_can_read_it() {
        let name = secret_name("shop_1.example.org");
        assert!(name.starts_with("on-demand-shop-1-example-org-"), "{name}");
        assert_ne!(name, secret_name("shop-1.example.org"));
        let long = secret_name(&format!("{}.example.org", "a".repeat(63)));
        assert!(long.len() <= 68, "{long}");
    }

    proptest! {
        #[test]
        fn no_more_is_remembered_than_allowed(names in prop::collection::vec("[a-z]{1,6}\\.[a-z]{1,3}", 1..300)) {
            let mut policy = Policy::new(Rules {
                asks: true,
                hourly: 50,
                remembered: 20,
                ..Rules::default()
            });
            let mut now = start();
            for (i, name) in names.iter().enumerate() {
                now += Duration::from_secs(37);
                let _ = policy.decide(name, now);
                let _ = policy.told(name, i % 3 == 0, now);
                prop_assert!(policy.refused.len() <= 20 && policy.known.len() <= 20);
                prop_assert!(policy.let_in.len() <= 50);
            }
        }
    }
}
