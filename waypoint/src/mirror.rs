//! Copies of requests: they go elsewhere, and nobody waits for what becomes of them.

use crate::body::{Body, Source};
use crate::head;
use crate::lines::{Demand, Lines};
use crate::outside::Asked;
use crate::target::Target;
use crate::way::{Seen, Way};
use crate::worker::settle;
use http::{Request, request};
use http_body_util::BodyExt as _;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::spawn_local;
use weft_l7::apply::hop::{self, Upgrading};
use weft_l7::apply::rewrite::set_host;
use weft_l7::balance::Ask;
use weft_l7::matches::Subject as _;
use weft_l7::rule::Mirror;
use weft_l7::target::Target as Word;

/// Copies under way on one worker. What comes beyond is not copied: a mirror that hangs must not take a worker's memory.
const COPIES_MAX: usize = 512;
/// A copy takes no longer.
const COPY_TIME_MAX: Duration = Duration::from_secs(30);

/// Sends a copy, if this request is one of those that are copied.
pub(crate) fn send(way: &Way, mirror: &Mirror, head: &request::Parts, source: Option<&Source>) {
    if !mirror.share.takes(&mut way.worker.chance()) {
        return;
    }
    let Word::Service(word) = &mirror.target else { return };
    let Some(copy) = Copy::new(&way.worker.mirrors) else {
        return tracing::debug!(
            copies = COPIES_MAX,
            "a request is not copied: too many copies are under way"
        );
    };
    let mut head = head.clone();
    // Nobody speaks another protocol with who gets the copy, whatever becomes of the request.
    hop::strip(&mut head.headers, Upgrading::No);
    let host = Seen::new(&head, &way.connection).authority().to_owned();
    set_host(&mut head, &shadow(&host));
    let body = source.map_or(Body::Empty, |source| Body::Copied(source.copy()));
    let (worker, connection, moment) = (way.worker.clone(), way.connection.clone(), way.moment.clone());
    let word = word.clone();
    spawn_local(async move {
        let _copy = copy;
        let asked = Asked { name: Some(&host), namespace: connection.client.namespace() };
        let target = match settle(|| worker.place(&word, asked, &moment), None).await {
            Ok(target) => target,
            Err(error) => return tracing::debug!(%error, "a mirror is not there"),
        };
        let way = Errand { worker: &worker, client: &connection.client, addr: connection.addr };
        if tokio::time::timeout(COPY_TIME_MAX, way.run(&target, head, body)).await.is_err() {
            tracing::debug!("a mirror took too long");
        }
    });
}

struct Errand<'a> {
    worker: &'a crate::worker::Worker,
    client: &'a crate::client::Client,
    addr: std::net::SocketAddr,
}

impl Errand<'_> {
    async fn run(&self, target: &Rc<Target>, mut head: request::Parts, body: Body) {
        let settings = target.settings();
        let outbound = head::prepare(&mut head, target.protocol(), &settings, Upgrading::No);
        let Ok(_room) = target.room.request() else { return };
        let Ok(member) = target.choose(&Ask::default(), self.addr, &mut self.worker.chance()) else { return };
        let _in_flight = member.begin(Instant::now());
        let demand = Demand {
            upstream: &member.endpoint.to,
            client: self.client,
            tunnels: &self.worker.tunnels,
            room: &target.room,
            freed: &target.freed,
            limits: &settings.limits,
            make_room: &|| target.close_one(),
        };
        match Lines::send(demand, outbound.version, Request::from_parts(head, body)).await {
            Ok((response, lease)) => {
                let mut body = response.into_body();
                // Only to keep the connection: what it says goes nowhere.
                while let Some(Ok(_)) = body.frame().await {}
                lease.done();
            }
            Err(error) => {
                tracing::debug!(error = weft_runtime::log::describe(&error), "a mirror got no copy");
            }
        }
    }
}

/// A copy under way, until it is dropped.
struct Copy(Rc<Cell<usize>>);

impl Copy {
    fn new(count: &Rc<Cell<usize>>) -> Option<Self> {
        (count.get() < COPIES_MAX).then(|| {
            count.set(count.get() + 1);
            Self(count.clone())
        })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// The host of a copy ends in `-shadow`, by which Istio's users tell copies apart.
fn shadow(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => format!("{host}-shadow:{port}"),
        // An address has no end of its own.
        _ if host.ends_with(']') => host.to_owned(),
        _ => format!("{host}-shadow"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn hosts_of_copies() {
        for (host, want) in [
            ("web", "web-shadow"),
            ("web.shop:80", "web.shop-shadow:80"),
            ("[::1]", "[::1]"),
            ("", "-shadow"),
        ] {
            assert_eq!(super::shadow(host), want, "{host}");
        }
    }
}
