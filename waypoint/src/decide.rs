//! What is decided of a request before anything is done with it: whether it may be, and which rule takes it. Requests are
//! answered by this, and so is the question what would become of one. Pure.

use crate::client::{Connection, Destination};
use crate::knowledge::Moment;
use crate::way::Seen;
use http::request;
use std::net::SocketAddr;
use weft_core::policy::{Judgement, Verdict};
use weft_l7::apply::rewrite::set_path;
use weft_l7::matches::Subject as _;
use weft_l7::path::{BadPath, normalise};
use weft_l7::policy::{self, Peer};
use weft_l7::service::Found;

/// Gives the path of a request its one form.
///
/// # Errors
/// If it has none.
pub(crate) fn bring_into_form(head: &mut request::Parts) -> Result<(), BadPath> {
    let form = normalise(head.uri.path())?;
    if *form != *head.uri.path() {
        let form = form.into_owned();
        set_path(head, &form)?;
    }
    Ok(())
}

/// Whose request it is, and what its connection asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// Who it is, if proven.
    pub(crate) peer: Option<&'a Peer>,
    /// Where it comes from.
    pub(crate) ip: std::net::IpAddr,
    /// What its connection asked for.
    pub(crate) destination: &'a Destination,
    /// By this address and port.
    pub(crate) addr: SocketAddr,
}

impl<'a> Asker<'a> {
    /// Whose request it is that comes on a connection.
    pub(crate) fn of(connection: &'a Connection) -> Self {
        let Connection { client, addr, destination, .. } = connection;
        Self { peer: Some(&client.peer), ip: client.addr.ip(), destination, addr: *addr }
    }
}

/// Asks policy.
pub(crate) fn authorise(moment: &Moment, asker: Asker<'_>, seen: &Seen<'_>) -> Judgement {
    let policies = moment.applying(asker.destination.of_service().map(|service| &service.name));
    let request = policy::Request {
        peer: asker.peer,
        source_ip: asker.ip,
        remote_ip: asker.ip,
        port: asker.addr.port(),
        authority: seen.authority(),
        method: seen.method(),
        path: seen.path(),
    };
    policy::decide(policies, &request)
}

/// A verdict in words.
pub(crate) fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Allowed(Some(policy)) => format!("allowed by policy {policy}"),
        Verdict::Allowed(None) => "allowed".to_owned(),
        Verdict::Denied(denial) => denial.to_string(),
    }
}

/// The routes that requests of clients of a namespace meet. `None` if nothing is said: all go to the destination itself.
pub(crate) fn routes<'a>(
    moment: &'a Moment,
    destination: &Destination,
    namespace: &str,
) -> Option<Found<'a>> {
    match destination {
        Destination::Workload { .. } => None,
        Destination::Service { service, own } => moment.traffic(&service.name)?.routes(own.port, namespace),
    }
}
