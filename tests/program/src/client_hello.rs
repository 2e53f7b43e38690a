//! ClientHellos of any make, those among them that no library would send.

fn vector16(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    [&length.to_be_bytes(), content].concat()
}

/// An extension by its number.
pub fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

/// The server name.
pub fn sni(host: &str) -> Vec<u8> {
    let entry = [&[0][..], &vector16(host.as_bytes())].concat();
    extension(0, &vector16(&entry))
}

/// One that has another, encrypted one inside.
pub fn ech() -> Vec<u8> {
    let content = [&[0, 0, 1, 0, 1, 7, 0, 32][..], &[5; 240]].concat();
    extension(0xfe0d, &content)
}

/// A ClientHello of nothing but these extensions, in records of `size`.
pub fn hello(extensions: &[Vec<u8>], size: usize) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    body.extend(vector16(&extensions.concat()));
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1], &length[1..], &body].concat();
    let record = |part: &[u8]| [&[22, 3, 1][..], &vector16(part)].concat();
    message.chunks(size).flat_map(record).collect()
}
