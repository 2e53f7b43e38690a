//! Fuzz target of the reader of manifests: see the proxy's.

use bolero::check;

use super::document;

/// Whatever a file holds, its documents are within it, and each is read on its own.
#[test]
fn manifests() {
    check!().for_each(|bytes: &[u8]| {
        for is_json in [false, true] {
            let (chunks, _) = document::split_file(bytes, is_json);
            assert!(chunks.len() <= bytes.len());
            for chunk in &chunks {
                document::read(&bytes[chunk.bytes.clone()]);
            }
        }
    });
}
