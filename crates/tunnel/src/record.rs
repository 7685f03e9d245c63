//! TLS 1.3 records (RFC 8446 §5.2), sealed and opened where they lie. rustls does the handshake and hands over the
//! keys: its own record layer would copy every byte twice more on the way out.

use crate::aead::{Aead, NONCE_BYTES, TAG_BYTES};
use rustls::ConnectionTrafficSecrets;
use std::ops::Range;

/// Why a record cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The chosen cipher is none that records are sealed with here.
    #[error("the TLS session has a cipher that is not supported")]
    Cipher,
    /// The session's keys do not open it.
    #[error("the peer sent a TLS record that was forged or damaged")]
    Forged,
    /// RFC 8446 does not allow it.
    #[error("the peer broke TLS: {0}")]
    Malformed(&'static str),
    /// The keys are used up.
    #[error("the session cannot seal any more")]
    Exhausted,
}

/// Most payload bytes in a record (RFC 8446 §5.1).
pub(crate) const PAYLOAD_MAX: usize = 16_384;
/// Bytes in front of a record's payload.
pub(crate) const HEADER_BYTES: usize = 5;
/// Bytes behind it: the kind, and the tag of every cipher that is offered.
pub(crate) const TRAILER_BYTES: usize = 1 + TAG_BYTES;
/// Most bytes behind the header that a peer may send (RFC 8446 §5.2).
const SEALED_MAX: usize = PAYLOAD_MAX + 256;
/// Records under one key, of the 2^24.5 full ones that AES-GCM allows (RFC 8446 §5.5): then the key is changed.
const RECORDS_MAX: u64 = if cfg!(test) { 50 } else { 1 << 23 };
/// The version that every record names (RFC 8446 §5.1).
const LEGACY_VERSION: [u8; 2] = [3, 3];

/// What a record is for (RFC 8446 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Alert,
    Handshake,
    Data,
}

impl Content {
    const fn byte(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Data => 23,
        }
    }
}

/// The keys of one direction.
pub(crate) struct Keys {
    aead: Aead,
    iv: [u8; NONCE_BYTES],
    sequence: u64,
}

/// A record that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) content: Content,
    /// Where its payload lies.
    pub(crate) payload: Range<usize>,
    /// Bytes of the whole record.
    pub(crate) bytes: usize,
}

impl Keys {
    pub(crate) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, RecordError> {
        let (aead, iv) = Aead::new(&secrets).ok_or(RecordError::Cipher)?;
        Ok(Self { aead, iv, sequence })
    }

    /// Whether it is time for new keys.
    pub(crate) const fn are_worn(&self) -> bool {
        self.sequence >= RECORDS_MAX
    }

    /// The next record's nonce (RFC 8446 §5.3). None is used twice: who seals changes keys long before the end.
    fn nonce(&mut self) -> Result<[u8; NONCE_BYTES], RecordError> {
        let mut nonce = self.iv;
        for (byte, mask) in nonce[NONCE_BYTES - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= mask;
        }
        self.sequence = self.sequence.checked_add(1).ok_or(RecordError::Exhausted)?;
        Ok(nonce)
    }

    /// Seals the payload of so many bytes that lies behind the space for a header, and returns how many bytes the
    /// record takes; there is space for [`TRAILER_BYTES`] behind the payload.
    pub(crate) fn seal(
        &mut self,
        record: &mut [u8],
        payload: usize,
        content: Content,
    ) -> Result<usize, RecordError> {
        let sealed = payload + TRAILER_BYTES;
        let (header, rest) = record.split_at_mut(HEADER_BYTES);
        let [.., high, low] = sealed.to_be_bytes();
        header.copy_from_slice(&[Content::Data.byte(), LEGACY_VERSION[0], LEGACY_VERSION[1], high, low]);
        rest[payload] = content.byte();
        let (inner, tag_space) = rest.split_at_mut(payload + 1);
        let nonce = self.nonce()?;
        let tag = self.aead.seal(nonce, header, inner).ok_or(RecordError::Exhausted)?;
        tag_space[..TAG_BYTES].copy_from_slice(&tag);
        Ok(HEADER_BYTES + sealed)
    }

    /// Opens the record at the beginning of `bytes`. `None` if it is not all there.
    pub(crate) fn open(&mut self, bytes: &mut [u8]) -> Result<Option<Opened>, RecordError> {
        let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return Ok(None) };
        let length = sealed_length(*header)?;
        let Some(sealed) = rest.get_mut(..length) else { return Ok(None) };
        let nonce = self.nonce()?;
        let inner = self.aead.open(nonce, header, sealed).ok_or(RecordError::Forged)?;
        // Behind the payload stand its kind, which is never zero, and any number of zeros (RFC 8446 §5.4).
        let end =
            inner.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Malformed("a record of no kind"))?;
        let content = match inner[end] {
            23 => Content::Data,
            22 => Content::Handshake,
            21 => Content::Alert,
            _ => return Err(RecordError::Malformed("a record of an unknown kind")),
        };
        if end > PAYLOAD_MAX {
            return Err(RecordError::Malformed("a record that is too long"));
        }
        Ok(Some(Opened { content, payload: HEADER_BYTES..HEADER_BYTES + end, bytes: HEADER_BYTES + length }))
    }
}

