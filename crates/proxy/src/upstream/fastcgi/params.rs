//! What a FastCGI server is told of a request: names and values (specification, section 3.4).

/// The longest value that a request of ours has; heads are limited before they come here.
const LONG: usize = 0x7f;

/// Names and values as FastCGI writes them.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<u8>);

impl Params {
    /// Adds one.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.length(name.len());
        self.length(value.len());
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(value);
    }

    /// Adds a header field as CGI names it (RFC 3875, section 4.1.18). Names that would be
    /// another's are left out, and so is `Proxy`, which programs take for a setting of their own.
    pub(crate) fn push_field(&mut self, name: &[u8], value: &[u8]) {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        if !name.iter().all(plain) || name.eq_ignore_ascii_case(b"proxy") {
            return;
        }
        let mut variable = b"HTTP_".to_vec();
        variable.extend(name.iter().map(|byte| match byte {
            b'-' => b'_',
            byte => byte.to_ascii_uppercase(),
        }));
        self.push(&variable, value);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn length(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(short) if length <= LONG => self.0.push(short),
            _ => {
                // Less than 2^31 bytes, as heads are limited.
                let long = u32::try_from(length).unwrap_or(u32::MAX) | 0x8000_0000;
                self.0.extend_from_slice(&long.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_byte_or_four() {
        let mut params = Params::default();
        params.push(b"A", b"bc");
        params.push(b"D", &[b'x'; 200]);
        assert_eq!(params.bytes()[..5], [1, 2, b'A', b'b', b'c']);
        assert_eq!(params.bytes()[5..11], [1, 0x80, 0, 0, 200, b'D']);
    }

    #[test]
    fn fields_have_cgis_names_and_none_passes_for_another() {
        let mut params = Params::default();
        params.push_field(b"X-Forwarded_For", b"1");
        params.push_field(b"proxy", b"1");
        assert!(params.bytes().is_empty());
        params.push_field(b"x-a", b"1");
        assert_eq!(params.bytes()[2..], *b"HTTP_X_A1");
    }
}
