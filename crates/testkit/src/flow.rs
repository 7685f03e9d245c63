//! One direction of a captured TCP connection, put back in order byte by byte, and checked against the shape of TLS
//! as it comes in. Memory stays small: bytes are looked at once and not kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Bytes that wait for a gap to close. Beyond that the capture lost a packet for good, and the flow says so.
const PENDING_BYTES_MAX: usize = 8 << 20;
/// The biggest TLS record that a peer may send (RFC 8446 §5.2).
const RECORD_MAX: usize = (1 << 14) + 256;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The sender of the bytes.
    pub src: SocketAddr,
    /// Their receiver.
    pub dst: SocketAddr,
}

/// What one direction of a connection carried.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Distinct bytes that were put in order.
    pub bytes: u64,
    /// Payload bytes of all packets, repeated ones too.
    pub wire_bytes: u64,
    /// Whether the capture saw the connection open. If not, record borders are unknown.
    pub from_start: bool,
    /// Bytes are missing: a packet was lost by the capture, or by the wire and never sent again.
    pub gap: bool,
    /// Whether the sender reset the connection.
    pub reset: bool,
    /// Whether the sender closed its side.
    pub finished: bool,
    /// From the first byte that is not part of a TLS record; zero if all are.
    pub not_tls_bytes: u64,
    next: Option<u32>,
    pending: BTreeMap<u32, Vec<u8>>,
    pending_bytes: usize,
    records: Records,
}

impl Flow {
    /// Takes a segment. What comes in order, this one and those that waited for it, goes to `see`.
    pub(crate) fn segment(&mut self, seq: u32, syn: bool, payload: &[u8], mut see: impl FnMut(&[u8])) {
        self.wire_bytes += payload.len() as u64;
        if syn {
            if self.next != Some(seq.wrapping_add(1)) || self.bytes > 0 {
                self.restart(seq.wrapping_add(1));
            }
            // Data on a SYN follows the SYN's own number.
            return self.data(seq.wrapping_add(1), payload, &mut see);
        }
        if self.next.is_none() && !payload.is_empty() {
            self.next = Some(seq);
        }
        self.data(seq, payload, &mut see);
    }

    /// A SYN: the ports are used for a new connection.
    fn restart(&mut self, next: u32) {
        self.next = Some(next);
        self.from_start = true;
        self.pending.clear();
        self.pending_bytes = 0;
        self.records = Records::default();
        self.finished = false;
    }

    fn data(&mut self, seq: u32, payload: &[u8], see: &mut impl FnMut(&[u8])) {
        let Some(next) = self.next else { return };
        if payload.is_empty() {
            return;
        }
        if seq != next && !before(seq, next) {
            self.wait(seq, payload);
            return;
        }
        self.in_order(seq, payload, see);
        while let Some((&waiting, _)) = self.pending.iter().find(|(seq, _)| !self.is_ahead(**seq)) {
            let payload = self.pending.remove(&waiting).expect("just found");
            self.pending_bytes -= payload.len();
            self.in_order(waiting, &payload, see);
        }
    }

    fn is_ahead(&self, seq: u32) -> bool {
        self.next.is_some_and(|next| seq != next && !before(seq, next))
    }

    fn in_order(&mut self, seq: u32, payload: &[u8], see: &mut impl FnMut(&[u8])) {
        let next = self.next.expect("data() checked it");
        let known = next.wrapping_sub(seq) as usize;
        let Some(new) = payload.get(known..).filter(|new| !new.is_empty()) else { return };
        // Segments are far shorter than 4 GiB.
        self.next = Some(next.wrapping_add(new.len() as u32));
        self.bytes += new.len() as u64;
        self.not_tls_bytes += self.records.read(new);
        see(new);
    }

