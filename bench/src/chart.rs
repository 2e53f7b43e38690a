//! The chart: a panel a case, a bar a proxy, user and system time apart.

use std::fmt::Write as _;

use crate::cases::Load;
use crate::measure::Outcome;
use crate::results::{Run, Spread};

const WIDTH: f64 = 460.0;
const NAME: f64 = 64.0;
const FIGURE: f64 = 110.0;
const BAR: f64 = 18.0;
const HEAD: f64 = 34.0;
const GAP: f64 = 18.0;
const COLUMNS: usize = 2;

/// All cases as one SVG.
pub(crate) fn svg(run: &Run) -> String {
    let most = run.cases.iter().map(|case| case.columns.len()).max();
    let height = HEAD + BAR * most.unwrap_or(0) as f64 + GAP;
    let rows = run.cases.len().div_ceil(COLUMNS);
    let (width, all) = (WIDTH * COLUMNS as f64 + GAP, height * rows as f64 + 40.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {all}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{GAP}\" y=\"22\" font-size=\"14\" font-weight=\"bold\">What a proxy costs: less \
         is better (dark: user, light: system; medians)</text>\n"
    );
    for (number, outcome) in run.cases.iter().enumerate() {
        let x = GAP + WIDTH * (number % COLUMNS) as f64;
        let y = 40.0 + height * (number / COLUMNS) as f64;
        let _ = writeln!(text, "<g transform=\"translate({x} {y})\">");
        panel(&mut text, outcome);
        text += "</g>\n";
    }
    text + "</svg>\n"
}

fn panel(text: &mut String, outcome: &Outcome) {
    let (name, unit) = (outcome.case.name, outcome.case.unit());
    let _ = writeln!(
        text,
        "<text y=\"18\"><tspan font-weight=\"bold\">{name}</tspan> <tspan fill=\"#666\">{unit}\
         </tspan></text>"
    );
    let costs = outcome.columns.iter().filter_map(|column| column.cost());
    let most = costs.map(|cost| cost.median).fold(0.0, f64::max);
    let scale = (WIDTH - NAME - FIGURE - GAP) / most.max(f64::MIN_POSITIVE);
    for (number, column) in outcome.columns.iter().enumerate() {
        let y = HEAD - 8.0 + BAR * number as f64;
        let proxy = column.proxy.name();
        let (weight, dark, light) = match proxy {
            "narthex" => ("bold", "#0b5f4b", "#5fb89f"),
            "floor" => ("normal", "#777777", "#bbbbbb"),
            _ => ("normal", "#35507a", "#93acd1"),
        };
        let _ = writeln!(
            text,
            "<text x=\"0\" y=\"{}\" font-weight=\"{weight}\">{proxy}</text>",
            y + 12.0
        );
        let Some(cost) = column.cost() else {
            let _ = writeln!(
                text,
                "<text x=\"{NAME}\" y=\"{}\" fill=\"#999\">left out</text>",
                y + 12.0
            );
            continue;
        };
        let samples = column.samples().iter();
        let user = Spread::of(samples.map(|sample| sample.cost.user / sample.cost.total()));
        let whole = cost.median * scale;
        let user = whole * user.map_or(0.0, |part| part.median);
        let figure = match outcome.case.load {
            Load::Idle(_) => format!("{:.0}", cost.median),
            _ => format!("{:.1}", cost.median),
        };
        let ratio = outcome
            .column("narthex")
            .and_then(|own| column.over(own))
            .filter(|_| proxy != "narthex")
            .map_or_else(String::new, |ratio| format!("  ×{:.2}", ratio.median));
        let _ = writeln!(
            text,
            "<rect x=\"{NAME}\" y=\"{y}\" width=\"{user:.1}\" height=\"{h}\" fill=\"{dark}\"/>\
             <rect x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{h}\" fill=\"{light}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{figure}{ratio}</text>",
            NAME + user,
            whole - user,
            NAME + whole + 5.0,
            y + 12.0,
            h = BAR - 4.0,
        );
    }
}
