//! A line for each image: `SOURCE [TARGET]`, and comments behind `#`.

use super::super::tree::Reader;
use super::super::{ImageList, Place, Source, Tags};
use super::{Context, image};
use crate::client::{is_repository, is_tag};

/// Whether a text has lines of images, and is no YAML and no JSON.
pub(super) fn are_lines(text: &str) -> bool {
    let mut lines = text
        .lines()
        .map(without_comment)
        .filter(|it| !it.is_empty());
    let is_one = |line: &str| {
        !line.starts_with(['{', '[', '-', '"', '\'', '%'])
            && !line.ends_with(':')
            && !line.contains(": ")
            && !line.contains(":\t")
    };
    lines.all(is_one)
}

pub(super) fn read(text: &str, reader: &Reader<'_>, context: &Context<'_>) -> ImageList {
    let mut list = ImageList::default();
    for (index, line) in text.lines().enumerate() {
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let mut words = without_comment(line).split_whitespace();
        let Some(source) = words.next() else {
            continue;
        };
        let (target, more) = (words.next(), words.next());
        if more.is_some() {
            reader.fault(
                number,
                "",
                "write SOURCE, or SOURCE and TARGET, and no more",
            );
            continue;
        }
        let (source, tag) = match Source::parse(source, context.folder) {
            Ok(found) => found,
            Err(why) => {
                reader.fault(number, "", why);
                continue;
            }
        };
        let place = Place {
            file: reader.file.to_owned(),
            line: number,
            field: String::new(),
        };
        let tags = match (&source, tag) {
            (_, Some(tag)) => Tags::one(tag),
            // As everywhere.
            (Source::Repository { .. }, None) => Tags::one("latest"),
            (_, None) => Tags {
                all: true,
                ..Tags::default()
            },
        };
        let mut image = image(place, source, tags);
        if let Some(target) = target {
            match target_of(target) {
                Ok((repository, tag)) => {
                    image.repository = Some(repository);
                    image.tag = tag;
                }
                Err(why) => {
                    reader.fault(number, "", why);
                    continue;
                }
            }
        }
        list.images.push(image);
    }
    list
}

/// `REPOSITORY[:TAG]` below the place that `--to` names.
pub(super) fn target_of(text: &str) -> Result<(String, Option<String>), String> {
    let (repository, tag) = match text.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (text, None),
    };
    let right = is_repository(repository) && tag.is_none_or(is_tag);
    match right {
        true => Ok((repository.to_owned(), tag.map(str::to_owned))),
        false => Err(format!(
            "{text:?} is no target: write REPOSITORY[:TAG], as it is below --to"
        )),
    }
}

fn without_comment(line: &str) -> &str {
    let line = line.trim_start_matches('\u{feff}').trim();
    match line.strip_prefix('#') {
        Some(_) => "",
        None => line.split(" #").next().unwrap_or_default().trim(),
    }
}
