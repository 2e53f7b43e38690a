//! A living cluster, looked at once.

use std::collections::BTreeSet;

use clap::Parser;
use cluster::watch::{Controller, Survey};
use compile::{Compiler, Options};
use objects::Store;
use objects::kinds::{Kind, ObjectKey};
use serde::Serialize;

use crate::failure::Failure;
use crate::flags::ingress_nginx::MEANINGLESS;
use crate::flags::{self, Cli, Command, Migrate};
use crate::kubectl;

/// What is said of a cluster besides its objects.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Seen {
    /// What runs ingress-nginx, as `Deployment ingress-nginx/ingress-nginx-controller`.
    pub(super) controllers: Vec<String>,
    /// The flags of the first of them.
    pub(super) flags: Vec<SeenFlag>,
    /// What could not be read, and what would let us.
    pub(super) unread: Vec<String>,
}

/// A flag of ingress-nginx.
#[derive(Debug, Serialize)]
pub(super) struct SeenFlag {
    /// As it is written.
    pub(super) flag: String,
    pub(super) fate: FlagFate,
    /// Why, if there is anything to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum FlagFate {
    /// `serve` has it with the same meaning.
    Works,
    /// `serve` takes it, and it means nothing.
    Accepted,
    /// `serve` has no such flag.
    Unknown,
    /// Its value is none.
    Invalid,
}

impl FlagFate {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Accepted => "accepted",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

/// A cluster, and the flags with which its objects mean what they mean there.
pub(super) struct World {
    pub(super) store: Store,
    pub(super) flags: flags::Compilation,
    pub(super) seen: Seen,
}

/// Looks at a cluster. `options` says what flags mean.
pub(super) fn look(
    flags: &Migrate,
    options: impl Fn(&flags::Compilation) -> Result<Options, Failure>,
    now: i64,
) -> Result<World, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    let found = runtime.block_on(read(flags, options, now));
    runtime.shutdown_background();
    found
}

async fn read(
    flags: &Migrate,
    options: impl Fn(&flags::Compilation) -> Result<Options, Failure>,
    now: i64,
) -> Result<World, Failure> {
    let living = &flags.living;
    let client = kubectl::client(living.kubeconfig.as_deref(), living.context.clone()).await?;
    let mut survey = Survey::default();
    let kinds = [Kind::IngressClass, Kind::Ingress, Kind::Service];
    survey.list(&client, &kinds, &living.watch_namespace).await;
    // The controller may be in a namespace that it does not watch.
    let controllers = survey.controllers(&client, &[]).await;
    let mut seen = Seen {
        controllers: controllers.iter().map(|it| it.name.clone()).collect(),
        ..Seen::default()
    };
    let compilation = match controllers.first() {
        Some(controller) => with_flags_of(controller, flags, &mut seen),
        None => flags.compilation.clone(),
    };
    let options = options(&compilation)?;
    let maps = [
        &options.config_map,
        &options.tcp_services,
        &options.udp_services,
    ];
    let maps = maps.into_iter().flatten();
    let maps: Vec<ObjectKey> = maps
        .map(|(namespace, name)| ObjectKey::new(Kind::ConfigMap, namespace, name))
        .collect();
    survey.get(&client, &maps).await;
    let mut store = Store::default();
    for object in survey.objects.drain(..) {
        store.apply(object);
    }
    // Of what Ingresses refer to, no key of a certificate is any business of ours.
    let keys = certificates(&store);
    let references = Compiler::new(options).compile(&store, now).references;
    let wanted = references.iter();
    let wanted: Vec<ObjectKey> = wanted
        .filter(|key| !keys.contains(*key) && !store.contains(key))
        .cloned()
        .collect();
    survey.get(&client, &wanted).await;
    for object in survey.objects.drain(..) {
        store.apply(object);
    }
    seen.unread = survey.unread;
    Ok(World {
        store,
        flags: compilation,
        seen,
    })
}

/// The Secrets of TLS sections.
fn certificates(store: &Store) -> BTreeSet<ObjectKey> {
    let of = store.ingresses().flat_map(|ingress| {
        let namespace = ingress.metadata.namespace.as_deref().unwrap_or_default();
        let entries = ingress.spec.tls.iter().flatten();
        entries.filter_map(move |entry| {
            let name = entry.secret_name.as_deref()?;
            Some(ObjectKey::new(Kind::Secret, namespace, name))
        })
    });
    of.collect()
}

/// What was typed, after what the controller was started with.
fn with_flags_of(controller: &Controller, flags: &Migrate, seen: &mut Seen) -> flags::Compilation {
    let arguments = joined(&controller.arguments);
    let mut accepted = vec!["narthex".to_owned(), "migrate".to_owned()];
    for argument in arguments {
        let try_as = |command: &str| Cli::try_parse_from(["narthex", command, &argument]);
        let name = argument.trim_start_matches('-');
        let name = name.split('=').next().unwrap_or_default();
        let meaningless = MEANINGLESS.iter().find(|flag| flag.name == name);
        let (fate, note) = match (meaningless, try_as("migrate"), try_as("serve")) {
            (Some(flag), ..) => (FlagFate::Accepted, flag.why.to_owned()),
            (None, Ok(_), _) => {
                accepted.push(argument.clone());
                (FlagFate::Works, String::new())
            }
            (None, Err(_), Ok(_)) => (FlagFate::Works, String::new()),
            (None, Err(_), Err(error)) => {
                let fate = match error.kind() {
                    clap::error::ErrorKind::UnknownArgument => FlagFate::Unknown,
                    _ => FlagFate::Invalid,
                };
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                (fate, first.trim_start_matches("error: ").to_owned())
            }
        };
        seen.flags.push(SeenFlag {
            flag: argument,
            fate,
            note,
        });
    }
    // After the name of the command.
    accepted.extend(std::env::args().skip(2));
    match Cli::try_parse_from(accepted).map(|cli| cli.command) {
        Ok(Command::Migrate(flags)) => flags.compilation.clone(),
        // They contradict each other: what was typed counts.
        _ => flags.compilation.clone(),
    }
}

/// Flags as `--name=value`, whichever way they were written.
fn joined(arguments: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for argument in arguments {
        match all.last_mut() {
            Some(last) if !argument.starts_with('-') && !last.contains('=') => {
                *last = format!("{last}={argument}");
            }
            _ if argument.starts_with('-') => all.push(argument.clone()),
            _ => {}
        }
    }
    // ingress-nginx takes one dash for two.
    let two = all.into_iter().map(|flag| match flag.strip_prefix('-') {
        Some(rest) if !rest.starts_with('-') && rest.len() > 2 && !rest.starts_with("v=") => {
            format!("--{rest}")
        }
        _ => flag,
    });
    two.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_however_they_are_written() {
        let arguments = [
            "/start",
            "--configmap",
            "i/c",
            "--v=2",
            "-election-id=x",
            "--metrics",
        ];
        let arguments = arguments.map(str::to_owned);
        let expected = ["--configmap=i/c", "--v=2", "--election-id=x", "--metrics"];
        assert_eq!(joined(&arguments), expected);
    }
}
