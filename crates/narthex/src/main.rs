//! Narthex: a Kubernetes ingress controller, Gateway API implementation and proxy, with or without
//! a cluster.
//!
//! The command line and the wiring, nothing else: [`flags`] is what was typed, [`config`] what
//! it means, and each command has a module of its own.

mod certificates;
mod certs_command;
mod check;
mod compare;
mod config;
mod control;
mod diff;
mod explain;
mod failure;
mod finding;
mod flags;
mod kubectl;
mod log;
mod migrate;
mod pipeline;
mod quickstart;
mod registry_command;
mod registry_credentials;
mod serve;
mod stapling;
mod state;
mod terminal;
mod upgrade;
mod workers;

use std::process::ExitCode;

use clap::Parser;

use flags::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page is 2 MiB of memory for whatever little lies in it: of a process with 5,000
    // routes, 22 MB of 74. Without the call, and where the kernel has none, it is only larger.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    if let Some(flags) = kubectl::as_plugin() {
        return kubectl::run(&flags).unwrap_or_else(|failure| failure.report());
    }
    let done = match Cli::parse().command {
        Command::Serve(flags) => serve::run(*flags),
        Command::Check(flags) => check::run(&flags),
        Command::Certs(flags) => certs_command::run(&flags),
        Command::Explain(flags) => explain::run(&flags),
        Command::Migrate(flags) => migrate::run(&flags),
        Command::Diff(flags) => diff::run(&flags),
        Command::Kubectl(flags) => kubectl::run(&flags),
        Command::Registry(flags) => registry_command::run(*flags),
        Command::Quickstart(flags) => quickstart::run(*flags),
    };
    done.unwrap_or_else(|failure| failure.report())
}
