//! Kubernetes quantities: amounts of CPU and memory.

use std::fmt;

/// An amount as Kubernetes writes it: `100m`, `0.5`, `90Mi`
/// (`k8s.io/apimachinery/pkg/api/resource`, without signs and exponents).
#[derive(Debug, Clone)]
pub struct Quantity {
    text: Box<str>,
    thousandths: u128,
}

/// The units, each with its thousandths.
const UNITS: [(&str, u128); 10] = [
    ("", 1_000),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("Ki", 1_000 << 10),
    ("Mi", 1_000 << 20),
    ("Gi", 1_000 << 30),
    ("Ti", 1_000 << 40),
];

/// The most digits on each side of the point.
const DIGITS: usize = 9;

impl Quantity {
    /// Reads one. None where it is none, or has more than nine digits before or after its point.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (number, unit) = text.split_at(end.unwrap_or(text.len()));
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| {
            let is_short = (1..=DIGITS).contains(&text.len());
            is_short.then(|| text.parse::<u128>().ok()).flatten()
        };
        let (whole, parts) = (digits(whole)?, digits(part)?);
        // Of at most nine digits: nothing here comes near the end of 128 bits.
        let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
        Some(Self {
            text: text.into(),
            thousandths: whole * unit + (parts * unit).div_ceil(scale),
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// By amount: `1024Mi` is `1Gi`.
impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.thousandths == other.thousandths
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.thousandths.cmp(&other.thousandths)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_compared_by_amount() {
        let all = ["1m", "100m", "0.5", "1", "1.5", "90Mi", "100M", "1Gi", "2T"];
        let read: Vec<_> = all.iter().filter_map(|it| Quantity::parse(it)).collect();
        assert_eq!(read.len(), all.len());
        assert!(read.is_sorted());
        for (one, other) in [("1024Mi", "1Gi"), ("0.5", "500m"), ("1.0", "1")] {
            assert_eq!(Quantity::parse(one), Quantity::parse(other));
        }
    }

    #[test]
    fn what_is_no_quantity_is_none() {
        for text in [
            "",
            "Mi",
            ".5",
            "1.",
            "-1",
            "+1",
            "1e3",
            "1 Gi",
            "1gb",
            "1.2.3",
            "1Pi",
            "1\n",
            "{{a}}",
            "1234567890",
            "٣",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text:?}");
        }
    }
}
