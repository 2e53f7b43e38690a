//! Seeds of fuzz targets.

/// What every run of a target begins with: in the tests they are run as they are, and
/// `cargo xtask fuzz` is given them as files to change.
pub(crate) fn sow(seeds: &[&str], target: fn(&[u8])) {
    let folder = std::env::var_os("NARTHEX_FUZZ_SEEDS").map(std::path::PathBuf::from);
    for (number, seed) in seeds.iter().enumerate() {
        target(seed.as_bytes());
        if let Some(folder) = &folder {
            let file = folder.join(format!("seed-{number}"));
            std::fs::write(file, seed).expect("the folder of the inputs");
        }
    }
}

/// The text of an input up to its first line end, and what is after that.
pub(crate) fn first_line(bytes: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.split_once('\n').unwrap_or((text, "")))
}
