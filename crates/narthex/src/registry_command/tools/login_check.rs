//! `narthex registry login-check`: what a registry asks for, and whether we have it.

use std::io::Write as _;
use std::process::ExitCode;

use registry::client::{
    Client, Credential, Digest, Error, Kind, Mounted, Scheme, Settings, Transport, is_repository,
};

use super::super::reach::Reached;
use crate::failure::Failure;
use crate::flags::registry::LoginCheck;

/// Tells step by step; what is wrong ends it.
pub(super) async fn run(flags: &LoginCheck, reached: &Reached) -> Result<ExitCode, Failure> {
    let host = flags.host.as_str();
    let repository = flags.repository.as_deref().unwrap_or_default();
    if !repository.is_empty() && !is_repository(repository) {
        let what = format!("--repository {repository}: is no repository's name");
        return Err(Failure::Invalid(what));
    }
    let client = reached.client(host)?;
    let asks = match client.asks().await {
        Ok(asks) => asks,
        Err(error) => return Err(why_not(host, &error, reached).await),
    };
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{host} answers{}",
        match reached.settings.transport {
            _ if client.is_plain() => " by plain HTTP, without TLS",
            Transport::Either => ", by whatever TLS or plain HTTP it has",
            _ => " by TLS, with a certificate that is trusted",
        }
    )?;
    match &asks {
        Scheme::None => writeln!(out, "it asks for no credentials")?,
        Scheme::Basic => writeln!(out, "it asks for a name and a password (Basic)")?,
        Scheme::Bearer { realm, service } => {
            let service = service.as_deref().unwrap_or("without a name");
            writeln!(
                out,
                "it asks for a token (Bearer) of {realm}, for the service {service}"
            )?;
        }
    }
    let credentials = reached.credentials();
    let credential = credentials.find(host, repository).await;
    let credential = credential.map_err(Failure::new)?;
    writeln!(
        out,
        "credentials: {}",
        match &credential {
            Some(Credential::Password { username, .. }) => {
                format!(
                    "the name {username} and its password, from {}",
                    reached.place
                )
            }
            Some(_) => format!("a token, from {}", reached.place),
            None => format!("none for {host} in {}", reached.place),
        }
    )?;
    if let Err(error) = client.login().await {
        return Err(Failure::new(match (error.kind, &credential) {
            (Kind::Denied, Some(_)) => format!("the credentials are not taken: {error}"),
            (Kind::Denied, None) => {
                format!(
                    "nobody is let in without credentials: give --username NAME --password-stdin ({error})"
                )
            }
            _ => error.to_string(),
        }));
    }
    writeln!(
        out,
        "{}",
        match credential {
            Some(_) if asks != Scheme::None => "the credentials are taken",
            Some(_) => "the credentials are not looked at",
            None if asks == Scheme::None => "without credentials we are let in",
            None => "without credentials we are nobody in particular, who may:",
        }
    )?;
    let catalog = client
        .catalog()
        .await
        .map(|all| format!("{} seen", all.len()));
    writeln!(out, "  list repositories: {}", verdict(catalog))?;
    if !repository.is_empty() {
        writeln!(
            out,
            "  pull {repository}: {}",
            verdict(pull(&client, repository).await)
        )?;
        writeln!(
            out,
            "  push {repository}: {}",
            verdict(push(&client, repository).await)
        )?;
        writeln!(
            out,
            "  delete in {repository}: {}",
            verdict(delete(&client, repository).await)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(said: Result<String, Error>) -> String {
    match said {
        Ok(what) if what.is_empty() => "yes".to_owned(),
        Ok(what) => format!("yes ({what})"),
        Err(error) if error.kind == Kind::Denied => "no".to_owned(),
        Err(error) => format!("not known: {error}"),
    }
}

async fn pull(client: &Client, repository: &str) -> Result<String, Error> {
    match client.tags(repository).await {
        Ok(tags) => Ok(format!("{} tags", tags.len())),
        Err(error) if error.kind == Kind::NotFound => {
            Ok("there is no such repository yet".to_owned())
        }
        Err(error) => Err(error),
    }
}

/// An upload that is begun and cancelled.
async fn push(client: &Client, repository: &str) -> Result<String, Error> {
    let nothing = Digest::sha256(b"what no registry has");
    match client.mount(repository, &nothing, None).await? {
        Mounted::Yes => Ok(String::new()),
        Mounted::No(upload) => {
            // A registry that does not do that forgets it by itself.
            let _ = client.cancel(repository, upload).await;
            Ok(String::new())
        }
    }
}

async fn delete(client: &Client, repository: &str) -> Result<String, Error> {
    let nothing = Digest::sha256(b"what no registry has");
    match client.delete_manifest(repository, nothing.as_str()).await {
        Ok(()) => Ok(String::new()),
        Err(error) if error.kind == Kind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// What is wrong, by what would work.
async fn why_not(host: &str, error: &Error, reached: &Reached) -> Failure {
    if error.kind != Kind::Unreachable || reached.settings.transport == Transport::Either {
        return Failure::new(error);
    }
    let answers = async |transport| {
        let settings = Settings {
            transport,
            // Nothing is shown to somebody who cannot show who he is.
            credentials: None,
            identity: None,
            retries: 0,
            ..reached.settings.clone()
        };
        match Client::new(host, settings) {
            Ok(client) => client.asks().await.is_ok(),
            Err(_) => false,
        }
    };
    if answers(Transport::Unverified).await {
        return Failure::new(format!(
            "{host} speaks TLS, but its certificate is not trusted: give its authority with \
             --ca-file, or take any with --insecure ({error})"
        ));
    }
    if answers(Transport::Plain).await {
        return Failure::new(format!(
            "{host} speaks plain HTTP, not TLS: --insecure takes that; nodes and clients have to be \
             told as well (narthex registry node-config {host} --insecure)"
        ));
    }
    Failure::new(error)
}
