//! Changes header fields (Gateway API: HTTPHeaderFilter).

use model::filter::HeaderEdit;

use crate::headers::{Headers, Name};

/// Changes fields. Tells the Host that a request is to have, which is none of its fields here.
///
/// What frames the message, or is about one connection, is not changed: another Content-Length
/// would hand the rest of a connection to whoever wrote the body.
pub(super) fn edit<'a>(edit: &'a HeaderEdit, headers: &mut Headers) -> Option<&'a str> {
    for name in &edit.remove {
        if is_free(name.as_bytes()) {
            headers.remove_named(name.as_bytes());
        }
    }
    let mut host = None;
    for (name, value) in &edit.set {
        if Name::of(name.as_bytes()) == Name::Host {
            host = Some(&**value).filter(|host| is_value(host.as_bytes()));
        } else if is_free(name.as_bytes()) && is_value(value.as_bytes()) {
            headers.remove_named(name.as_bytes());
            headers.push(name.as_bytes(), value.as_bytes());
        }
    }
    for (name, value) in &edit.add {
        if is_free(name.as_bytes()) && is_value(value.as_bytes()) {
            headers.push(name.as_bytes(), value.as_bytes());
        }
    }
    host
}

/// Whether a field of this name may be changed.
pub(super) fn is_free(name: &[u8]) -> bool {
    let known = Name::of(name);
    !known.is_hop_by_hop()
        && !matches!(known, Name::Host | Name::ContentLength)
        && http::HeaderName::from_bytes(name).is_ok()
}

/// Whether it can stand in one line.
pub(super) fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|&byte| byte == b'\t' || byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(edit: &HeaderEdit, fields: &[(&str, &str)]) -> (Vec<String>, Option<String>) {
        let mut headers = Headers::default();
        for (name, value) in fields {
            headers.push(name.as_bytes(), value.as_bytes());
        }
        let host = super::edit(edit, &mut headers).map(str::to_owned);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = headers.iter();
        let fields = fields.map(|(_, name, value)| format!("{}: {}", text(name), text(value)));
        (fields.collect(), host)
    }

    fn pairs(of: &[(&str, &str)]) -> Box<[(Box<str>, Box<str>)]> {
        of.iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect()
    }

    #[test]
    fn fields_are_taken_out_then_put_in_place_then_added() {
        let edit = HeaderEdit {
            remove: ["x-gone".into(), "X-Both".into()].into(),
            set: pairs(&[("X-Set", "new"), ("x-both", "set")]),
            add: pairs(&[("X-Add", "2"), ("X-Both", "added")]),
        };
        let (fields, host) = edited(
            &edit,
            &[
                ("X-Gone", "1"),
                ("x-set", "old"),
                ("X-SET", "older"),
                ("X-Add", "1"),
                ("X-Both", "old"),
                ("X-Stays", "1"),
            ],
        );
        assert_eq!(
            fields,
            [
                "X-Add: 1",
                "X-Stays: 1",
                "X-Set: new",
                "x-both: set",
                "X-Add: 2",
                "X-Both: added"
            ]
        );
        assert_eq!(host, None);
    }

    #[test]
    fn what_frames_the_message_is_left_alone_and_no_value_ends_its_line() {
        let names = [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "TE",
            "a b",
        ];
        let edit = HeaderEdit {
            remove: names.map(Box::from).into(),
            set: names.map(|name| (name.into(), "7".into())).into(),
            add: pairs(&[("X-Bad", "a\r\nContent-Length: 5"), ("Host", "added")]),
        };
        let (fields, host) = edited(&edit, &[("Content-Length", "3")]);
        assert_eq!(fields, ["Content-Length: 3"]);
        assert_eq!(host, None);
        let edit = HeaderEdit {
            set: pairs(&[("host", "other.example")]),
            ..HeaderEdit::default()
        };
        assert_eq!(edited(&edit, &[]), (vec![], Some("other.example".into())));
    }
}
