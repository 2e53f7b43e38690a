//! Lists that are files: all of them are one list.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use registry::list::ImageList;
use tokio::time::{Instant, sleep_until};

use super::claims::Who;
use super::round::Follower;
use super::{Means, due};
use crate::failure::Failure;

/// How often is looked whether a list has changed.
const LOOK: Duration = Duration::from_secs(2);

/// Files that are followed.
#[derive(Debug)]
pub(super) struct Files {
    means: Means,
    files: Vec<PathBuf>,
    list: ImageList,
}

impl Files {
    pub(super) fn read(means: &Means) -> Result<Self, Failure> {
        let files = means.flags.sync.clone();
        let list = read(&files).map_err(Failure::new)?;
        means.own.send_replace(list.registries.clone());
        Ok(Self {
            means: means.clone(),
            files,
            list,
        })
    }

    /// Brings what is missing, without end.
    pub(super) async fn keep(mut self) {
        let mut follower = Follower::new(self.means.clone(), Who::Files);
        let mut seen = Seen::of(&self.files);
        let mut failures = 0;
        loop {
            let round = follower.round(self.list.clone(), |_, _| {}).await;
            failures = match round.failed.is_empty() {
                true => 0,
                false => (failures + 1).min(16),
            };
            follower.tell(round);
            let due = due(self.means.flags.sync_interval, failures);
            let due = due.map(|wait| Instant::now() + wait);
            self.wait(&mut seen, due).await;
        }
    }

    /// Until it is time, or a list has changed.
    async fn wait(&mut self, seen: &mut Seen, due: Option<Instant>) {
        loop {
            let look = Instant::now() + LOOK;
            sleep_until(due.map_or(look, |due| due.min(look))).await;
            let is_due = due.is_some_and(|due| due <= Instant::now());
            if self.look_again(seen) || is_due {
                return;
            }
        }
    }

    /// Reads the lists again if they have changed. Whether they are others now.
    fn look_again(&mut self, seen: &mut Seen) -> bool {
        let now = Seen::of(&self.files);
        if now == *seen {
            return false;
        }
        *seen = now;
        match read(&self.files) {
            Ok(list) => {
                tracing::info!("a list of images has changed");
                self.means.own.send_replace(list.registries.clone());
                self.list = list;
                true
            }
            Err(why) => {
                tracing::error!("the lists of images stay as they were: {why}");
                false
            }
        }
    }
}

/// All lists together. The error is for people.
fn read(files: &[PathBuf]) -> Result<ImageList, String> {
    ImageList::of_files(files).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        problems.join("; ")
    })
}

/// How lists looked.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<Option<(SystemTime, u64)>>);

impl Seen {
    fn of(files: &[PathBuf]) -> Self {
        let of = |file: &PathBuf| look(file).ok();
        Self(files.iter().map(of).collect())
    }
}

fn look(file: &Path) -> std::io::Result<(SystemTime, u64)> {
    let data = std::fs::metadata(file)?;
    Ok((data.modified()?, data.len()))
}
