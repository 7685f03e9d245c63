//! `istio.workload.Address`: a workload or a service.

use crate::field::{BadValue, Malformed, bad, message};
use crate::generated::istio::workload as pb;
use crate::{service, workload};
use prost::Message;
use weft_core::service::Service;
use weft_core::workload::Workload;

/// What an address resource can be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "lives for a moment, on its way into an Arc")]
pub enum Address {
    /// A workload; the resource's name is its uid.
    Workload(Workload),
    /// A service; the resource's name is `<namespace>/<hostname>`.
    Service(Service),
}

impl Address {
    /// The name of the resource that this is.
    pub fn resource_name(&self) -> String {
        match self {
            Self::Workload(workload) => workload.uid.to_string(),
            Self::Service(service) => service.name.to_string(),
        }
    }
}

/// Reads the bytes of an `istio.workload.Address`.
///
/// # Errors
/// [`Malformed`] names the field that cannot be understood.
pub fn decode_address(bytes: &[u8]) -> Result<Address, Malformed> {
    let address: pb::Address = message(bytes)?;
    match address.r#type.ok_or_else(|| bad("Address.type")(BadValue::Missing))? {
        pb::address::Type::Workload(found) => workload::decode(found).map(Address::Workload),
        pb::address::Type::Service(found) => service::decode(found).map(Address::Service),
    }
}

/// The bytes of an `istio.workload.Address`. Equal values have equal bytes.
pub fn encode_address(address: &Address) -> Vec<u8> {
    match address {
        Address::Workload(workload) => encode_workload(workload),
        Address::Service(service) => encode_service(service),
    }
}

/// As [`encode_address`], for a workload.
pub fn encode_workload(workload: &Workload) -> Vec<u8> {
    let r#type = Some(pb::address::Type::Workload(workload::encode(workload)));
    pb::Address { r#type }.encode_to_vec()
}

/// As [`encode_address`], for a service.
pub fn encode_service(service: &Service) -> Vec<u8> {
    let r#type = Some(pb::address::Type::Service(service::encode(service)));
    pb::Address { r#type }.encode_to_vec()
}
