//! Where the running kernel keeps fields of its structures, from the description that it has of itself (BTF). Only as
//! much of the format as that takes; the loader's own reader takes 30 MB for it and does not say offsets.

use std::io;
use std::path::Path;

use weft_ebpf_common::{KERNEL_FIELDS, KernelField};

/// The kernel's description of itself.
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const TYPE_LEN: usize = 12;
const MEMBER_LEN: usize = 12;

const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FUNCTION_PROTOTYPE: u32 = 13;
const VARIABLE: u32 = 14;
const SECTION: u32 = 15;
const DECLARATION_TAG: u32 = 17;
const ENUM64: u32 = 19;

/// Why a field's place is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    /// The kernel does not describe itself.
    #[error("reading {VMLINUX}")]
    Read(#[source] io::Error),
    /// The file is not what it should be.
    #[error("{VMLINUX} cannot be understood")]
    Malformed,
    /// The kernel has no such field.
    #[error("this kernel has no {structure}.{field}")]
    Absent {
        /// The structure.
        structure: &'static str,
        /// The field.
        field: &'static str,
    },
}

/// Each field's structure, and the path to it.
const FIELDS: [(KernelField, &str, &[&str]); KERNEL_FIELDS] = [
    (KernelField::Written, "tcp_sock", &["write_seq"]),
    (KernelField::Read, "tcp_sock", &["copied_seq"]),
    (KernelField::Waiting, "sock", &["sk_backlog", "rmem_alloc"]),
    (KernelField::Transformer, "inet_connection_sock", &["icsk_ulp_ops"]),
    (KernelField::Socket, "sock", &["sk_socket"]),
    (KernelField::File, "socket", &["file"]),
    (KernelField::Flags, "file", &["f_flags"]),
];

/// The offset of every field, in the order of [`KernelField`].
pub(crate) fn offsets() -> Result<[u32; KERNEL_FIELDS], BtfError> {
    let bytes = std::fs::read(Path::new(VMLINUX)).map_err(BtfError::Read)?;
    let btf = Btf::parse(&bytes).ok_or(BtfError::Malformed)?;
    let mut offsets = [0; KERNEL_FIELDS];
    for (field, structure, path) in FIELDS {
        offsets[field as usize] = btf.offset(structure, path)?;
    }
    Ok(offsets)
}

/// A description.
struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

/// One type. Its number is its place in the list, counted from one.
#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    info: u32,
    rest: &'a [u8],
}

impl Type<'_> {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }

    fn is_compound(self) -> bool {
        matches!(self.kind(), STRUCT | UNION)
    }
}

impl<'a> Btf<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC || bytes.len() < HEADER_LEN {
            return None;
        }
        let [header_len, types_at, types_len, strings_at, strings_len] =
            [4, 8, 12, 16, 20].map(|at| word(bytes, at).unwrap_or(u32::MAX) as usize);
        let section = |at: usize, length: usize| {
            let from = header_len.checked_add(at)?;
            bytes.get(from..from.checked_add(length)?)
        };
        let (mut rest, strings) = (section(types_at, types_len)?, section(strings_at, strings_len)?);
        let mut types = Vec::new();
        while !rest.is_empty() {
            let (name, info) = (word(rest, 0)?, word(rest, 4)?);
            let body = rest.get(TYPE_LEN..)?;
            let length = body_len(info)?;
            types.push(Type { name, info, rest: body.get(..length)? });
            rest = body.get(length..)?;
        }
        Some(Self { types, strings })
    }

    fn offset(&self, structure: &'static str, path: &[&'static str]) -> Result<u32, BtfError> {
        let named = |one: &&Type<'_>| one.kind() == STRUCT && self.name(one.name) == structure.as_bytes();
        let mut at = *self.types.iter().find(named).ok_or(BtfError::Malformed)?;
        let mut bits = 0;
        for field in path {
            let (more, next) = self.member(at, field, 0).ok_or(BtfError::Absent { structure, field })?;
            bits += more;
            at = next;
        }
        if bits.is_multiple_of(8) { Ok(bits / 8) } else { Err(BtfError::Malformed) }
    }

    /// Where a member is, in bits, and its type. Those of a member without a name count as the structure's own.
    fn member(&self, of: Type<'a>, wanted: &str, depth: usize) -> Option<(u32, Type<'a>)> {
        if !of.is_compound() || depth > 8 {
            return None;
        }
        of.rest.chunks_exact(MEMBER_LEN).find_map(|member| {
            let (name, target, at) = (word(member, 0)?, word(member, 4)?, word(member, 8)?);
            // With the flag, the upper byte is the width of a bit field.
            let at = if of.info >> 31 == 1 { at & 0x00ff_ffff } else { at };
            let kind = *self.types.get((target as usize).checked_sub(1)?)?;
            if self.name(name) == wanted.as_bytes() {
                return Some((at, kind));
            }
            if name != 0 {
                return None;
            }
            self.member(kind, wanted, depth + 1).map(|(more, kind)| (at + more, kind))
        })
    }

    fn name(&self, at: u32) -> &'a [u8] {
        let from = self.strings.get(at as usize..).unwrap_or_default();
        from.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Bytes that follow a type's fixed part.
fn body_len(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    Some(match info >> 24 & 0x1f {
        INT | VARIABLE | DECLARATION_TAG => 4,
        ARRAY => 12,
        STRUCT | UNION | SECTION | ENUM64 => members * 12,
        ENUM | FUNCTION_PROTOTYPE => members * 8,
        0 | 20.. => return None,
        _ => 0,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sock { int a; struct { int b; } ; } ` with the name of each at the given place of the strings.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0sock\0a\0b\0";
        let types: &[u32] = &[
            1,
            1 << 24,
            4,
            32, // 1: int
            0,
            4 << 24 | 1,
            4,
            12,
            1,
            0, // 2: struct { int b; }
            5,
            4 << 24 | 2,
            8,
            10,
            1,
            0,
            0,
            2,
            32, // 3: struct sock
        ];
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [HEADER_LEN, 0, types.len() * 4, types.len() * 4, strings.len()] {
            bytes.extend((word as u32).to_ne_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn fields_are_found() {
        let bytes = sample();
        let btf = Btf::parse(&bytes).unwrap();
        for (field, want) in [("a", Some(0)), ("b", Some(4)), ("c", None)] {
            assert_eq!(btf.offset("sock", &[field]).ok(), want, "{field}");
        }
        assert!(btf.offset("other", &["a"]).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let bytes = sample();
        for length in 0..bytes.len() {
            let _ = Btf::parse(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] = 0xff;
            if let Some(btf) = Btf::parse(&broken) {
                let _ = btf.offset("sock", &["b"]);
            }
        }
    }
}
