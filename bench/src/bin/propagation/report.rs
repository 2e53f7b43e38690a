//! The figures for people, and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::Run;
use crate::figures::Figures;
use crate::narthex::Memory;

/// Where it was measured.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let said = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let info = read("/proc/cpuinfo");
    let cpu = info.lines().find(|line| line.starts_with("model name"));
    let cpu = cpu.and_then(|line| line.split_once(": "));
    json!({
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "commit": said("git", &["rev-parse", "HEAD"]),
        "cpu": cpu.map_or("", |(_, name)| name),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": said("uname", &["-r"]),
        "load_before": read("/proc/loadavg").trim(),
    })
}

/// As Markdown.
pub(crate) fn table(run: &Run) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = put(run, &mut text);
    text
}

fn put(run: &Run, out: &mut String) -> std::fmt::Result {
    let machine = |name: &str| run.machine[name].to_string().trim_matches('"').to_owned();
    writeln!(
        out,
        "# From event to socket, {} routes, {}\n\n{}, {} cores, kernel {}, load before: {}. A real \
         API server and etcd on the same cores; two workers; an Ingress, a Service and two endpoints \
         a route.\n",
        run.routes,
        machine("date"),
        machine("cpu"),
        machine("cores"),
        machine("kernel"),
        machine("load_before"),
    )?;
    writeln!(
        out,
        "| ms | p50 | p90 | p99 | most |\n| --- | ---: | ---: | ---: | ---: |"
    )?;
    for phase in &run.phases {
        let name = &phase.name;
        row(out, &format!("{name}: event → first 200"), &phase.served)?;
        row(
            out,
            &format!("{name}: event → 200 on four connections"),
            &phase.everywhere,
        )?;
        row(
            out,
            &format!("{name}: bare watch, created → event"),
            &phase.watch,
        )?;
        let histogram = &phase.event_to_served;
        let at_most = |part| format!("≤ {}", histogram.at_most(part));
        writeln!(
            out,
            "| {name}: received → served by every worker, its own histogram of {} | {} | {} | {} | {} |",
            histogram.count(),
            at_most(0.5),
            at_most(0.9),
            at_most(0.99),
            at_most(1.0),
        )?;
    }
    for phase in &run.phases {
        if let Some(rate) = phase.churn_per_second {
            writeln!(out, "\nIt came to {rate:.0} changes of endpoints a second.")?;
        }
    }
    writeln!(
        out,
        "\n| memory, MB | resident | of that anonymous | most so far |\n| --- | ---: | ---: | ---: |"
    )?;
    for (when, memory) in &run.memory {
        let [resident, anonymous, most] = megabytes(memory);
        writeln!(
            out,
            "| {when} | {resident:.1} | {anonymous:.1} | {most:.1} |"
        )?;
    }
    let ready: Vec<_> = run.ready.iter().map(|ms| format!("{ms:.0}")).collect();
    writeln!(out, "\nReady after {} ms.", ready.join(", "))
}

fn row(out: &mut String, name: &str, figures: &Figures) -> std::fmt::Result {
    writeln!(
        out,
        "| {name} | {:.2} | {:.2} | **{:.2}** | {:.2} |",
        figures.quantile(0.5),
        figures.quantile(0.9),
        figures.quantile(0.99),
        figures.most()
    )
}

/// Resident, anonymous and most.
fn megabytes(memory: &Memory) -> [f64; 3] {
    [memory.resident, memory.anonymous, memory.most]
        .map(|bytes| (bytes as f64 / 1e5).round() / 10.0)
}

/// As `results.json` has it.
pub(crate) fn json(run: &Run) -> Value {
    let phases = run.phases.iter().map(|phase| {
        json!({
            "name": phase.name,
            "event_to_first_200_ms": phase.served.json(),
            "event_to_200_on_four_connections_ms": phase.everywhere.json(),
            "created_to_event_ms": phase.watch.json(),
            "received_to_served_by_every_worker_ms": {
                "count": phase.event_to_served.count(),
                "p50_at_most": phase.event_to_served.at_most(0.5),
                "p99_at_most": phase.event_to_served.at_most(0.99),
            },
            "churn_per_second": phase.churn_per_second.map(f64::round),
        })
    });
    let memory = run.memory.iter().map(|(when, memory)| {
        let [resident, anonymous, most] = megabytes(memory);
        json!({"when": when, "resident_mb": resident, "anonymous_mb": anonymous, "most_mb": most})
    });
    json!({
        "machine": run.machine,
        "routes": run.routes,
        "created_in_seconds": run.filled.as_secs_f64().round(),
        "ready_ms": run.ready.iter().map(|ms| ms.round()).collect::<Vec<_>>(),
        "memory": memory.collect::<Vec<_>>(),
        "phases": phases.collect::<Vec<_>>(),
    })
}
