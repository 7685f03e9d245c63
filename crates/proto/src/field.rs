//! What can be wrong with a field, and the small readers that find out.

use prost::Message;
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::identity::BadIdentity;

/// Why bytes are no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are not even a message of that type.
    #[error("not a message of this type: {0}")]
    Message(prost::DecodeError),
    /// A field holds what it cannot mean.
    #[error("{field} {value}")]
    Field {
        /// The field as the .proto file names it, with its message.
        field: &'static str,
        /// What is wrong with it.
        value: BadValue,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadValue {
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// It is no address.
    #[error("is an address of {0} bytes, not 4 or 16")]
    AddressLength(usize),
    /// It is no length of a prefix of that address.
    #[error("is no prefix length: {0}")]
    PrefixLength(u32),
    /// It is no port.
    #[error("is no port: {0}")]
    Port(u32),
    /// It is too large for what it means.
    #[error("is out of range: {0}")]
    Range(u64),
    /// It is a choice that this version does not know.
    #[error("is a choice that this version does not know: {0}")]
    Choice(i32),
    /// It does not read as the name that it should be.
    #[error("is no name of the form <namespace>/<name>: {0:?}")]
    Name(String),
    /// It gives no identity.
    #[error("gives no identity: {0}")]
    Identity(BadIdentity),
    /// It holds something that is not the message it claims to be.
    #[error("holds something else than it says: {0}")]
    Message(prost::DecodeError),
    /// It holds a different kind of message than its name promises.
    #[error("holds a {0:?}")]
    Type(String),
}

/// Names a field in an error.
pub(crate) fn bad(field: &'static str) -> impl Fn(BadValue) -> Malformed + Copy {
    move |value| Malformed::Field { field, value }
}

pub(crate) fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, Malformed> {
    M::decode(bytes).map_err(Malformed::Message)
}

pub(crate) fn arc(text: String) -> Arc<str> {
    text.into()
}

pub(crate) fn text(text: &Arc<str>) -> String {
    text.to_string()
}

pub(crate) fn non_empty(text: String) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

/// Reads an address; one that stands for IPv4 in IPv6 becomes what it stands for.
pub(crate) fn ip(bytes: &[u8]) -> Result<IpAddr, BadValue> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(v4.into());
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| BadValue::AddressLength(bytes.len()))?;
    Ok(IpAddr::from(v6).to_canonical())
}

pub(crate) fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// Reads a port that may be zero where zero has a meaning of its own.
pub(crate) fn port_or_zero(port: u32) -> Result<u16, BadValue> {
    u16::try_from(port).map_err(|_| BadValue::Port(port))
}

pub(crate) fn port(port: u32) -> Result<u16, BadValue> {
    port_or_zero(port).ok().filter(|port| *port != 0).ok_or(BadValue::Port(port))
}

/// Reads a choice of a generated enum.
pub(crate) fn choice<E: TryFrom<i32>>(number: i32) -> Result<E, BadValue> {
    E::try_from(number).map_err(|_| BadValue::Choice(number))
}
