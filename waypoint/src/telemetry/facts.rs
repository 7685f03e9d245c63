//! What conditions of Telemetries may ask of a request, or of a connection of bytes, that is over.

use super::line::version;
use super::passage::Passage;
use super::record::Record;
use crate::client::Connection;
use std::borrow::Cow;
use weft_l7::condition::{Facts, NumberAttribute, TextAttribute};

impl Facts for Record {
    fn text(&self, which: TextAttribute) -> Option<Cow<'_, str>> {
        if let TextAttribute::SourceAddress
        | TextAttribute::DestinationAddress
        | TextAttribute::Peer
        | TextAttribute::ServerName = which
        {
            return of_connection(self.connection(), which);
        }
        let (method, uri) = self.asks()?;
        let text = match which {
            TextAttribute::Path => uri.path_and_query()?.as_str(),
            TextAttribute::UrlPath => uri.path(),
            TextAttribute::Query => uri.query().unwrap_or_default(),
            TextAttribute::Host => {
                return uri.authority().map(|one| one.as_str().into()).or_else(|| self.header("host"));
            }
            TextAttribute::Method => method,
            TextAttribute::Scheme => uri.scheme_str().unwrap_or("http"),
            TextAttribute::Protocol => version(self.version()),
            TextAttribute::Id => self.id()?,
            // They are headers, and asked for as such; or the connection's.
            TextAttribute::UserAgent
            | TextAttribute::Referer
            | TextAttribute::SourceAddress
            | TextAttribute::DestinationAddress
            | TextAttribute::Peer
            | TextAttribute::ServerName => return None,
        };
        Some(text.into())
    }

    fn number(&self, which: NumberAttribute) -> Option<i64> {
        let whole = |number: u64| i64::try_from(number).ok();
        match which {
            NumberAttribute::RequestSize => whole(self.request_bytes()),
            NumberAttribute::ResponseCode => Some(self.status().into()),
            NumberAttribute::GrpcStatus => self.grpc().map(i64::from),
            NumberAttribute::ResponseSize => whole(self.response_bytes()),
            NumberAttribute::SourcePort | NumberAttribute::DestinationPort => {
                Some(port(self.connection(), which))
            }
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.kept(name).map(|value| String::from_utf8_lossy(value.as_bytes()))
    }
}

/// Of a connection of bytes its ends are known.
impl Facts for Passage {
    fn text(&self, which: TextAttribute) -> Option<Cow<'_, str>> {
        of_connection(self.connection(), which)
    }

    fn number(&self, which: NumberAttribute) -> Option<i64> {
        match which {
            NumberAttribute::SourcePort | NumberAttribute::DestinationPort => {
                Some(port(self.connection(), which))
            }
            NumberAttribute::RequestSize
            | NumberAttribute::ResponseCode
            | NumberAttribute::GrpcStatus
            | NumberAttribute::ResponseSize => None,
        }
    }

    fn header(&self, _name: &str) -> Option<Cow<'_, str>> {
        None
    }
}

fn of_connection(connection: &Connection, which: TextAttribute) -> Option<Cow<'_, str>> {
    match which {
        TextAttribute::SourceAddress => Some(connection.client.addr.to_string().into()),
        TextAttribute::DestinationAddress => Some(connection.addr.to_string().into()),
        TextAttribute::Peer => Some((*connection.client.name).into()),
        TextAttribute::ServerName => connection.server_name.as_deref().map(Cow::from),
        TextAttribute::Path
        | TextAttribute::UrlPath
        | TextAttribute::Query
        | TextAttribute::Host
        | TextAttribute::Method
        | TextAttribute::Scheme
        | TextAttribute::Protocol
        | TextAttribute::Id
        | TextAttribute::UserAgent
        | TextAttribute::Referer => None,
    }
}

fn port(connection: &Connection, which: NumberAttribute) -> i64 {
    let addr = if which == NumberAttribute::SourcePort { connection.client.addr } else { connection.addr };
    addr.port().into()
}
