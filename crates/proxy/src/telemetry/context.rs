//! In which trace a request is: the fields `traceparent` and `tracestate` (W3C Trace Context).

use crate::headers::Headers;

/// The fields' names.
pub(super) const PARENT: &[u8] = b"traceparent";
pub(super) const STATE: &[u8] = b"tracestate";

/// How long a `traceparent` of version 00 is.
const LENGTH: usize = 55;

/// The most of a `tracestate` that goes on (W3C Trace Context, section 3.3.1.5).
const MOST_STATE: usize = 512;

/// Where a request is in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: u128,
    pub(super) span: u64,
    /// Whether whoever is asked next may take it that the trace is told.
    pub(super) sampled: bool,
}

impl Context {
    /// What the client says, if it is in a trace.
    pub(super) fn of(headers: &Headers) -> Option<Self> {
        let mut fields = headers.iter();
        let mut values = fields.by_ref().filter_map(|(_, name, value)| {
            let is_parent = name.eq_ignore_ascii_case(PARENT);
            is_parent.then_some(value)
        });
        let value = values.next()?;
        // Of several, none counts (section 3.2.1).
        values.next().is_none().then(|| Self::parse(value))?
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(LENGTH)?;
        let version = hex(&known[..2])?;
        let is_right = match version {
            0 => rest.is_empty(),
            // Nobody's.
            0xff => false,
            // Later versions may say more after what is known (section 3.2.4).
            _ => rest.first().is_none_or(|&byte| byte == b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
        let trace = hex(&known[3..35])?;
        let span = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = hex(&known[53..])?;
        (is_right && dashes && trace != 0 && span != 0).then_some(Self {
            trace,
            span,
            sampled: flags & 1 == 1,
        })
    }

    /// As it is written.
    pub(super) fn text(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace, &mut text[3..35]);
        write_hex(self.span.into(), &mut text[36..52]);
        write_hex(self.sampled.into(), &mut text[53..]);
        text
    }

    /// Has the next one be told this, and of the trace's state what is given.
    pub(super) fn tell(&self, headers: &mut Headers, state: Option<&[u8]>) {
        headers.remove_named(PARENT);
        headers.remove_named(STATE);
        headers.push(PARENT, &self.text());
        if let Some(state) = state {
            headers.push(STATE, state);
        }
    }
}

/// What vendors say of the trace, as it goes on.
pub(super) fn state(headers: &Headers) -> Option<Vec<u8>> {
    let state = headers.joined(STATE)?;
    let is_text = |byte: &u8| (b' '..0x7f).contains(byte);
    let goes_on = !state.is_empty() && state.len() <= MOST_STATE && state.iter().all(is_text);
    goes_on.then(|| state.into_owned())
}

/// A number in hexadecimal digits, the lower ones alone.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn write_hex(mut number: u128, out: &mut [u8]) {
    for digit in out.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        let context = Context::parse(GIVEN.as_bytes()).expect("right");
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7);
        assert!(context.sampled);
        assert_eq!(context.text(), GIVEN.as_bytes());
        let later = GIVEN.replacen("00", "cc", 1);
        assert_eq!(Context::parse(later.as_bytes()), Some(context));
        assert_eq!(
            Context::parse(format!("{later}-more").as_bytes()),
            Some(context)
        );
        let other = GIVEN.replace("-01", "-02");
        assert!(Context::parse(other.as_bytes()).is_some_and(|context| !context.sampled));
    }

    #[test]
    fn what_is_not_as_the_recommendation_says_is_no_parent() {
        let wrong = [
            String::new(),
            GIVEN.to_uppercase(),
            format!("{GIVEN}-more"),
            GIVEN[..54].to_owned(),
            GIVEN.replacen("00", "ff", 1),
            GIVEN.replace('-', "_"),
            GIVEN.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GIVEN.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GIVEN.replace('4', "g"),
            GIVEN.replacen("00", "cc", 1) + "x",
        ];
        for wrong in wrong {
            assert_eq!(Context::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let mut headers = Headers::default();
        headers.push(b"traceparent", GIVEN.as_bytes());
        assert!(Context::of(&headers).is_some());
        headers.push(b"Traceparent", GIVEN.as_bytes());
        assert_eq!(Context::of(&headers), None);
    }
}
