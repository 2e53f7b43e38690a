//! `narthex explain`: which route answers a URL, by the data plane's own code.

mod answer;
pub(crate) mod listener;
mod nginx;
mod text;
pub(crate) mod url;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use crate::config::Compilation;
use crate::control::{Objects, SaidBy};
use crate::failure::Failure;
use crate::flags::{Explain, Output};
use crate::log::stdout_has_colours;
use crate::pipeline::{Input, Pipeline};
use crate::state::{State, default_certificate};
use admin::view::Explained;
use answer::Known;
use listener::Ports;
use model::{Service, Snapshot};
use url::Url;

/// Explains a URL.
pub(crate) fn run(flags: &Explain) -> Result<ExitCode, Failure> {
    // clap has seen to it that there is at least one.
    let (last, paths) = flags
        .paths_and_url
        .split_last()
        .ok_or_else(|| Failure::Invalid("give a URL".to_owned()))?;
    let url = Url::parse(last).map_err(Failure::Invalid)?;
    if paths.is_empty() {
        return Err(Failure::Invalid(
            "give the files or folders of manifests before the URL".to_owned(),
        ));
    }
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let compilation = Compilation::new(&flags.compilation)?;
    let fallback = default_certificate(&State::Memory, SystemTime::now()).map_err(Failure::new)?;
    let mut pipeline = Pipeline::new(Input::files(&paths), compilation.options(fallback, None));
    let outcome = pipeline.run().map_err(Failure::new)?;
    let ports = Ports {
        http: compilation.http_port(),
        https: compilation.https_port(),
    };
    let explanation = answer::explain(
        &outcome.compiled.snapshot,
        Known {
            origin: &|key| pipeline.origin(key),
            objects: &Objects::new(&outcome.compiled, "", SaidBy::Alone),
        },
        ports,
        &url,
    );

    let mut out = io::BufWriter::new(io::stdout().lock());
    match flags.output {
        Output::Text => text::write(&mut out, &explanation, stdout_has_colours())?,
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, &explanation).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    out.flush()?;
    if !outcome.findings.is_empty() {
        let count = crate::check::plural(outcome.findings.len(), "problem");
        // Only a pointer to another command.
        let _ = writeln!(
            io::stderr(),
            "The manifests have {count}: see narthex check."
        );
    }
    Ok(ExitCode::from(u8::from(!explanation.answered)))
}

/// Explains a URL by what a running process serves, whose objects come from no file.
///
/// # Errors
/// Why this is no URL, for people.
pub(crate) fn explain_live(
    snapshot: &Snapshot,
    objects: &Objects,
    url: &str,
    as_text: bool,
) -> Result<Explained, String> {
    let url = Url::parse(url)?;
    // Those of Ingress, where there are any.
    let port = |is_it: fn(&Service) -> bool| {
        let listeners = || {
            let listeners = snapshot.listeners.iter();
            listeners.filter(|listener| is_it(&listener.service))
        };
        let first = listeners().find(|listener| listener.service.ingress().is_some());
        let listener = first.or_else(|| listeners().next());
        listener.map_or(0, |listener| listener.entrance.port)
    };
    let ports = Ports {
        http: port(|service| matches!(service, Service::Http(_))),
        https: port(|service| matches!(service, Service::Tls(_))),
    };
    let explanation = answer::explain(
        snapshot,
        Known {
            origin: &|_| None,
            objects,
        },
        ports,
        &url,
    );
    if as_text {
        let mut text = Vec::new();
        text::write(&mut text, &explanation, false).map_err(|error| error.to_string())?;
        return Ok(Explained::Text(String::from_utf8_lossy(&text).into_owned()));
    }
    serde_json::to_string_pretty(&explanation)
        .map(Explained::Json)
        .map_err(|error| error.to_string())
}
