//! Tables for people.

use std::fmt::Write as _;

use crate::cases::Load;
use crate::measure::{Column, Outcome};
use crate::peers::Proxy;
use crate::results::{Run, Spread};

/// One case: what each proxy costs, by itself and in units of the floor and of Narthex.
pub(crate) fn case(outcome: &Outcome) -> String {
    let memory = matches!(outcome.case.load, Load::Idle(_));
    let mut text = format!("\n| {} | ", outcome.case.unit());
    text += if memory {
        "median (least – most) | Narthex ÷ it (least – most) | whole process, MiB |\n\
         | --- | ---: | ---: | ---: |\n"
    } else {
        "median (least – most) | user + system | ÷ floor | Narthex ÷ it (least – most) | requests/s | p50 / p99 / p99.9 µs |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    };
    for column in &outcome.columns {
        let name = column.proxy.name();
        let _ = match (&column.samples, column.cost()) {
            (Err(why), _) => {
                // One row is one line.
                let why = why.replace('\n', " ");
                writeln!(text, "| {name} | left out: {why} |")
            }
            (Ok(_), None) => writeln!(text, "| {name} | no sample |"),
            (Ok(_), Some(cost)) if memory => {
                let median = whole(cost.median);
                let (least, most) = (whole(cost.least), whole(cost.most));
                let ratio = ratio(outcome.column("narthex"), Some(column));
                let memory = Spread::of(column.samples().iter().map(|sample| sample.memory));
                let mib = memory.map_or(0.0, |memory| memory.median / 1_048_576.0);
                writeln!(
                    text,
                    "| {name} | {median} ({least} – {most}) | {ratio} | {mib:.1} |"
                )
            }
            (Ok(_), Some(cost)) => writeln!(
                text,
                "| {name} | {:.1} ({:.1} – {:.1}) | {} | {} | {} | {} | {} |",
                cost.median,
                cost.least,
                cost.most,
                user_and_system(column),
                median(column.over_of(outcome.column("floor"))),
                ratio(outcome.column("narthex"), Some(column)),
                per_second(column, outcome.backend_per_second),
                latency(column),
            ),
        };
    }
    text
}

/// All cases: Narthex in units of each other proxy, and each proxy in units of the floor.
pub(crate) fn overview(run: &Run) -> String {
    let mut text = String::from("Narthex ÷ each, median (least – most) of the rounds:\n\n| case |");
    let others: Vec<_> = Proxy::ALL
        .into_iter()
        .filter(|proxy| *proxy != Proxy::Narthex)
        .filter(|proxy| run.cases.iter().any(|it| it.column(proxy.name()).is_some()))
        .collect();
    for proxy in &others {
        let _ = write!(text, " {} |", proxy.name());
    }
    text += "\n| --- |";
    text += &" ---: |".repeat(others.len());
    text.push('\n');
    for outcome in &run.cases {
        let _ = write!(text, "| {} |", outcome.case.name);
        for proxy in &others {
            let other = outcome.column(proxy.name());
            let _ = write!(text, " {} |", ratio(outcome.column("narthex"), other));
        }
        text.push('\n');
    }
    text
}

/// `table.md`.
pub(crate) fn page(run: &Run) -> String {
    let machine = &run.machine;
    let said = |name: &str| machine[name].as_str().unwrap_or_default().to_owned();
    let mut text = format!(
        "# Side by side, {}\n\n{}, {} cores, kernel {}, load before: {}. \
         {} rounds of {} s, {} connections, latency at {} requests/s.\n\n",
        said("date"),
        said("cpu"),
        machine["cores"],
        said("kernel"),
        said("load_before"),
        run.plan.rounds,
        run.plan.seconds,
        run.plan.connections,
        run.plan.rate,
    );
    if let Some(versions) = machine["versions"].as_object() {
        for (name, version) in versions {
            let _ = writeln!(text, "- {name}: {}", version.as_str().unwrap_or_default());
        }
    }
    text += "\nBelow 1 Narthex is cheaper. ";
    text += &overview(run);
    text += "\n![CPU per request](chart.svg)\n";
    for outcome in &run.cases {
        let _ = write!(
            text,
            "\n## {}\n\n{}\n{}",
            outcome.case.name,
            outcome.case.about,
            case(outcome)
        );
        if let Some(alone) = outcome.backend_per_second {
            let _ = writeln!(text, "\nThe backend alone: {} a second.", whole(alone));
        }
    }
    text
}

impl Column {
    fn over_of(&self, other: Option<&Self>) -> Option<Spread> {
        other.and_then(|other| self.over(other))
    }
}

fn ratio(own: Option<&Column>, other: Option<&Column>) -> String {
    let spread = own.zip(other).and_then(|(own, other)| own.over(other));
    spread.map_or_else(
        || "–".to_owned(),
        |spread| {
            format!(
                "**{:.2}** ({:.2} – {:.2})",
                spread.median, spread.least, spread.most
            )
        },
    )
}

fn median(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |spread| format!("{:.2}", spread.median))
}

fn user_and_system(column: &Column) -> String {
    let samples = column.samples();
    let user = Spread::of(samples.iter().map(|sample| sample.cost.user));
    let system = Spread::of(samples.iter().map(|sample| sample.cost.system));
    let (user, system) = user.zip(system).expect("there is a cost");
    format!("{:.1} + {:.1}", user.median, system.median)
}

/// Only where the backend alone reaches three times the figure: otherwise it is the load's and the
/// backend's as much as the proxy's.
fn per_second(column: &Column, backend: Option<f64>) -> String {
    let reached = Spread::of(column.samples().iter().map(|sample| sample.per_second));
    match (reached, backend) {
        (Some(reached), Some(backend)) if backend >= 3.0 * reached.median => whole(reached.median),
        _ => "–".to_owned(),
    }
}

fn latency(column: &Column) -> String {
    let at = |which: usize| {
        let samples = column.samples().iter();
        Spread::of(samples.filter_map(|sample| Some(sample.latency?[which])))
    };
    match (at(0), at(2), at(3)) {
        (Some(p50), Some(p99), Some(p999)) => {
            format!("{:.0} / {:.0} / {:.0}", p50.median, p99.median, p999.median)
        }
        _ => "–".to_owned(),
    }
}

fn whole(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(",")
}
