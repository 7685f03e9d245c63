//! The frames of Weft's own dialect. The input's first byte says in what steps the rest arrives.

use weft_tunnel::mux::frame::{BadFrame, Cutter, Header, Kind, Piece};

pub(super) const WORDS: &[&str] = &[
    "\0\0\0\x01",
    "\0\0\0\x04",
    "\0\0\x04\x05",
    "\0\0\0\x06",
    "\0\0\x01\x03",
    "\x04\0\0\x04",
    "\0\x20\0\x01",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind, stream, payload: &[u8]| {
        [&Header { kind, stream, length: payload.len() }.bytes()[..], payload].concat()
    };
    let talk = [
        frame(Kind::Open, 1, &[7; 50]),
        frame(Kind::Opened, 1, &[]),
        frame(Kind::Data, 1, b"some bytes"),
        frame(Kind::Data, 2, &[]),
        frame(Kind::Credit, 1, &9u32.to_be_bytes()),
        frame(Kind::Refused, 2, &[3]),
        frame(Kind::Ignorable, 0, b"later"),
        frame(Kind::Fin, 1, &[]),
        frame(Kind::Reset, 1, &[]),
        frame(Kind::GoAway, 0, &[]),
    ];
    let long = [frame(Kind::Data, 1, &[1; 3_000]), frame(Kind::Open, 2, &[2; 2_000])];
    [(1, talk.concat()), (5, talk.concat()), (97, long.concat())]
        .into_iter()
        .map(|(step, bytes)| [vec![step], bytes].concat())
        .collect()
}

/// Frames are cut the same however they arrive, and say the same when they are written and cut again.
pub(super) fn run(bytes: &[u8]) {
    let [step, bytes @ ..] = bytes else {
        return;
    };
    let whole = cut(bytes, bytes.len().max(1));
    let parts = cut(bytes, usize::from(*step).max(1));
    assert_eq!(whole, parts, "in steps of {step}");
    let (pieces, _) = whole;
    let written: Vec<u8> = pieces.iter().flat_map(write).collect();
    assert_eq!(cut(&written, usize::from(*step).max(1)), (pieces, Ok(())), "written again");
}

/// What was cut; DATA that follows DATA of the same stream is joined.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Data(u32, Vec<u8>),
    Frame(Header, Vec<u8>),
}

fn cut(bytes: &[u8], step: usize) -> (Vec<Found>, Result<(), BadFrame>) {
    let mut found = Vec::new();
    let mut cutter = Cutter::default();
    let fed = bytes.chunks(step).try_for_each(|chunk| {
        cutter.feed(chunk, |piece| {
            match piece {
                Piece::Data { stream, at } => data(&mut found, stream, &chunk[at]),
                Piece::Frame(header, payload) => {
                    assert_eq!(header.length, payload.len());
                    assert_ne!(header.kind, Kind::Data);
                    found.push(Found::Frame(header, payload.to_vec()));
                }
            }
            Ok(())
        })
    });
    (found, fed)
}

fn data(found: &mut Vec<Found>, stream: u32, bytes: &[u8]) {
    assert!(!bytes.is_empty(), "a piece of nothing");
    match found.last_mut() {
        Some(Found::Data(last, data)) if *last == stream => data.extend_from_slice(bytes),
        _ => found.push(Found::Data(stream, bytes.to_vec())),
    }
}

fn write(found: &Found) -> Vec<u8> {
    let (header, payload) = match found {
        Found::Data(stream, data) => (Header { kind: Kind::Data, stream: *stream, length: data.len() }, data),
        Found::Frame(header, payload) => (*header, payload),
    };
    [&header.bytes()[..], payload].concat()
}