    fn wait(&mut self, seq: u32, payload: &[u8]) {
        if self.pending_bytes + payload.len() > PENDING_BYTES_MAX {
            self.gap = true;
            return;
        }
        let longer = self.pending.get(&seq).is_none_or(|known| known.len() < payload.len());
        if longer {
            self.pending_bytes += payload.len();
            if let Some(known) = self.pending.insert(seq, payload.to_vec()) {
                self.pending_bytes -= known.len();
            }
        }
    }

    /// Whether bytes are missing as things stand.
    pub fn incomplete(&self) -> bool {
        self.gap || !self.pending.is_empty()
    }
}

/// Sequence numbers wrap; `a` is before `b` if the shorter way leads there.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Follows the borders of TLS records.
#[derive(Clone, Debug, Default)]
struct Records {
    header: Vec<u8>,
    left: usize,
    broken: bool,
}

impl Records {
    /// Reads on, and says how many bytes are not part of a record.
    fn read(&mut self, mut bytes: &[u8]) -> u64 {
        while !bytes.is_empty() && !self.broken {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            let taken = (5 - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            if !could_be_header(&self.header) {
                self.broken = true;
                break;
            }
            bytes = &bytes[taken..];
            if self.header.len() == 5 {
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.header.clear();
            }
        }
        bytes.len() as u64
    }
}

/// Content types 20 to 24, any version 3.x, a length that the standard allows; also for the first bytes of a header.
fn could_be_header(bytes: &[u8]) -> bool {
    let kind = bytes.first().is_none_or(|kind| (20..=24).contains(kind));
    let version =
        bytes.get(1).is_none_or(|major| *major == 3) && bytes.get(2).is_none_or(|minor| *minor <= 4);
    let length = match bytes {
        [_, _, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) <= RECORD_MAX,
        _ => true,
    };
    kind && version && length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(segments: &[(u32, bool, &[u8])]) -> (Flow, Vec<u8>) {
        let (mut flow, mut seen) = (Flow::default(), Vec::new());
        for (seq, syn, payload) in segments {
            flow.segment(*seq, *syn, payload, |bytes| seen.extend_from_slice(bytes));
        }
        (flow, seen)
    }

    #[test]
    fn order_is_restored() {
        let max = u32::MAX;
        for (case, segments) in [
            ("in order", vec![(9, true, &b""[..]), (10, false, b"abc"), (13, false, b"def")]),
            ("swapped", vec![(9, true, b""), (13, false, b"def"), (10, false, b"abc")]),
            ("repeated", vec![(9, true, b""), (10, false, b"abc"), (10, false, b"abc"), (13, false, b"def")]),
            ("overlapping", vec![(9, true, b""), (10, false, b"abcd"), (12, false, b"cdef")]),
            ("wrapping", vec![(max - 2, true, b""), (max - 1, false, b"abc"), (1, false, b"def")]),
            ("data on the SYN", vec![(9, true, b"abc"), (13, false, b"def")]),
            ("without SYN", vec![(10, false, b"abc"), (13, false, b"def")]),
        ] {
            let (flow, seen) = run(&segments);
            assert_eq!(seen, b"abcdef", "{case}");
            assert_eq!(flow.bytes, 6, "{case}");
            assert!(!flow.incomplete(), "{case}");
        }
        assert!(run(&[(9, true, b""), (13, false, b"def")]).0.incomplete());
    }

    #[test]
    fn tls_is_told_from_plain_text() {
        for (case, pieces, bad) in [
            ("one record", vec![&[23, 3, 3, 0, 2, 1, 1][..]], 0),
            ("cut in the header", vec![&[23, 3], &[3, 0, 2, 1], &[1, 22, 3, 1, 0, 0]], 0),
            ("plain text", vec![b"GET / HTTP/1.1"], 14),
            ("plain text later", vec![&[23, 3, 3, 0, 1, 9], b"hello"], 5),
            ("too long", vec![&[23, 3, 3, 0xff, 0xff]], 5),
        ] {
            let mut records = Records::default();
            let counted: u64 = pieces.iter().map(|piece| records.read(piece)).sum();
            assert_eq!(counted, bad, "{case}");
        }
    }
}
