//! The messages of the delta aggregated discovery service, `envoy.service.discovery.v3`.
//!
//! They come from the `envoy-types` crate, except for what the server sends: there [`Push`] is the same
//! message, byte for byte, with each resource already encoded, so that all streams share it.

pub use envoy_types::pb::envoy::config::core::v3::Node;
pub use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
pub use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};
pub use envoy_types::pb::google::protobuf::Any;
pub use envoy_types::pb::google::rpc::Status;

use bytes::Bytes;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};
use prost::Message;

/// The method's path, for a server that answers with [`Push`].
pub const DELTA_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The service's name.
pub const SERVICE_NAME: &str = "envoy.service.discovery.v3.AggregatedDiscoveryService";

/// A `DeltaDiscoveryResponse` whose resources are encoded already.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Push {
    /// For people who debug.
    #[prost(string, tag = "1")]
    pub system_version_info: String,
    /// Each as [`encode_resource`] makes it.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// The type of all of them.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// What the answer to this push refers to.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names that are gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// One `Resource` of a [`Push`]. The aliases are other names that a client may have asked by.
pub fn encode_resource(
    name: &str,
    aliases: Vec<String>,
    version: &str,
    type_url: &str,
    body: Vec<u8>,
) -> Bytes {
    let any = Any { type_url: type_url.to_owned(), value: body };
    let resource = Resource {
        name: name.to_owned(),
        aliases,
        version: version.to_owned(),
        resource: Some(any),
        ..Resource::default()
    };
    resource.encode_to_vec().into()
}

/// The node of a request: its id, and metadata that are all strings.
pub fn node<'a>(id: &str, metadata: impl IntoIterator<Item = (&'a str, String)>) -> Node {
    let text = |text| Value { kind: Some(Kind::StringValue(text)) };
    let fields = metadata.into_iter().map(|(key, value)| (key.to_owned(), text(value))).collect();
    Node { id: id.to_owned(), metadata: Some(Struct { fields }), ..Node::default() }
}

/// A string of the node's metadata; `None` if it is not there or something else.
pub fn metadata<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    match node.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        Kind::NullValue(_)
        | Kind::NumberValue(_)
        | Kind::BoolValue(_)
        | Kind::StructValue(_)
        | Kind::ListValue(_) => None,
    }
}
