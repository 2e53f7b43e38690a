//! The program's own log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::flags::LogFormat;

/// How much the log says at a level as Kubernetes' programs count it (`-v`).
pub(crate) fn verbosity(level: u8) -> Targets {
    Targets::new().with_default(match level {
        0..=2 => LevelFilter::INFO,
        3..=4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    })
}

/// Starts the log. What was logged before is lost.
pub(crate) fn start(format: LogFormat, filter: &Targets) {
    // A log that cannot be written must not bring down what it tells of.
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(stderr_has_colours())
        .log_internal_errors(false);
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.with_target(true).json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter.clone()))
        .init();
}

/// Whether standard error is a terminal that shows colours.
pub(crate) fn stderr_has_colours() -> bool {
    std::io::stderr().is_terminal() && wants_colours()
}

/// Whether standard output is a terminal that shows colours.
pub(crate) fn stdout_has_colours() -> bool {
    std::io::stdout().is_terminal() && wants_colours()
}

/// <https://no-color.org>
fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
