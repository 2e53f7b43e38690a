//! The YAML of `skopeo sync --src yaml`, as skopeo-sync(1) has it.

use super::super::registries::{Login, Registry};
use super::super::select::Pattern;
use super::super::tree::Field;
use super::super::{ImageList, Source, Tags};
use super::{Context, image, is_host, told};
use crate::client::{Credential, Transport, is_repository, is_tag};

const KNOWN: &[&str] = &[
    "images",
    "images-by-tag-regex",
    "images-by-semver",
    "credentials",
    "tls-verify",
    "cert-dir",
];

pub(super) fn read(root: &Field<'_>, context: &Context<'_>) -> ImageList {
    let mut list = ImageList::default();
    for (name, field) in root.entries() {
        if !field.is_map() || !is_host(name) {
            field.fault(
                "no list that is known: skopeo's has registries here, each with `images`; \
                 regsync's has `sync`; ours has `kind: ImageList`",
            );
            continue;
        }
        field.only(KNOWN);
        list.registries
            .insert(name.to_owned(), registry(&field, context));
        for (repository, field) in field.get("images").iter().flat_map(Field::entries) {
            let exact: Vec<_> = field
                .list()
                .into_iter()
                .filter_map(|it| {
                    let text = it.text()?;
                    let right = is_tag(text) || text.parse::<crate::client::Digest>().is_ok();
                    if !right {
                        it.fault(format!("{text:?} is neither a tag nor a digest"));
                    }
                    right.then(|| text.to_owned())
                })
                .collect();
            // An empty list is all of them.
            let tags = Tags {
                all: field.list().is_empty(),
                exact,
                ..Tags::default()
            };
            push(&mut list, name, repository, &field, tags);
        }
        for (repository, field) in field
            .get("images-by-tag-regex")
            .iter()
            .flat_map(Field::entries)
        {
            let pattern = field
                .text()
                .and_then(|it| told(&field, Pattern::anywhere(it)));
            let tags = Tags {
                regex: pattern.into_iter().collect(),
                ..Tags::default()
            };
            push(&mut list, name, repository, &field, tags);
        }
        for (repository, field) in field
            .get("images-by-semver")
            .iter()
            .flat_map(Field::entries)
        {
            let range = field.text().and_then(|it| told(&field, it.parse()));
            let tags = Tags {
                ranges: range.into_iter().collect(),
                ..Tags::default()
            };
            push(&mut list, name, repository, &field, tags);
        }
    }
    list
}

fn push(list: &mut ImageList, host: &str, repository: &str, field: &Field<'_>, tags: Tags) {
    if !is_repository(repository) {
        field.fault(format!("{repository:?} is no repository"));
        return;
    }
    // What Docker Hub calls `nginx` is `library/nginx`.
    let repository = match host {
        "docker.io" | "index.docker.io" if !repository.contains('/') => {
            format!("library/{repository}")
        }
        _ => repository.to_owned(),
    };
    let source = Source::Repository {
        registry: host.to_owned(),
        repository,
    };
    list.images.push(image(field.place(), source, tags));
}

fn registry(field: &Field<'_>, context: &Context<'_>) -> Registry {
    let mut found = Registry::default();
    if let Some(field) = field.get("credentials") {
        field.only(&["username", "password"]);
        let text = |key: &str| field.get(key).and_then(|it| it.text());
        match (text("username"), text("password")) {
            (Some(username), Some(password)) => {
                found.login = Some(Login::Here(Credential::password(username, password)));
            }
            _ => field.fault("it has `username` and `password`"),
        }
    }
    if field.get("tls-verify").and_then(|it| it.bool()) == Some(false) {
        found.transport = Transport::Either;
    }
    let folder = field.get("cert-dir").and_then(|it| it.text());
    found
        .authorities
        .extend(folder.map(|it| context.folder.join(it)));
    found
}
