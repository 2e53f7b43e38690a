//! Fuzz targets of what providers answer and of files with credentials: see the proxy's.

use std::collections::BTreeMap;

use bolero::check;

use super::acr::expiry;
use super::docker_config::{DockerConfig, Kept, dockerconfigjson};
use super::ecr::{Tokens, element, key};
use super::helper::Given;
use super::http::{presentable, safe, words};
use super::{Credential, Hidden, Labels, host_of, manifest};
use crate::client;
use crate::seeds::{first_line, sow};

/// What is written for a registry is found for it, and what is found is not empty.
fn docker_config(bytes: &[u8]) {
    let Some((line, text)) = first_line(bytes) else {
        return;
    };
    let (host, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Ok(config) = DockerConfig::parse(text)
        && let Ok(Some(Kept::With { helper, server })) = config.find(host, rest)
    {
        assert!(!server.is_empty() || helper.is_empty() || host_of(host).is_empty());
    }
    let registry = host_of(host);
    let credential = Credential {
        registry: registry.clone(),
        username: rest.to_owned(),
        secret: Hidden::new(text),
        expires: None,
    };
    let written = dockerconfigjson(&[credential]);
    let found = DockerConfig::parse(&written).expect("our own");
    let found = found.find(&registry, "a/b").expect("our own");
    let expected = client::Credential::password(rest, text);
    // Nobody's password is none.
    assert!(rest.is_empty() || found == Some(Kept::Here(expected)));
}

#[test]
fn docker_configs() {
    let seeds = [
        "quay.io a/b\n{\"auths\":{\"quay.io\":{\"auth\":\"YTpi\"},\"https://index.docker.io/v1/\":{\"identitytoken\":\"x\"}}}",
        "docker.io \n{\"credsStore\":\"x\",\"credHelpers\":{\"quay.io\":\"y\"},\"auths\":{\"quay.io/a\":{\"username\":\"a\",\"password\":\"b\"}}}",
        "HTTPS://a:5000/x user:name\np\u{e4}ss",
        "a \n{\"auths\":{\"a\":{\"auth\":\"\\u0000=\"}}}",
    ];
    sow(&seeds, docker_config);
    check!().for_each(docker_config);
}

/// What providers and helpers answer, and how their words are told.
fn provider(bytes: &[u8]) {
    if let Ok(tokens) = serde_json::from_slice::<Tokens>(bytes)
        && let Ok(credentials) = tokens.credentials()
    {
        let is_whole = |it: &Credential| !it.registry.is_empty() && !it.secret.is_empty();
        assert!(credentials.iter().all(is_whole));
    }
    let _ = key(bytes);
    if let Ok(given) = serde_json::from_slice::<Given>(bytes) {
        assert!(given.username.len() + given.secret.show().len() <= 3 * bytes.len());
    }
    let secret = Hidden::new("hunter2");
    let said = presentable(&words(bytes), &[&secret]);
    assert!(!said.contains("hunter2") && !said.contains(char::is_control));
    let Some((text, _)) = first_line(bytes) else {
        return;
    };
    let _ = expiry(&Hidden::new(text));
    if let Some(inner) = element(text, "Code") {
        assert!(inner.len() <= text.len());
    }
    if let Ok(url) = safe(text) {
        let is_here = url
            .host_str()
            .is_some_and(|it| it == "localhost" || it.starts_with(['1', '[']));
        assert!(url.scheme() == "https" || is_here, "{url}");
    }
}

#[test]
fn providers() {
    let seeds = [
        "{\"authorizationData\":[{\"authorizationToken\":\"QVdTOmI=\",\"expiresAt\":1.5e9,\"proxyEndpoint\":\"https://1.dkr.ecr.eu-central-1.amazonaws.com\"}]}",
        "<Credentials><AccessKeyId>a</AccessKeyId><SecretAccessKey>b&amp;</SecretAccessKey><SessionToken>c</SessionToken></Credentials>",
        "<Error><Code>Denied</Code><Message>hunter2 &lt;\n</Message></Error>",
        "{\"__type\":\"x\",\"message\":\"hunhunter2ter2\"}",
        "{\"Username\":\"<token>\",\"Secret\":\"x\"}",
        "a.eyJleHAiOjFlMzA4fQ.b",
        "http://127.0.0.1:1/x",
        "http://localhost.example/",
    ];
    sow(&seeds, provider);
    check!().for_each(provider);
}

/// Manifests of credentials: with one source each, and a Secret's name that can be one.
fn document(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("credentials.yaml");
    std::fs::write(&path, bytes).expect("written");
    std::fs::write(folder.path().join("p"), "secret").expect("written");
    match manifest::load(&path) {
        Ok(grants) => {
            for grant in grants {
                assert!(!grant.secret.is_empty() && !grant.secret.contains('/'));
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
    if let Some((text, _)) = first_line(bytes)
        && let Ok(labels) = Labels::parse(text)
    {
        let places = super::Places {
            labels,
            ..super::Places::default()
        };
        assert!(!places.has("kube-system", &BTreeMap::new()));
    }
}

#[test]
fn documents() {
    let begin =
        "apiVersion: narthex.dev/v1alpha1\nkind: RegistryCredentials\nmetadata: {name: a}\n";
    let seeds = [
        &format!("{begin}spec: {{docker: {{server: a, username: b, passwordFile: p}}}}\n"),
        &format!(
            "{begin}spec: {{gcr: {{registries: [gcr.io], credentialsFile: p}}, secretName: x, namespaces: {{selector: 'a=b,!c', except: ['*']}}}}\n"
        ),
        &format!(
            "{begin}spec: {{ecr: {{regions: [a], webIdentity: {{role: r, tokenFile: p}}}}}}\n---\nkind: Secret\n"
        ),
        &format!(
            "{begin}spec: {{acr: {{registry: r, clientId: c, passwordFile: p, tenant: t}}, serviceAccounts: [d]}}\n"
        ),
        "team=web,stage!=test,image,!internal",
    ];
    sow(&seeds, document);
    check!().with_iterations(300).for_each(document);
}
