//! The forms that a list may have, known by what is in it.

mod lines;
mod own;
mod regsync;
mod skopeo;
mod template;
mod zot;

use std::cell::Cell;
use std::path::Path;

use objects::tree::{Node, texts};
use serde_json::{Value, json};

use super::tree::{Field, Reader};
use super::{Image, ImageList, Index, Place, Problem, Source, Tags};

/// How many bytes the patterns of an object of a cluster may take.
const PATTERNS: usize = 4 << 20;

/// What readers of all forms are given.
pub(super) struct Context<'a> {
    /// Where paths in the list begin.
    pub(super) folder: &'a Path,
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Whether it is from somebody who may not read our files and variables, nor use up our memory.
    pub(super) is_guarded: bool,
    /// How many bytes its patterns may still take.
    pub(super) room: Cell<usize>,
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
        is_guarded: false,
        room: Cell::new(usize::MAX),
    };
    let mut list = ImageList::default();
    let mut problems = Vec::new();
    let mut is_alone = true;
    let mut has_own = false;
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
                    has_own |= is_list(&node);
                    list.extend(document(&reader.root(&node), &context));
                }
                // Manifests of other things.
                Ok(_) => {}
                Err(error) => reader.fault(error.line, "", error.message),
            }
            problems.extend(reader.problems.into_inner());
        }
    }
    // One of our own form may be there to say how registries are spoken to.
    let says_something = !list.images.is_empty() || (has_own && !list.registries.is_empty());
    if problems.is_empty() && !says_something {
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

/// Reads an object of a cluster: our own form, with the marks and limits that are for those who may
/// write objects and nothing else.
pub(super) fn read_object(object: &Value, name: &Path) -> Result<ImageList, Vec<Problem>> {
    let none = |_: &str| None;
    let context = Context {
        folder: Path::new(""),
        environment: &none,
        is_guarded: true,
        room: Cell::new(PATTERNS),
    };
    // What a file has besides is the API server's.
    let taken = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "spec": object["spec"],
    });
    let text = taken.to_string();
    let reader = Reader::new(name, &text);
    let mut list = ImageList::default();
    match Node::parse(&text, 1) {
        Ok(node) => list = own::read(&reader.root(&node), &context),
        Err(error) => reader.fault(0, "", error.message),
    }
    let mut problems = reader.problems.into_inner();
    // It was on one line, which nobody has seen.
    let places = problems.iter_mut().map(|it| &mut it.place);
    for place in places.chain(list.images.iter_mut().map(|it| &mut it.place)) {
        place.line = 0;
    }
    if problems.is_empty() && list.images.is_empty() {
        let place = Place {
            line: 0,
            field: "spec.images".to_owned(),
            ..Place::top(name)
        };
        let message = "it names no image".to_owned();
        problems.push(Problem { place, message });
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
