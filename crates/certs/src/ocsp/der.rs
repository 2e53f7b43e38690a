//! A reader of DER (X.690), for what is small and flat: it goes down only where it is told to, so
//! that no nesting is too deep, and never beyond what it was given.

/// What is not as it has to be; OCSP's answers are made by machines, so that nobody wants to know
/// where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Tags of the universal class.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const BOOLEAN: u8 = 0x01;

/// The tag `[number]`, of something that has others inside.
pub(super) const fn inside(number: u8) -> u8 {
    0xa0 | number
}

/// The tag `[number]` of something that has none.
pub(super) const fn plain(number: u8) -> u8 {
    0x80 | number
}

/// One value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    pub(super) contents: &'a [u8],
    /// With tag and length.
    pub(super) whole: &'a [u8],
}

/// What has not been read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value, whatever it is.
    pub(super) fn next(&mut self) -> Result<Value<'a>, Malformed> {
        let (tag, rest) = self.0.split_first().ok_or(Malformed)?;
        // A number that needs more bytes is in nothing that is read here.
        if tag & 0x1f == 0x1f {
            return Err(Malformed);
        }
        let (length, rest) = length(rest)?;
        let (contents, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Ok(Value {
            tag: *tag,
            contents,
            whole,
        })
    }

    /// The next value, which has to have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Value<'a>, Malformed> {
        let value = self.next()?;
        (value.tag == tag).then_some(value).ok_or(Malformed)
    }

    /// The next value, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, Malformed> {
        match self.0.first() {
            Some(next) if *next == tag => self.next().map(Some),
            _ => Ok(None),
        }
    }

    /// What is in the next value, which has to have this tag.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, Malformed> {
        Ok(Self(self.expect(tag)?.contents))
    }

    /// That there is nothing more.
    pub(super) fn end(self) -> Result<(), Malformed> {
        self.is_empty().then_some(()).ok_or(Malformed)
    }
}

/// The bytes of a BIT STRING that is made of whole ones.
pub(super) fn whole_bytes(contents: &[u8]) -> Result<&[u8], Malformed> {
    match contents.split_first() {
        Some((0, bytes)) => Ok(bytes),
        _ => Err(Malformed),
    }
}

/// Writes a value around its contents.
pub(super) fn write(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = &bytes[zeros..];
            // At most eight.
            der.push(0x80 | bytes.len() as u8);
            der.extend_from_slice(bytes);
        }
    }
    for part in contents {
        der.extend_from_slice(part);
    }
    der
}

fn length(der: &[u8]) -> Result<(usize, &[u8]), Malformed> {
    let (first, rest) = der.split_first().ok_or(Malformed)?;
    if *first < 0x80 {
        return Ok((usize::from(*first), rest));
    }
    // No end by a mark, and no more than anything here could be long.
    let count = usize::from(*first & 0x7f);
    if !(1..=4).contains(&count) {
        return Err(Malformed);
    }
    let (bytes, rest) = rest.split_at_checked(count).ok_or(Malformed)?;
    let length = bytes
        .iter()
        .fold(0_usize, |sum, byte| (sum << 8) | usize::from(*byte));
    // The shortest form is the only one.
    let is_shortest = bytes[0] != 0 && length >= 0x80;
    is_shortest.then_some((length, rest)).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_whatever_its_length() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let contents = vec![7; length];
            let der = write(OCTET_STRING, &[&contents]);
            let mut reader = Reader::new(&der);
            let value = reader.expect(OCTET_STRING).expect("written");
            assert_eq!((value.contents, value.whole), (&*contents, &*der));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn lengths_have_one_form_and_stay_within() {
        let wrong: [&[u8]; 9] = [
            &[],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 1, 0],
            &[4, 0x82, 0, 0x80],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x85, 0, 0, 0, 0, 1, 0],
            &[0x1f, 0x81, 0],
        ];
        for wrong in wrong {
            assert!(Reader::new(wrong).next().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bits_come_in_whole_bytes() {
        assert_eq!(whole_bytes(&[0, 1, 2]), Ok(&[1, 2][..]));
        assert!(whole_bytes(&[1, 2]).is_err() && whole_bytes(&[]).is_err());
    }
}
