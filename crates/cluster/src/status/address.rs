//! The addresses that a status tells.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// One entry of `status.loadBalancer.ingress`. Its ports are not read: nobody writes them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// `ip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Box<str>>,
    /// `hostname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Box<str>>,
}

impl Address {
    /// An IP address, or else a host name.
    pub fn parse(text: &str) -> Self {
        let text: Box<str> = text.into();
        if text.parse::<IpAddr>().is_ok() {
            Self {
                ip: Some(text),
                hostname: None,
            }
        } else {
            Self {
                ip: None,
                hostname: Some(text),
            }
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> &str {
        let text = self.ip.as_deref().or(self.hostname.as_deref());
        text.unwrap_or_default()
    }
}

/// Addresses in their order, each once, shared by all that tell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Addresses(Arc<[Address]>);

impl Addresses {
    /// Sorted: what is the same in another order is no reason to write.
    pub(crate) fn sorted(mut addresses: Vec<Address>) -> Self {
        addresses.sort();
        addresses.dedup();
        Self(addresses.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn as_slice(&self) -> &[Address] {
        &self.0
    }

    /// `203.0.113.1, lb.example.com`
    pub(crate) fn text(&self) -> String {
        let all: Vec<&str> = self.0.iter().map(Address::text).collect();
        all.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart_from_names_and_sorted() {
        let parsed = [
            "lb.example.com",
            "2001:db8::1",
            "203.0.113.1",
            "203.0.113.1",
        ]
        .map(Address::parse)
        .to_vec();
        let addresses = Addresses::sorted(parsed);
        let json = serde_json::to_value(addresses.as_slice()).expect("JSON");
        let expected = serde_json::json!([
            {"hostname": "lb.example.com"}, {"ip": "2001:db8::1"}, {"ip": "203.0.113.1"}
        ]);
        assert_eq!(json, expected);
        assert_eq!(addresses.text(), "lb.example.com, 2001:db8::1, 203.0.113.1");
    }
}
