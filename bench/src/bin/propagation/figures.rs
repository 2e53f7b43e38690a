//! Quantiles.

use serde_json::{Value, json};

/// Figures in order, in milliseconds.
pub(crate) struct Figures(Vec<f64>);

impl Figures {
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// The smallest of them that `part` of all are not above; 0 of none.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let rank = (part * self.0.len() as f64).ceil().max(1.0);
        self.0.get(rank as usize - 1).copied().unwrap_or(0.0)
    }

    pub(crate) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    pub(crate) fn json(&self) -> Value {
        let round = |figure: f64| (figure * 1e3).round() / 1e3;
        json!({
            "count": self.0.len(),
            "p50": round(self.quantile(0.5)),
            "p90": round(self.quantile(0.9)),
            "p99": round(self.quantile(0.99)),
            "max": round(self.most()),
        })
    }
}

/// A histogram as `/metrics` has it: how many were not above each bound, in seconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram(Vec<(f64, f64)>);

impl Histogram {
    pub(crate) fn read(metrics: &str, name: &str) -> Self {
        let prefix = format!("{name}_bucket{{le=\"");
        let buckets = metrics.lines().filter_map(|line| {
            let (bound, rest) = line.strip_prefix(&prefix)?.split_once('"')?;
            let bound = match bound {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((bound, rest.rsplit(' ').next()?.parse().ok()?))
        });
        Self(buckets.collect())
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let count = |bound: f64| {
            let found = before.0.iter().find(|(other, _)| *other == bound);
            found.map_or(0.0, |(_, count)| *count)
        };
        let grown = self
            .0
            .iter()
            .map(|&(bound, now)| (bound, now - count(bound)));
        Self(grown.collect())
    }

    pub(crate) fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The bound, in milliseconds, that at least `part` of all are not above.
    pub(crate) fn at_most(&self, part: f64) -> f64 {
        let wanted = part * self.count();
        let found = self.0.iter().find(|(_, count)| *count >= wanted);
        found.map_or(0.0, |(bound, _)| bound * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_figures() {
        let figures = Figures::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(
            (figures.quantile(0.5), figures.quantile(0.99)),
            (100.0, 198.0)
        );
        assert_eq!(figures.most(), 200.0);
        assert_eq!(Figures::of(Vec::new()).quantile(0.99), 0.0);
    }

    #[test]
    fn of_a_histogram_only_what_is_new_counts() {
        let text = |small: u32, all: u32| {
            format!("x_sum 7\nx_bucket{{le=\"0.005\"}} {small}\nx_bucket{{le=\"+Inf\"}} {all}\n")
        };
        let before = Histogram::read(&text(10, 20), "x");
        let after = Histogram::read(&text(109, 120), "x").since(&before);
        assert_eq!((after.count(), after.at_most(0.99)), (100.0, 5.0));
        assert_eq!(after.at_most(0.999), f64::INFINITY);
    }
}
