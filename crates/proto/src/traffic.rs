//! `weft.v1.Traffic`, `weft.v1.RequestPolicy` and `weft.v1.Telemetry`: envelopes. What is in them, `weft-l7` reads and writes.

use crate::field::{Malformed, message};
use crate::generated::weft as pb;
use prost::Message as _;

/// The JSON in an encoded `weft.v1.Traffic`.
///
/// # Errors
/// If the bytes are no such message.
pub fn decode_traffic(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let from: pb::Traffic = message(body)?;
    Ok(from.json)
}

/// The encoded message with this JSON in it.
pub fn encode_traffic(json: Vec<u8>) -> Vec<u8> {
    pb::Traffic { json }.encode_to_vec()
}

/// The JSON in an encoded `weft.v1.RequestPolicy`.
///
/// # Errors
/// If the bytes are no such message.
pub fn decode_request_policy(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let from: pb::RequestPolicy = message(body)?;
    Ok(from.json)
}

/// The encoded message with this JSON in it.
pub fn encode_request_policy(json: Vec<u8>) -> Vec<u8> {
    pb::RequestPolicy { json }.encode_to_vec()
}

/// The JSON in an encoded `weft.v1.Telemetry`.
///
/// # Errors
/// If the bytes are no such message.
pub fn decode_telemetry(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let from: pb::Telemetry = message(body)?;
    Ok(from.json)
}

/// The encoded message with this JSON in it.
pub fn encode_telemetry(json: Vec<u8>) -> Vec<u8> {
    pb::Telemetry { json }.encode_to_vec()
}
