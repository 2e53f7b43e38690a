//! Gateway API's conformance suite, upstream's own, against Narthex as its chart installs it.
//!
//! In comes the suite's program (`conformance.test` beside the rig's, built by `cargo xtask
//! conformance`); out go a line for each test, a table for each profile, and upstream's report. It
//! fails if a test fails, is skipped or did not run, or if the GatewayClass does not name a feature:
//! what there is to pass is the suite's own list, not ours.

mod content;
mod outcome;
mod report;
mod run;

pub use content::{Content, Level, Test};
pub use outcome::{Outcome, Results};
pub use run::{Options, run};
