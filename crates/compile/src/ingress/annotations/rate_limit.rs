//! `limit-rps` and its like: how much one client may ask for.

use model::AddressSet;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, integer, networks, number};

const ALLOW: &str = "limit-allowlist";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Limits of requests",
    annotations: &[
        Annotation::works(ALLOW, Risk::Low, allow)
            .default("nobody")
            .test("nginx_limits"),
        Annotation::works("limit-burst-multiplier", Risk::Low, |settings, value| {
            let factor = natural(value).ok_or(NATURAL)?;
            of(settings).burst = Some(factor);
            Ok(())
        })
        .default("5")
        .test("nginx_limits"),
        Annotation::works("limit-connections", Risk::Low, |settings, value| {
            most(value).map(|most| of(settings).connections = most)
        })
        .default("no limit")
        .test("nginx_limits"),
        Annotation::works("limit-rate", Risk::Low, |settings, value| {
            let rate = natural(value).ok_or(NATURAL)?;
            of(settings).rate = Some(rate);
            Ok(())
        })
        .default("no limit")
        .test("nginx_limits"),
        Annotation::works("limit-rate-after", Risk::Low, |settings, value| {
            let after = natural(value).ok_or(NATURAL)?;
            of(settings).rate_after = Some(after);
            Ok(())
        })
        .default("0")
        .test("nginx_limits"),
        Annotation::works("limit-rpm", Risk::Low, |settings, value| {
            most(value).map(|most| of(settings).per_minute = most)
        })
        .default("no limit")
        .test("nginx_limits"),
        Annotation::works("limit-rps", Risk::Low, |settings, value| {
            most(value).map(|most| of(settings).per_second = most)
        })
        .default("no limit")
        .test("nginx_limits"),
        Annotation::works("limit-whitelist", Risk::Low, allow)
            .alias_of(ALLOW)
            .test("nginx_limits"),
    ],
};

/// How much one client may ask for, as far as an Ingress says. In each number 0 is no limit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RateLimit {
    pub(crate) exempt: AddressSet,
    pub(crate) per_second: u32,
    pub(crate) per_minute: u32,
    /// How many times as much may come at once.
    pub(crate) burst: Option<u32>,
    pub(crate) connections: u32,
    /// In KiB a second.
    pub(crate) rate: Option<u32>,
    /// In KiB.
    pub(crate) rate_after: Option<u32>,
}

const NATURAL: BadValue = BadValue::unused("a number from 0 on");

fn of(settings: &mut Settings) -> &mut RateLimit {
    &mut settings.guard.get_or_insert_default().rate_limit
}

fn allow(settings: &mut Settings, value: &str) -> Result<(), BadValue> {
    let nets = networks(value).ok_or(BadValue::invalid(
        "addresses and networks with commas between, as 10.0.0.0/8, 2001:db8::1",
    ))?;
    of(settings).exempt = nets.into_iter().collect();
    Ok(())
}

/// A limit, of which none below 1 is one.
fn most(value: &str) -> Result<u32, BadValue> {
    let most = number(value)?;
    Ok(u32::try_from(most.max(0)).unwrap_or(u32::MAX))
}

fn natural(value: &str) -> Option<u32> {
    integer(value).and_then(|number| u32::try_from(number).ok())
}
