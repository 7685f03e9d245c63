//! The format of a client's last known configuration: the resources as they came, and a checksum.

use crate::generated::weft as pb;
use bytes::Bytes;
use prost::Message;

/// One resource as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its type.
    pub type_url: String,
    /// Its bytes, in that type's encoding.
    pub body: Bytes,
}

/// What a state file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The version of the software that wrote it.
    pub writer: String,
    /// The resources.
    pub resources: Vec<Saved>,
}

/// Why bytes are no saved configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadState {
    /// They do not begin as one does; perhaps another version wrote them.
    #[error("not a state file of this version")]
    Magic,
    /// The checksum is wrong.
    #[error("the checksum is wrong")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("not a message: {0}")]
    Message(prost::DecodeError),
}

/// What a file begins with; the last byte is the version of the format.
const MAGIC: &[u8; 8] = b"weftlkc\x01";
/// The length of what stands before the message: magic and checksum.
const HEAD: usize = 16;

/// The bytes of a state file. `writer` is the version of the software: what it did not understand is not in
/// the file, so another one should ask for everything anew.
pub fn encode_state(writer: &str, resources: impl IntoIterator<Item = Saved>) -> Vec<u8> {
    let resources = resources.into_iter().map(|one| pb::SavedResource {
        name: one.name,
        version: one.version,
        type_url: one.type_url,
        body: one.body,
    });
    let message = pb::SavedState { writer: writer.to_owned(), resources: resources.collect() };
    let mut file = Vec::with_capacity(HEAD + message.encoded_len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[0; 8]);
    message.encode_raw(&mut file);
    let checksum = checksum(&file[HEAD..]);
    file[8..HEAD].copy_from_slice(&checksum.to_be_bytes());
    file
}

/// Reads a state file. The bodies are slices of it.
///
/// # Errors
/// [`BadState`], as its docs say.
pub fn decode_state(file: &Bytes) -> Result<State, BadState> {
    let (Some(magic), Some(sum)) = (file.first_chunk::<8>(), file.get(8..HEAD)) else {
        return Err(BadState::Magic);
    };
    if magic != MAGIC {
        return Err(BadState::Magic);
    }
    if sum != checksum(&file[HEAD..]).to_be_bytes() {
        return Err(BadState::Checksum);
    }
    let message = pb::SavedState::decode(file.slice(HEAD..)).map_err(BadState::Message)?;
    let saved = |one: pb::SavedResource| Saved {
        name: one.name,
        version: one.version,
        type_url: one.type_url,
        body: one.body,
    };
    Ok(State { writer: message.writer, resources: message.resources.into_iter().map(saved).collect() })
}

/// FNV-1a over words: against torn and rotten files, not against forgers, who could not be kept out of the
/// folder by a checksum anyway.
pub fn checksum(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(PRIME).rotate_left(23);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte)));
    step(hash, bytes.len() as u64)
}
