//! `narthex registry copy`: one image, from one registry to another.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use registry::client::{Settings, Transport};
use registry::list::{self, ImageList, Place, Registry, Source};
use registry::sync::{Options, Syncer, Target, Unwatched};

use super::super::reach::Reached;
use super::image::Image;
use crate::failure::Failure;
use crate::flags::registry::Copy;

/// How often a request is made again that failed for reasons that pass.
const RETRIES: u32 = 3;

/// Copies all platforms, with the digests that they have.
pub(super) async fn run(flags: &Copy, reached: Reached) -> Result<ExitCode, Failure> {
    let from = Image::parse(&flags.from)?;
    let to = Image::parse(&flags.to)?;
    if to.reference.contains(':') {
        let what = format!(
            "{}: name a tag, or nothing: its digest an image has",
            flags.to
        );
        return Err(Failure::Invalid(what));
    }
    let place = Place {
        file: PathBuf::from("the command line"),
        line: 1,
        field: String::new(),
    };
    let image = list::Image {
        place,
        source: Source::Repository {
            registry: from.host.clone(),
            repository: from.repository.clone(),
        },
        repository: Some(to.repository.clone()),
        tag: to.is_said.then(|| to.reference.clone()),
        tags: list::Tags::one(&from.reference),
        platforms: Vec::new(),
        index: list::Index::default(),
        referrers: flags.referrers,
    };
    let mut wanted = ImageList {
        images: vec![image],
        ..ImageList::default()
    };
    if from.host != to.host {
        let source = Registry {
            transport: match flags.from_insecure {
                true => Transport::Either,
                false => Transport::Https,
            },
            authorities: flags.reach.ca_file.clone(),
            ..Registry::default()
        };
        wanted.registries.insert(from.host.clone(), source);
    }
    let target = Target {
        host: to.host.clone(),
        prefix: String::new(),
    };
    let options = Options {
        target: Settings {
            credentials: reached.given,
            ..reached.settings
        },
        credentials: Some(reached.known),
        retries: RETRIES,
        ..Options::default()
    };
    let syncer = Syncer::new(wanted, target, options).map_err(Failure::new)?;
    let plan = syncer.plan().await;
    if let Some(failed) = plan.failed.first() {
        return Err(Failure::new(&failed.error));
    }
    let mut out = std::io::stdout();
    for item in &plan.items {
        let copied = syncer.copy(item, &Unwatched).await.map_err(Failure::new)?;
        let (name, digest) = (item.goes_to(), &copied.digest);
        match copied.was_there {
            true => writeln!(out, "{}/{name} was there already: {digest}", to.host)?,
            false => writeln!(
                out,
                "{}/{name} is {digest}: {} blobs came, {} were there in other repositories",
                to.host, copied.blobs, copied.mounted
            )?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
