//! What snippets do to responses.

use std::time::SystemTime;

use model::filter::snippet::{Expires, Responses};

use crate::date::http_date;
use crate::filters::headers::{is_free, is_value};
use crate::headers::Headers;

/// What is to be done to a response, once there is one.
#[derive(Debug)]
pub(crate) enum Late {
    Add {
        name: Box<str>,
        value: Vec<Part>,
        always: bool,
    },
    Set {
        name: Box<str>,
        value: Vec<Part>,
        of: Responses,
    },
    Clear {
        name: Box<str>,
        of: Responses,
    },
    Expires(Expires),
}

impl Late {
    /// Adds a field to whatever the response is.
    pub(crate) fn add(name: &str, value: Vec<u8>) -> Self {
        Self::Add {
            name: name.into(),
            value: vec![Part::Known(value)],
            always: true,
        }
    }
}

/// A part of a text of which the request's parts are known.
#[derive(Debug)]
pub(crate) enum Part {
    Known(Vec<u8>),
    Field(Box<str>),
    Status,
}

/// Does to a response what is to be done to it.
pub(crate) fn finish(late: &[Late], headers: &mut Headers, status: u16) {
    for edit in late {
        match edit {
            Late::Clear { name, of } if is_of(of, headers, status) => clear(headers, name),
            Late::Set { name, value, of } if is_of(of, headers, status) => {
                set(headers, name, &put_together(value, headers, status));
            }
            _ => {}
        }
    }
    for edit in late {
        match edit {
            Late::Expires(expires) if is_good(status) => expire(headers, *expires),
            Late::Add {
                name,
                value,
                always,
            } if *always || is_good(status) => {
                let value = put_together(value, headers, status);
                if !value.is_empty() && is_value(&value) && is_free(name.as_bytes()) {
                    headers.push(name.as_bytes(), &value);
                }
            }
            _ => {}
        }
    }
}

fn put_together(parts: &[Part], headers: &Headers, status: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        match part {
            Part::Known(value) => out.extend_from_slice(value),
            Part::Field(name) => {
                let value = headers.joined(name.as_bytes());
                out.extend_from_slice(value.as_deref().unwrap_or_default());
            }
            Part::Status => out.extend_from_slice(status.to_string().as_bytes()),
        }
    }
    out
}

/// Whether a response is one of these.
fn is_of(of: &Responses, headers: &Headers, status: u16) -> bool {
    let has_type = || {
        let kind = headers.joined(b"content-type");
        let kind = kind.as_deref().unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
        let kind = kind.trim_ascii();
        of.types
            .iter()
            .any(|one| kind.eq_ignore_ascii_case(one.as_bytes()))
    };
    (of.statuses.is_empty() || of.statuses.contains(&status)) && (of.types.is_empty() || has_type())
}

/// Whether `add_header` and `expires` are about such a response without more words.
fn is_good(status: u16) -> bool {
    matches!(
        status,
        200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308
    )
}

/// Puts a value in the place of what there is; an empty one is none.
pub(super) fn set(headers: &mut Headers, name: &str, value: &[u8]) {
    if !is_free(name.as_bytes()) || !is_value(value) {
        return;
    }
    headers.remove_named(name.as_bytes());
    if !value.is_empty() {
        headers.push(name.as_bytes(), value);
    }
}

fn clear(headers: &mut Headers, name: &str) {
    let (wanted, is_beginning) = match name.strip_suffix('*') {
        Some(beginning) => (beginning.as_bytes(), true),
        None => (name.as_bytes(), false),
    };
    headers.retain(|_, field| {
        let compared = match is_beginning {
            true => field.get(..wanted.len()).unwrap_or_default(),
            false => field,
        };
        !compared.eq_ignore_ascii_case(wanted) || !is_free(field)
    });
}

fn expire(headers: &mut Headers, expires: Expires) {
    const FOR_EVER: &str = "Thu, 31 Dec 2037 23:55:55 GMT";
    let (date, control) = match expires {
        Expires::Epoch => (
            "Thu, 01 Jan 1970 00:00:01 GMT".to_owned(),
            "no-cache".to_owned(),
        ),
        Expires::Max => (FOR_EVER.to_owned(), "max-age=315360000".to_owned()),
        Expires::Seconds(seconds) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let now = now.unwrap_or_default().as_secs();
            let control = match seconds {
                0.. => format!("max-age={seconds}"),
                _ => "no-cache".to_owned(),
            };
            (http_date(now.saturating_add_signed(seconds)), control)
        }
    };
    set(headers, "Expires", date.as_bytes());
    set(headers, "Cache-Control", control.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(late: &[Late], status: u16) -> Vec<String> {
        let mut headers = Headers::default();
        headers.push(b"Content-Type", b"text/html; charset=x");
        headers.push(b"X-Debug-One", b"1");
        finish(late, &mut headers, status);
        let fields = headers.iter();
        let fields = fields.map(|(_, name, value)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}: {}", text(name), text(value))
        });
        fields.skip(1).collect()
    }

    fn known(text: &str) -> Vec<Part> {
        vec![Part::Known(text.into())]
    }

    #[test]
    fn fields_are_set_before_others_are_added_and_by_status_and_type() {
        let of = |statuses: &[u16], types: &[&str]| Responses {
            statuses: statuses.into(),
            types: types.iter().map(|&one| one.into()).collect(),
        };
        let late = [
            Late::Add {
                name: "X-A".into(),
                value: known("added"),
                always: false,
            },
            Late::Set {
                name: "X-A".into(),
                value: vec![Part::Field("x-debug-one".into()), Part::Status],
                of: of(&[200, 404], &["text/html"]),
            },
            Late::Clear {
                name: "X-Debug-*".into(),
                of: of(&[], &[]),
            },
            Late::Set {
                name: "X-B".into(),
                value: known("b"),
                of: of(&[], &["text/plain"]),
            },
            Late::Add {
                name: "X-C".into(),
                value: known("c"),
                always: true,
            },
        ];
        assert_eq!(finished(&late, 200), ["X-A: 1200", "X-A: added", "X-C: c"]);
        assert_eq!(finished(&late, 404), ["X-A: 1404", "X-C: c"]);
        assert_eq!(finished(&late, 500), ["X-C: c"]);
    }

    #[test]
    fn nothing_that_frames_a_message_or_leaves_its_line_is_set() {
        let set = |name: &str, value: &str| {
            let late = [Late::Set {
                name: name.into(),
                value: known(value),
                of: Responses::default(),
            }];
            finished(&late, 200)
        };
        for (name, value) in [
            ("Content-Length", "1"),
            ("Transfer-Encoding", "chunked"),
            ("X-A", "a\r\nX-B: b"),
        ] {
            assert_eq!(set(name, value), ["X-Debug-One: 1"], "{name}");
        }
    }

    #[test]
    fn what_expires_says_so_in_two_fields() {
        let expires = |expires| finished(&[Late::Expires(expires)], 200)[1..].to_vec();
        assert_eq!(
            expires(Expires::Epoch),
            [
                "Expires: Thu, 01 Jan 1970 00:00:01 GMT",
                "Cache-Control: no-cache"
            ]
        );
        assert_eq!(
            expires(Expires::Seconds(60))[1],
            "Cache-Control: max-age=60"
        );
        assert_eq!(expires(Expires::Seconds(-1))[1], "Cache-Control: no-cache");
        assert_eq!(finished(&[Late::Expires(Expires::Max)], 404).len(), 1);
    }
}
