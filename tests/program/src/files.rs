//! How many files may be open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and those that it starts, open at least so many files.
///
/// Panics where that is not allowed, with what would be.
#[track_caller]
pub fn allow_open_files(wanted: u64) {
    let most = getrlimit(Resource::Nofile).maximum;
    assert!(
        most.is_none_or(|most| most >= wanted),
        "this test opens {wanted} files, and `ulimit -Hn` is {most:?}"
    );
    let raised = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
}
