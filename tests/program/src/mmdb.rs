//! Writes databases of addresses in MaxMind's format (MaxMind DB 2.0), as small as tests need them.

use std::net::Ipv4Addr;

/// A value of a database.
#[derive(Debug, Clone)]
pub enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Fraction(f64),
    Bool(bool),
    Map(Vec<(&'static str, Self)>),
    List(Vec<Self>),
}

/// A database of so many IPv4 addresses.
pub fn database(kind: &'static str, addresses: &[(Ipv4Addr, Value)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut tree = vec![[None; 2]];
    for (address, value) in addresses {
        let offset = data.len();
        write(value, &mut data);
        insert(&mut tree, u32::from(*address), offset);
    }
    let nodes = tree.len();
    let mut out = Vec::new();
    for node in &tree {
        for record in node {
            let record = match record {
                None => nodes,
                Some(Record::Node(node)) => *node,
                // Behind the tree are 16 bytes of nothing.
                Some(Record::Data(offset)) => nodes + 16 + offset,
            };
            let bytes = u32::try_from(record).expect("it is small").to_be_bytes();
            out.extend_from_slice(&bytes[1..]);
        }
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let nodes = u32::try_from(nodes).expect("it is small");
    write(
        &Value::Map(vec![
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1)),
            ("database_type", Value::Text(kind)),
            ("description", Value::Map(Vec::new())),
            ("ip_version", Value::Short(4)),
            ("languages", Value::List(vec![Value::Text("en")])),
            ("node_count", Value::Number(nodes)),
            ("record_size", Value::Short(24)),
        ]),
        &mut out,
    );
    out
}

#[derive(Debug, Clone, Copy)]
enum Record {
    Node(usize),
    Data(usize),
}

fn insert(tree: &mut Vec<[Option<Record>; 2]>, address: u32, offset: usize) {
    let mut node = 0;
    for bit in (0..32).rev() {
        let side = usize::from(address >> bit & 1 == 1);
        if bit == 0 {
            tree[node][side] = Some(Record::Data(offset));
        } else if let Some(Record::Node(next)) = tree[node][side] {
            node = next;
        } else {
            tree.push([None; 2]);
            tree[node][side] = Some(Record::Node(tree.len() - 1));
            node = tree.len() - 1;
        }
    }
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            begin(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Fraction(number) => {
            begin(3, 8, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Short(number) => {
            begin(5, 2, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Long(number) => {
            begin(9, 8, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Number(number) => {
            begin(6, 4, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Map(entries) => {
            begin(7, entries.len(), out);
            for (key, value) in entries {
                write(&Value::Text(key), out);
                write(value, out);
            }
        }
        Value::List(values) => {
            begin(11, values.len(), out);
            values.iter().for_each(|value| write(value, out));
        }
        Value::Bool(is) => begin(14, usize::from(*is), out),
    }
}

/// The bytes before a value: its type, and its size or how many it has.
fn begin(kind: u8, size: usize, out: &mut Vec<u8>) {
    assert!(size < 29 + 256, "tests have nothing that is longer");
    let short = u8::try_from(size.min(29)).expect("a few bits");
    match kind {
        0..=7 => out.push(kind << 5 | short),
        _ => out.extend_from_slice(&[short, kind - 7]),
    }
    if size >= 29 {
        out.push(u8::try_from(size - 29).expect("checked above"));
    }
}
