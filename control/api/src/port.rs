//! Ports as manifests write them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU16;

/// The number of a port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct Port(NonZeroU16);

/// A number is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPort(i64);

impl fmt::Display for BadPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no port: 1 to 65535 are", self.0)
    }
}

impl Port {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<i64> for Port {
    type Error = BadPort;

    fn try_from(number: i64) -> Result<Self, BadPort> {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new);
        port.map(Self).ok_or(BadPort(number))
    }
}

impl From<Port> for u16 {
    fn from(port: Port) -> Self {
        port.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_sixteen_bits_and_is_not_zero() {
        for (number, want) in [(1, Some(1)), (65535, Some(65535)), (0, None), (65536, None), (-1, None)] {
            assert_eq!(Port::try_from(number).ok().map(Port::get), want, "{number}");
        }
    }
}
