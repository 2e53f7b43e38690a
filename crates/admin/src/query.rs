//! The query of a request's target: `a=1&b=x%20y`.

/// The first value of a name, percent-decoded; none if it is not there or is no UTF-8.
pub(crate) fn value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| decode(value))?
    })
}

/// The first value of a name as a number, if it is there.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn number(query: &str, name: &str) -> Result<Option<usize>, String> {
    value(query, name)
        .map(|text| {
            let number = text.parse();
            number.map_err(|_| format!("{name} is a number, as {name}=100"))
        })
        .transpose()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let decoded = match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            byte => byte,
        };
        bytes.push(decoded);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_and_decoded() {
        let query = "a=1&url=https%3A%2F%2Fx.test%2Fa%3Fb%3Dc&c&bad=%f&a=2";
        assert_eq!(value(query, "url").as_deref(), Some("https://x.test/a?b=c"));
        assert_eq!(value(query, "c").as_deref(), Some(""));
        assert_eq!((value(query, "bad"), value(query, "d")), (None, None));
        assert_eq!(number(query, "a"), Ok(Some(1)));
        assert_eq!(number(query, "d"), Ok(None));
        assert!(number(query, "c").is_err());
    }
}