fn sealed_length([kind, _, _, high, low]: [u8; HEADER_BYTES]) -> Result<usize, RecordError> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != Content::Data.byte() {
        return Err(RecordError::Malformed("a record that is not sealed"));
    }
    if !(TRAILER_BYTES..=SEALED_MAX).contains(&length) {
        return Err(RecordError::Malformed("a record of an impossible length"));
    }
    Ok(length)
}

/// Bytes of the record of a handshake that begins here, if all of it is there; all bytes if no record begins so:
/// rustls says then what is wrong.
pub(crate) fn whole(bytes: &[u8]) -> Option<usize> {
    let [kind, _, _, high, low] = bytes.first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    // From ChangeCipherSpec to application data.
    if !(20..=23).contains(kind) || length > SEALED_MAX {
        return Some(bytes.len());
    }
    (bytes.len() >= HEADER_BYTES + length).then_some(HEADER_BYTES + length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::cipher::AeadKey;

    fn keys() -> Keys {
        let secrets = ConnectionTrafficSecrets::Aes256Gcm { key: AeadKey::from([7; 32]), iv: [9; 12].into() };
        Keys::new((0, secrets)).expect("a key of this cipher")
    }

    fn sealed(keys: &mut Keys, payload: &[u8], content: Content) -> Vec<u8> {
        let mut record = vec![0; HEADER_BYTES];
        record.extend_from_slice(payload);
        record.resize(record.len() + TRAILER_BYTES, 0);
        let bytes = keys.seal(&mut record, payload.len(), content).expect("sealed");
        assert_eq!(bytes, record.len());
        record
    }

    #[test]
    fn what_is_sealed_opens_in_order_and_only_so() {
        let (mut near, mut far) = (keys(), keys());
        let mut first = sealed(&mut near, b"first", Content::Data);
        let mut second = sealed(&mut near, b"", Content::Alert);
        for cut in 0..first.len() {
            assert_eq!(far.open(&mut first[..cut].to_vec()).expect("part of a record"), None);
        }
        let mut bytes = [first.clone(), second.clone()].concat();
        let opened = far.open(&mut bytes).expect("opens").expect("whole");
        assert_eq!((opened.content, &bytes[opened.payload.clone()]), (Content::Data, &b"first"[..]));
        assert_eq!(opened.bytes, first.len());
        let opened = far.open(&mut second).expect("opens").expect("whole");
        assert_eq!((opened.content, opened.payload.len()), (Content::Alert, 0));
        assert!(matches!(far.open(&mut first), Err(RecordError::Forged)), "a record again");
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let record = sealed(&mut keys(), b"payload", Content::Data);
        for at in (0..record.len()).filter(|at| ![3, 4].contains(at)) {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert!(keys().open(&mut changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn padding_is_cut_off_and_a_record_of_padding_alone_is_refused() {
        let mut padded = b"payload".to_vec();
        padded.extend_from_slice(&[23, 0, 0]);
        // What stands last is a zero of padding instead of the kind.
        let mut record = vec![0; HEADER_BYTES];
        record.extend_from_slice(&padded);
        record.resize(record.len() + TRAILER_BYTES, 0);
        let mut near = keys();
        let (header, rest) = record.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&[23, 3, 3, 0, 26]);
        let nonce = near.nonce().expect("the first");
        let (inner, tag) = rest.split_at_mut(10);
        tag[..TAG_BYTES].copy_from_slice(&near.aead.seal(nonce, header, inner).expect("sealed"));
        record.truncate(HEADER_BYTES + 26);
        let opened = keys().open(&mut record).expect("opens").expect("whole");
        assert_eq!(&record[opened.payload], b"payload");
    }

    #[test]
    fn impossible_headers() {
        for (case, header) in [
            ("plain data", [20, 3, 3, 0, 1]),
            ("plain alert", [21, 3, 3, 0, 2]),
            ("too short", [23, 3, 3, 0, 16]),
            ("too long", [23, 3, 3, 0x41, 1]),
        ] {
            assert!(matches!(sealed_length(header), Err(RecordError::Malformed(_))), "{case}");
        }
        assert_eq!(sealed_length([23, 3, 3, 0x41, 0]).expect("the longest"), SEALED_MAX);
    }
}
