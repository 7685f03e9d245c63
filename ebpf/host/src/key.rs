//! The name of a pod on this node, fit to be the name of a directory on bpffs.

use std::fmt;
use std::str::FromStr;

use weft_ebpf_common::OBJECT_NAME_MAX;

/// A pod's name: letters, digits, `-` and `_`, at most 63. bpffs forbids dots; a Kubernetes uid fits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey(String);

/// Why a text is no [`PodKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty or longer than 63 bytes.
    #[error("a pod's key has 1 to {OBJECT_NAME_MAX} characters")]
    Length,
    /// Has a character that is not allowed.
    #[error("a pod's key consists of letters, digits, '-' and '_'")]
    Character,
}

impl PodKey {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, padded with zeros.
    pub(crate) fn padded(&self) -> [u8; OBJECT_NAME_MAX + 1] {
        let mut padded = [0; OBJECT_NAME_MAX + 1];
        padded[..self.0.len()].copy_from_slice(self.0.as_bytes());
        padded
    }

    /// Reads what [`PodKey::padded`] wrote.
    pub(crate) fn read(padded: &[u8]) -> Option<Self> {
        let end = padded.iter().position(|byte| *byte == 0)?;
        str::from_utf8(&padded[..end]).ok()?.parse().ok()
    }
}

impl FromStr for PodKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() || text.len() > OBJECT_NAME_MAX {
            return Err(KeyError::Length);
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !text.bytes().all(allowed) {
            return Err(KeyError::Character);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let long = "x".repeat(64);
        for (case, text, want) in [
            ("a uid", "0f5c6a1e-7f5b-4d0e-9d29-1d6f2f0f6a11", Ok(())),
            ("empty", "", Err(KeyError::Length)),
            ("too long", &long, Err(KeyError::Length)),
            ("a dot", "a.b", Err(KeyError::Character)),
            ("a way out", "../x", Err(KeyError::Character)),
        ] {
            assert_eq!(text.parse::<PodKey>().map(|_| ()), want, "{case}");
        }
        let key: PodKey = "abc".parse().unwrap();
        assert_eq!(PodKey::read(&key.padded()), Some(key));
    }
}
