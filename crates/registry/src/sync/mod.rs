//! Copying what is missing, and saying what there is.
//!
//! In: a [`list`](crate::list) and a registry to fill. [`Syncer::plan`] asks the sources which
//! images the list means, [`Syncer::state`] says of each whether it is there, and
//! [`Syncer::copy`] brings it: manifests as they are, blobs once, from where the target has them
//! if it has.

mod archive;
mod copy;
#[cfg(test)]
mod fuzz;
mod layout;
mod parsed;
mod plan;
mod source;
mod state;
mod syncer;
mod tar;
mod to;
mod withheld;

pub use copy::{Copied, Unwatched, Watch};
pub use plan::{Failed, Item, Plan};
pub use state::State;
pub use syncer::{Most, Options, Syncer, Target};
pub use withheld::Withheld;
