//! A run and the folder that it leaves.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::measure::{Column, Outcome, Plan, Sample};
use crate::{Error, chart, report};

/// All that was measured.
pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) machine: Value,
    pub(crate) cases: Vec<Outcome>,
}

impl Run {
    pub(crate) fn new(plan: &Plan, machine: Value) -> Self {
        Self {
            plan: *plan,
            machine,
            cases: Vec::new(),
        }
    }

    /// What should have been measured and was not.
    pub(crate) fn failures(&self) -> Vec<String> {
        let columns = self.cases.iter().flat_map(|outcome| {
            let columns = outcome.columns.iter();
            columns.map(move |column| (outcome.case, column))
        });
        columns
            .filter_map(|(case, column)| {
                let why = column.samples.as_ref().err()?;
                let name = column.proxy.name();
                let failed = case.leaves_out(name).is_none();
                failed.then(|| format!("{}: {name}: {why}", case.name))
            })
            .collect()
    }
}

/// The middle and the ends of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// None of no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 => f64::midpoint(figures[middle - 1], figures[middle]),
            _ => figures[middle],
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

impl Column {
    pub(crate) fn samples(&self) -> &[Sample] {
        self.samples.as_deref().unwrap_or_default()
    }

    pub(crate) fn cost(&self) -> Option<Spread> {
        Spread::of(self.samples().iter().map(|sample| sample.cost.total()))
    }

    /// What this costs in units of what `other` costs in the same round.
    pub(crate) fn over(&self, other: &Self) -> Option<Spread> {
        let pairs = self.samples().iter().zip(other.samples());
        Spread::of(pairs.map(|(own, other)| own.cost.total() / other.cost.total()))
    }
}

impl Outcome {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.proxy.name() == name)
    }
}

/// Writes table, chart and figures; the configurations are those of the commit that these name.
pub(crate) fn write(run: &Run, out: &Path) -> Result<(), Error> {
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    fs::create_dir_all(out).map_err(failed)?;
    let json = serde_json::to_string_pretty(&figures(run)).expect("no keys but strings");
    fs::write(out.join("results.json"), json + "\n").map_err(failed)?;
    fs::write(out.join("table.md"), report::page(run)).map_err(failed)?;
    fs::write(out.join("chart.svg"), chart::svg(run)).map_err(failed)?;
    println!("written to {}", out.display());
    Ok(())
}

fn figures(run: &Run) -> Value {
    let cases: Vec<_> = run.cases.iter().map(case).collect();
    json!({
        "machine": run.machine,
        "rounds": run.plan.rounds,
        "seconds": run.plan.seconds,
        "connections": run.plan.connections,
        "latency_rate": run.plan.rate,
        "cases": cases,
    })
}

fn case(outcome: &Outcome) -> Value {
    let proxies: serde_json::Map<_, _> = outcome
        .columns
        .iter()
        .map(|column| {
            let value = match &column.samples {
                Ok(samples) => samples.iter().map(sample).collect(),
                Err(why) => json!({ "left_out": why }),
            };
            (column.proxy.name().to_owned(), value)
        })
        .collect();
    json!({
        "name": outcome.case.name,
        "about": outcome.case.about,
        "unit": outcome.case.unit(),
        "backend_alone_per_second": outcome.backend_per_second.map(f64::round),
        "proxies": proxies,
    })
}

fn sample(sample: &Sample) -> Value {
    let round = |figure: f64| (figure * 100.0).round() / 100.0;
    json!({
        "user": round(sample.cost.user),
        "system": round(sample.cost.system),
        "per_second": sample.per_second.round(),
        "errors": sample.errors,
        "memory": sample.memory,
        "strangers_part_of_core": round(sample.strangers),
        "latency_us_p50_p90_p99_p999": sample.latency,
    })
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_of_figures_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 3.0, 2.0]).expect("figures");
        assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of([]), None);
    }
}
