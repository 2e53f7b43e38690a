//! Fuzz targets of what is read from requests: see the proxy's.

use bolero::check;

use crate::{HostName, NormalPath};

/// A normal path is absolute, has no element to climb by, and is its own normal path.
#[test]
fn paths() {
    check!().for_each(|bytes: &[u8]| {
        let Ok(path) = NormalPath::parse(bytes) else {
            return;
        };
        for form in [Some(path.routed()), Some(path.kept()), path.slashed()] {
            let Some(form) = form else { continue };
            assert_eq!(form.first(), Some(&b'/'));
            let mut elements = form.split(|&byte| byte == b'/');
            assert!(!elements.any(|element| element == b".." || element == b"."));
        }
        let again = NormalPath::parse(path.kept()).expect("a normal path");
        assert_eq!(again.kept(), path.kept());
        assert_eq!(again.routed(), path.routed());
        assert_eq!(again.slashed(), path.slashed());
    });
}

/// A host name is in small letters, and is its own.
#[test]
fn hosts() {
    check!().for_each(|bytes: &[u8]| {
        let Some(host) = HostName::parse(bytes) else {
            return;
        };
        let text = host.as_str();
        assert!(!text.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(
            !text
                .bytes()
                .any(|byte| byte.is_ascii_control() || byte == b'/')
        );
        let written = if text.contains(':') {
            format!("[{text}]:80")
        } else {
            format!("{text}:80")
        };
        let again = HostName::parse(written.as_bytes());
        assert_eq!(again.as_ref().map(HostName::as_str), Some(text));
    });
}
