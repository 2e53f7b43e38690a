//! `narthex check`: every problem, one a line, and what is said of Gateway API's objects.

mod statuses;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use admin::view;
use objects::Severity;
use serde::Serialize;

use crate::config::Compilation;
use crate::control::{Objects, SaidBy};
use crate::failure::Failure;
use crate::finding::{self, Finding, Said};
use crate::flags::{Check, Output};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Outcome, Pipeline, list_kinds};
use crate::state::{State, default_certificate};
use crate::terminal::{Colour, painted};

/// `--output json`.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    problems: Vec<&'a view::Problem>,
    /// Those of Gateway API, with their status.
    objects: &'a [view::Object],
}

/// Checks the manifests.
pub(crate) fn run(flags: &Check) -> Result<ExitCode, Failure> {
    let outcome = compile(flags)?;
    let mut findings: Vec<(view::Problem, &Finding)> = outcome
        .findings
        .iter()
        .map(|finding| (finding.view(), finding))
        .collect();
    findings.sort_by(|(a, _), (b, _)| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let controller = &flags.compilation.gateway_controller_name;
    let objects = Objects::new(&outcome.compiled, controller, SaidBy::Alone);
    let objects: Vec<view::Object> = objects.all().collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    match flags.output {
        Output::Text => {
            write_lines(&mut out, &findings, stdout_has_colours())?;
            statuses::write(
                &mut out,
                &objects,
                !findings.is_empty(),
                stdout_has_colours(),
            )?;
        }
        Output::Json => {
            let checked = Checked {
                problems: findings.iter().map(|(view, _)| view).collect(),
                objects: &objects,
            };
            serde_json::to_writer_pretty(&mut out, &checked).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    // The findings are what matters; a summary that nobody can read is none.
    let _ = writeln!(io::stderr(), "{}", summary(&outcome));
    Ok(ExitCode::from(u8::from(!findings.is_empty())))
}

fn compile(flags: &Check) -> Result<Outcome, Failure> {
    let compilation = Compilation::new(&flags.compilation)?;
    let fallback = default_certificate(&State::Memory, SystemTime::now()).map_err(Failure::new)?;
    let options = compilation.options(fallback, None);
    Pipeline::new(Input::files(&flags.paths), options)
        .run()
        .map_err(Failure::new)
}

/// `FILE:LINE: error: KIND ns/name: FIELD: message (hint)`
fn write_lines(
    out: &mut impl Write,
    findings: &[(view::Problem, &Finding)],
    colours: bool,
) -> io::Result<()> {
    for (view, finding) in findings {
        let problem = &finding.problem;
        let place = finding::place(finding.file().map(AsRef::as_ref), view.line);
        if !place.is_empty() {
            write!(out, "{place}: ")?;
        }
        let colour = match problem.severity {
            Severity::Error => Colour::Red,
            Severity::Warning => Colour::Yellow,
        };
        let severity = painted(&problem.severity, colour, colours);
        writeln!(out, "{severity}: {}", Said(problem))?;
    }
    Ok(())
}

/// `3 problems (1 error) in 12 objects; 4 Deployment ignored`
fn summary(outcome: &Outcome) -> String {
    let objects = plural(outcome.objects.values().sum(), "object");
    let found = match outcome.findings.len() {
        0 => format!("no problems in {objects}"),
        count => {
            let errors = finding::count(&outcome.findings).errors;
            format!(
                "{} ({}) in {objects}",
                plural(count, "problem"),
                plural(errors, "error")
            )
        }
    };
    if outcome.ignored.is_empty() {
        found
    } else {
        format!("{found}; {} ignored", list_kinds(&outcome.ignored))
    }
}

/// `1 object`, `2 objects`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    let ending = match (count, noun.ends_with("ss")) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use objects::Problem;
    use objects::kinds::{Kind, ObjectKey};

    use super::*;

    #[test]
    fn a_problem_without_a_file_has_no_place() {
        let problem = Problem {
            severity: Severity::Warning,
            object: Some(ObjectKey::new(Kind::Secret, "default", "tls")),
            field: String::new(),
            message: "does not exist".to_owned(),
            hint: String::new(),
        };
        let finding = Finding::new(problem, None);
        let mut out = Vec::new();
        write_lines(&mut out, &[(finding.view(), &finding)], false).expect("a Vec takes all");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "warning: Secret default/tls: does not exist\n"
        );
    }

    #[test]
    fn the_manifests_of_a_folder_are_checked() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("web.yaml");
        let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\n\
            apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec:\n  \
            rules:\n  - host: 'not a host'\n";
        std::fs::write(&file, text).expect("writes");
        let cli = ["narthex", "check", &folder.path().display().to_string()].map(str::to_owned);
        let crate::flags::Command::Check(flags) =
            <crate::flags::Cli as clap::Parser>::parse_from(cli).command
        else {
            panic!("check was asked for");
        };
        let outcome = compile(&flags).expect("compiles");
        assert!(!outcome.findings.is_empty());
        let view = outcome.findings[0].view();
        assert_eq!(view.file, Some(file.display().to_string()));
        assert_eq!(view.object.as_deref(), Some("Ingress default/web"));
        let summary = summary(&outcome);
        assert!(summary.contains("1 Deployment ignored"), "{summary}");
    }

    #[test]
    fn counts_have_their_noun() {
        assert_eq!(plural(1, "problem"), "1 problem");
        assert_eq!(plural(2, "Ingress"), "2 Ingresses");
        assert_eq!(plural(0, "error"), "0 errors");
    }
}
