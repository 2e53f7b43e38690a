//! How much room there is, and how much of it is left to others.

use super::{Error, Result, Store};

impl Store {
    /// Whether so many bytes may still be written.
    pub(super) async fn check_room(&self, bytes: u64) -> Result<()> {
        let (Some(folder), 1..) = (&self.folder, self.least_free) else {
            return Ok(());
        };
        let folder = folder.clone();
        let asked = tokio::task::spawn_blocking(move || rustix::fs::statvfs(&folder));
        let disk = asked
            .await
            .map_err(|error| Error::Failed(error.to_string()))?
            .map_err(std::io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let least = self.least_free;
        match free.checked_sub(bytes) {
            Some(left) if left >= least => Ok(()),
            _ => Err(Error::Full(format!(
                "of {free} bytes that are free, {least} are left to others"
            ))),
        }
    }
}
