//! What `sync` and `status` have in common: lists, a registry to fill, and credentials.

use std::io::Write;

use registry::client::Settings;
use registry::list::{ImageList, Index, Problem};
use registry::sync::{Options, Syncer};

use super::reach::Reached;
use crate::failure::Failure;
use crate::flags::registry::{Filling, IndexForm};

/// What fills the registry, from what was typed.
pub(super) fn syncer(flags: &Filling) -> Result<Syncer, Failure> {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let list = ImageList::of_files(&flags.lists).map_err(told)?;
    let reached = Reached::read(&flags.reach)?;
    let options = Options {
        target: Settings {
            credentials: reached.given,
            ..reached.settings
        },
        credentials: Some(reached.known),
        platforms: flags.platform.clone(),
        index: flags.index.map(|form| match form {
            IndexForm::Sparse => Index::Sparse,
            IndexForm::Filtered => Index::Filtered,
            IndexForm::Single => Index::Single,
        }),
        referrers: flags.referrers,
        scoped: flags.scoped,
        retries: flags.retries,
        ..Options::default()
    };
    Syncer::new(list, flags.to.clone(), options).map_err(Failure::new)
}

/// Tells of all problems but the last one, which is the failure's.
fn told(mut problems: Vec<Problem>) -> Failure {
    let Some(last) = problems.pop() else {
        return Failure::new("the lists cannot be read");
    };
    for problem in problems {
        // Where nobody can be told, the exit code has to do.
        let _ = writeln!(std::io::stderr(), "error: {problem}");
    }
    Failure::new(last)
}
