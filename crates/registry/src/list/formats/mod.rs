//! The forms that a list may have, known by what is in it.

mod lines;
mod own;
mod regsync;
mod skopeo;
mod template;
mod zot;

use std::path::Path;

use objects::tree::{Node, texts};

use super::tree::{Field, Reader};
use super::{Image, ImageList, Index, Place, Problem, Source, Tags};

/// What readers of all forms are given.
pub(super) struct Context<'a> {
    /// Where paths in the list begin.
    pub(super) folder: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// Reads a list, whichever form it has.
pub(super) fn read(
    text: &str,
    file: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<ImageList, Vec<Problem>> {
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let context = Context {
        folder,
        environment,
    };
    let mut list = ImageList::default();
    let mut problems = Vec::new();
    let mut is_alone = true;
    if lines::are_lines(text) {
        let reader = Reader::new(file, text);
        list = lines::read(text, &reader, &context);
        problems.extend(reader.problems.into_inner());
    } else {
        let documents: Vec<_> = texts(text).collect();
        is_alone = documents.len() <= 1;
        for (text, line) in documents {
            let reader = Reader::new(file, text);
            match Node::parse(text, line) {
                Ok(node) if is_alone || is_list(&node) => {
                    list.extend(document(&reader.root(&node), &context));
                }
                // Manifests of other things.
                Ok(_) => {}
                Err(error) => reader.fault(error.line, "", error.message),
            }
            problems.extend(reader.problems.into_inner());
        }
    }
    if problems.is_empty() && list.images.is_empty() {
        problems.push(Problem {
            place: Place::top(file),
            message: match is_alone {
                true => "it names no image".to_owned(),
                false => format!("none of its documents is a `kind: {}`", own::KIND),
            },
        });
    }
    match problems.is_empty() {
        true => Ok(list),
        false => Err(problems),
    }
}

/// Whether a document among others is a list of our own form.
fn is_list(node: &Node) -> bool {
    node.get("kind").and_then(Node::text) == Some(own::KIND)
}

fn document(root: &Field<'_>, context: &Context<'_>) -> ImageList {
    if !root.is_map() {
        root.fault(
            "no list of images: write `kind: ImageList`, or a line for each image, or use \
             a file of skopeo sync, regsync or zot",
        );
        return ImageList::default();
    }
    if root.get("kind").is_some() || root.get("apiVersion").is_some() {
        return own::read(root, context);
    }
    if root.get("sync").is_some_and(|it| it.is_list()) {
        return regsync::read(root, context);
    }
    let zot = root
        .get("extensions")
        .or_else(|| root.get("registries").map(|_| root.clone()));
    match zot {
        Some(_) => zot::read(root, context),
        None => skopeo::read(root, context),
    }
}

/// An image with everything as it is where nothing is said.
fn image(place: Place, source: Source, tags: Tags) -> Image {
    Image {
        place,
        source,
        repository: None,
        tag: None,
        tags,
        platforms: Vec::new(),
        index: Index::default(),
        referrers: false,
    }
}

/// Says what is wrong at a field, and has nothing instead.
fn told<T>(field: &Field<'_>, result: Result<T, String>) -> Option<T> {
    result.map_err(|why| field.fault(why)).ok()
}

/// A registry's name, with a fault if it is none.
fn host<'a>(field: &Field<'a>) -> Option<&'a str> {
    let text = field.text()?;
    if is_host(text) {
        return Some(text);
    }
    field.fault(format!("{text:?} is no registry: write HOST or HOST:PORT"));
    None
}

pub(super) fn is_host(text: &str) -> bool {
    let right = |it: u8| it.is_ascii_alphanumeric() || b".-:[]".contains(&it);
    !text.is_empty() && text.bytes().all(right)
}

#[cfg(test)]
mod tests;
