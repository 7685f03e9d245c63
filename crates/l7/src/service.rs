//! What is said of one service's traffic, ready for requests.

use crate::table::{NoSuchRule, RouteTable};
use crate::traffic::{PortRoutes, Routes, TcpRoute, TlsRoute, Traffic};

/// What is said of one service's traffic, ready for requests. Immutable: a request that has begun keeps the one that it
/// began with.
#[derive(Debug)]
pub struct ServiceTraffic {
    said: Traffic,
    /// In the order of [`Traffic::routes`].
    ready: Vec<Ready>,
}

/// Routes that were found for a connection.
#[derive(Debug)]
pub enum Found<'a> {
    /// Its requests go by these rules.
    Http(&'a RouteTable),
    /// It goes by the name that its TLS asks for.
    Tls(&'a [TlsRoute]),
    /// It goes as it is.
    Tcp(&'a [TcpRoute]),
}

#[derive(Debug)]
enum Ready {
    Http(Box<RouteTable>),
    Tls(Vec<TlsRoute>),
    Tcp(Vec<TcpRoute>),
}

impl ServiceTraffic {
    /// Makes it ready.
    ///
    /// # Errors
    /// If an entry names a rule that is not there.
    pub fn new(said: Traffic) -> Result<Self, NoSuchRule> {
        let ready = said.routes.iter().map(|one| match &one.routes {
            Routes::Http(routes) => RouteTable::new(routes.clone()).map(|table| Ready::Http(Box::new(table))),
            Routes::Tls(routes) => Ok(Ready::Tls(routes.clone())),
            Routes::Tcp(routes) => Ok(Ready::Tcp(routes.clone())),
        });
        let ready = ready.collect::<Result<_, _>>()?;
        Ok(Self { said, ready })
    }

    /// As it was said.
    pub fn said(&self) -> &Traffic {
        &self.said
    }

    /// The routes of a port for a client's namespace. `None` if nothing is said of them: everything goes to the
    /// service itself.
    pub fn routes(&self, port: u16, namespace: &str) -> Option<Found<'_>> {
        let rank = |one: &PortRoutes| {
            let port = one.port.is_none_or(|own| own == port).then_some(one.port.is_some())?;
            let clients = one.clients.as_ref();
            let clients = clients.is_none_or(|own| **own == *namespace).then_some(clients.is_some())?;
            Some((clients, port))
        };
        let all = self.said.routes.iter().zip(&self.ready);
        let fitting = all.filter_map(|(one, ready)| Some((rank(one)?, ready)));
        // Of equals the first, which is what Iterator::max_by_key would not give.
        let best = fitting.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, ready)| match ready {
            Ready::Http(table) => Found::Http(table),
            Ready::Tls(routes) => Found::Tls(routes),
            Ready::Tcp(routes) => Found::Tcp(routes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, Weighted};
    use weft_core::names::ServiceName;

    fn found(routes: &[(Option<u16>, Option<&str>)], port: u16, namespace: &str) -> Option<usize> {
        let routes = routes.iter().enumerate().map(|(number, (port, clients))| {
            let to = Target::Nowhere(number.to_string().into());
            let backends = vec![Weighted { weight: 1, to }];
            let routes = Routes::Tcp(vec![TcpRoute { backends, ..TcpRoute::default() }]);
            PortRoutes { port: *port, clients: clients.map(Into::into), routes }
        });
        let service = ServiceName::new("shop", "web.shop.svc.cluster.local");
        let said = Traffic { service, routes: routes.collect(), destination: Default::default() };
        let traffic = ServiceTraffic::new(said).expect("no rules");
        match traffic.routes(port, namespace)? {
            Found::Tcp(routes) => match &routes[0].backends[0].to {
                Target::Nowhere(number) => number.parse().ok(),
                Target::Service(_) => None,
            },
            Found::Http(_) | Found::Tls(_) => None,
        }
    }

    #[test]
    fn the_closest_routes_count() {
        let all = [
            (None, None),
            (Some(80), None),
            (None, Some("shop")),
            (Some(80), Some("shop")),
            (Some(80), Some("shop")),
            (Some(81), Some("other")),
        ];
        for (port, namespace, want) in [
            (80, "shop", Some(3)),
            (81, "shop", Some(2)),
            (80, "other", Some(1)),
            (81, "other", Some(5)),
            (82, "third", Some(0)),
        ] {
            assert_eq!(found(&all, port, namespace), want, "{port} {namespace}");
        }
        assert_eq!(found(&[(Some(80), None), (None, Some("shop"))], 81, "other"), None);
    }
}
