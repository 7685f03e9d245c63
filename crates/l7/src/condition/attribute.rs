//! The attributes that a condition may ask for: Envoy's names for what a waypoint knows.

/// A text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextAttribute {
    /// `request.path`: with the query.
    Path,
    /// `request.url_path`: without it.
    UrlPath,
    /// `request.query`.
    Query,
    /// `request.host`.
    Host,
    /// `request.method`.
    Method,
    /// `request.scheme`.
    Scheme,
    /// `request.protocol`: `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    Protocol,
    /// `request.id`: the header `x-request-id`, which the waypoint makes if it is not there.
    Id,
    /// `request.useragent`: a header.
    UserAgent,
    /// `request.referer`: a header.
    Referer,
    /// `source.address`: with the port.
    SourceAddress,
    /// `destination.address`: with the port; what the client asked for.
    DestinationAddress,
    /// `connection.uri_san_peer_certificate`: the client's identity.
    Peer,
    /// `connection.requested_server_name`: what the client's own TLS asks for.
    ServerName,
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberAttribute {
    /// `request.size`: bytes of the body.
    RequestSize,
    /// `response.code`; zero for none.
    ResponseCode,
    /// `response.grpc_status`.
    GrpcStatus,
    /// `response.size`: bytes of the body.
    ResponseSize,
    /// `source.port`.
    SourcePort,
    /// `destination.port`: the one that the client asked for.
    DestinationPort,
}

/// Of whatever type.
pub(super) enum Attribute {
    Text(TextAttribute),
    Number(NumberAttribute),
    /// `connection.mtls`: always true where tunnels end.
    Mtls,
}

const TEXTS: [(&str, TextAttribute); 14] = [
    ("request.path", TextAttribute::Path),
    ("request.url_path", TextAttribute::UrlPath),
    ("request.query", TextAttribute::Query),
    ("request.host", TextAttribute::Host),
    ("request.method", TextAttribute::Method),
    ("request.scheme", TextAttribute::Scheme),
    ("request.protocol", TextAttribute::Protocol),
    ("request.id", TextAttribute::Id),
    ("request.useragent", TextAttribute::UserAgent),
    ("request.referer", TextAttribute::Referer),
    ("source.address", TextAttribute::SourceAddress),
    ("destination.address", TextAttribute::DestinationAddress),
    ("connection.uri_san_peer_certificate", TextAttribute::Peer),
    ("connection.requested_server_name", TextAttribute::ServerName),
];

const NUMBERS: [(&str, NumberAttribute); 6] = [
    ("request.size", NumberAttribute::RequestSize),
    ("response.code", NumberAttribute::ResponseCode),
    ("response.grpc_status", NumberAttribute::GrpcStatus),
    ("response.size", NumberAttribute::ResponseSize),
    ("source.port", NumberAttribute::SourcePort),
    ("destination.port", NumberAttribute::DestinationPort),
];

impl Attribute {
    pub(super) fn named(name: &str) -> Option<Self> {
        let text = TEXTS.iter().find(|(known, _)| *known == name).map(|(_, one)| Self::Text(*one));
        let number = || NUMBERS.iter().find(|(known, _)| *known == name).map(|(_, one)| Self::Number(*one));
        text.or_else(number).or_else(|| (name == "connection.mtls").then_some(Self::Mtls))
    }

    /// All names, for people.
    pub(super) fn names() -> String {
        let all = TEXTS.iter().map(|(name, _)| *name).chain(NUMBERS.iter().map(|(name, _)| *name));
        let all: Vec<&str> = all.chain(["connection.mtls", "request.headers['…']"]).collect();
        all.join(", ")
    }
}

impl TextAttribute {
    /// The header that has to be kept for it, if there is one: with HTTP/1, the host is one too.
    pub(super) fn kept(self) -> Option<&'static str> {
        match self {
            Self::Host => Some("host"),
            other => other.header(),
        }
    }

    /// The header that it is, if it is one.
    pub(super) fn header(self) -> Option<&'static str> {
        match self {
            Self::UserAgent => Some("user-agent"),
            Self::Referer => Some("referer"),
            Self::Path
            | Self::UrlPath
            | Self::Query
            | Self::Host
            | Self::Method
            | Self::Scheme
            | Self::Protocol
            | Self::Id
            | Self::SourceAddress
            | Self::DestinationAddress
            | Self::Peer
            | Self::ServerName => None,
        }
    }
}
