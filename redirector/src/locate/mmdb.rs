//! Writes databases in the `MaxMind` DB format 2.0, as small as tests need them.

use std::net::IpAddr;

use landfall_route::Prefix;

/// A value of a record. Texts and maps have at most 28 bytes or entries, and those of a database at most 255 bytes.
#[derive(Clone)]
pub(super) enum Value {
    Text(&'static str),
    Number(u32),
    Map(Vec<(&'static str, Value)>),
}

const TEXT: u8 = 2;
const UINT16: u8 = 5;
const UINT32: u8 = 6;
const MAP: u8 = 7;
/// Types from 8 on are told in a second byte, less 7.
const UINT64: u8 = 9;
const ARRAY: u8 = 11;

/// A database with records for these networks.
pub(super) fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    const NOTHING: u32 = u32::MAX;
    let mut nodes = vec![[NOTHING; 2]];
    let mut leaves = Vec::new();
    let mut data = Vec::new();
    for (network, record) in networks {
        let prefix: Prefix = network.parse().unwrap();
        let (bits, length) = match prefix.first() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), prefix.length() + 96),
            IpAddr::V6(v6) => (v6.to_bits(), prefix.length()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                leaves.push((node, side, u32::try_from(data.len()).unwrap()));
            } else if nodes[node][side] == NOTHING {
                nodes[node][side] = u32::try_from(nodes.len()).unwrap();
                nodes.push([NOTHING; 2]);
                node = nodes.len() - 1;
            } else {
                node = nodes[node][side] as usize;
            }
        }
        encode(record, &mut data);
    }
    let count = u32::try_from(nodes.len()).unwrap();
    for (node, side, offset) in leaves {
        nodes[node][side] = count + 16 + offset;
    }
    let mut file: Vec<u8> = nodes
        .iter()
        .flatten()
        .map(|record| if *record == NOTHING { count } else { *record })
        .flat_map(u32::to_be_bytes)
        .collect();
    file.extend([0; 16]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(count, &mut file);
    file
}

fn metadata(nodes: u32, file: &mut Vec<u8>) {
    control(MAP, 9, file);
    let fields: [(&str, u8, u32); 5] = [
        ("node_count", UINT32, nodes),
        ("record_size", UINT16, 32),
        ("ip_version", UINT16, 6),
        ("binary_format_major_version", UINT16, 2),
        ("binary_format_minor_version", UINT16, 0),
    ];
    for (name, kind, value) in fields {
        text(name, file);
        number(kind, value, file);
    }
    text("build_epoch", file);
    number(UINT64, 1_760_000_000, file);
    text("database_type", file);
    text("Test", file);
    text("languages", file);
    control(ARRAY, 0, file);
    text("description", file);
    control(MAP, 0, file);
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(value) => text(value, out),
        Value::Number(value) => number(UINT32, *value, out),
        Value::Map(entries) => {
            control(MAP, entries.len(), out);
            for (key, value) in entries {
                text(key, out);
                encode(value, out);
            }
        }
    }
}

fn text(value: &str, out: &mut Vec<u8>) {
    control(TEXT, value.len(), out);
    out.extend(value.as_bytes());
}

fn number(kind: u8, value: u32, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skipped = bytes.iter().take_while(|byte| **byte == 0).count();
    control(kind, bytes.len() - skipped, out);
    out.extend(&bytes[skipped..]);
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, long) = match u8::try_from(size).unwrap() {
        size @ 0..29 => (size, None),
        size => (29, Some(size - 29)),
    };
    match kind {
        0..=7 => out.push(kind << 5 | short),
        _ => out.extend([short, kind - 7]),
    }
    out.extend(long);
}
