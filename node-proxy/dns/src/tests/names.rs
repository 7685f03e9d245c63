//! Which names the mesh knows, and what it says of them.

use super::world::{ask, judge, line, snapshot};
use crate::{Transport, Upstream};
use hickory_proto::rr::RecordType::{self, A, AAAA, ANY, CNAME, HTTPS, MX, SRV, TXT};

const NODATA: &str = "no more of cluster.local.";

#[test]
fn names_are_answered_or_passed_on() {
    let snapshot = snapshot();
    for (case, name, kind, want) in [
        ("a service", "web.shop.svc.cluster.local.", A, "10.96.0.1"),
        ("in any case of letters", "WEB.Shop.svc.cluster.LOCAL.", A, "10.96.0.1"),
        ("without the domain", "web.shop.svc.", A, "10.96.0.1"),
        ("with the namespace", "web.bank.", A, "10.96.1.1"),
        ("alone, in the client's namespace", "web.", A, "10.96.0.1"),
        ("another family", "web.shop.svc.cluster.local.", AAAA, NODATA),
        ("both families, v4", "dual.shop.", A, "10.96.0.2"),
        ("both families, v6", "dual.shop.", AAAA, "fd00:96::2"),
        ("both at once", "dual.shop.", ANY, "10.96.0.2 fd00:96::2"),
        ("an external address of another family", "four.shop.", AAAA, "no more of four.shop."),
        ("an external address beside the cluster's", "outer.shop.", ANY, "10.96.0.4"),
        ("headless: ready endpoints here", "db.shop.svc.cluster.local.", A, "10.0.0.1 10.0.0.2"),
        ("headless, v6", "db.shop.svc.cluster.local.", AAAA, "fd00::1"),
        ("headless, not ready too", "all.shop.svc.cluster.local.", A, "10.0.1.1"),
        ("headless, nobody", "empty.shop.svc.cluster.local.", A, NODATA),
        ("a pod of a StatefulSet", "db-0.db.shop.svc.cluster.local.", A, "10.0.0.1"),
        ("its short form", "db-0.db.shop.svc.", A, "forward"),
        ("one that is not ready", "db-2.db.shop.svc.cluster.local.", A, NODATA),
        ("one that is published all the same", "all-0.all.shop.svc.cluster.local.", A, "10.0.1.1"),
        (
            "an alias of a service",
            "alias.shop.svc.cluster.local.",
            A,
            "-> web.shop.svc.cluster.local. 10.96.0.1",
        ),
        (
            "an alias, another family",
            "alias.shop.svc.cluster.local.",
            AAAA,
            "-> web.shop.svc.cluster.local. no more of cluster.local.",
        ),
        ("an alias itself", "alias.shop.svc.cluster.local.", CNAME, "-> web.shop.svc.cluster.local."),
        ("an alias of the world", "out.shop.svc.cluster.local.", A, "forward"),
        ("an alias of the world itself", "out.shop.svc.cluster.local.", CNAME, "-> www.example.org."),
        ("no alias", "web.shop.svc.cluster.local.", CNAME, NODATA),
        ("a circle", "circle.shop.svc.cluster.local.", A, "forward"),
        ("the world's, with addresses of its own", "api.example.com.", A, "240.0.0.1 240.0.0.2"),
        ("in the family that it has not", "api.example.com.", AAAA, "no more of api.example.com."),
        ("its mail", "api.example.com.", MX, "forward"),
        (
            "completed by a resolver",
            "api.example.com.shop.svc.cluster.local.",
            A,
            "-> api.example.com. 240.0.0.1 240.0.0.2",
        ),
        ("known, with nothing to say", "nothing.example.com.", A, "forward"),
        ("nothing to say, completed", "nothing.example.com.svc.cluster.local.", A, "forward"),
        ("a range is no address", "range.example.com.", A, "forward"),
        ("any name below", "a.b.wild.example.com.", A, "240.0.0.9"),
        ("the domain itself", "wild.example.com.", A, "forward"),
        ("a port's name", "_http._tcp.web.shop.svc.cluster.local.", SRV, "forward"),
        ("ports", "web.shop.svc.cluster.local.", SRV, "forward"),
        ("other records", "web.shop.svc.cluster.local.", HTTPS, NODATA),
        ("texts", "web.shop.svc.cluster.local.", TXT, NODATA),
        ("unknown in the cluster", "nobody.shop.svc.cluster.local.", A, "forward"),
        ("unknown in the world", "www.example.org.", A, "forward"),
        ("another namespace's name alone", "kubernetes.", A, "forward"),
        ("the root", ".", A, "forward"),
        ("a dot inside of a label", r"web\.shop.", A, "forward"),
        ("an address backwards", "1.0.96.10.in-addr.arpa.", RecordType::PTR, "forward"),
    ] {
        let got = judge(&ask(name, kind), &snapshot, Upstream::Present, Transport::Udp);
        assert_eq!(line(got), want, "{case}");
    }
}

#[test]
fn alone_it_says_what_it_does_not_know() {
    let snapshot = snapshot();
    for (case, name, kind, want) in [
        ("known", "web.shop.svc.cluster.local.", A, "10.96.0.1"),
        ("unknown in the cluster", "nobody.shop.svc.cluster.local.", A, "NXDomain no more of cluster.local."),
        ("the cluster's domain", "cluster.local.", A, "NXDomain no more of cluster.local."),
        ("nearly the cluster's domain", "notcluster.local.", A, "Refused"),
        ("unknown in the world", "www.example.org.", A, "Refused"),
        (
            "an alias of the world",
            "out.shop.svc.cluster.local.",
            A,
            "-> www.example.org. no more of cluster.local.",
        ),
        (
            "a circle",
            "circle.shop.svc.cluster.local.",
            A,
            "-> round.shop.svc.cluster.local. -> circle.shop.svc.cluster.local. no more of cluster.local.",
        ),
        ("an alias of no name", "broken.shop.svc.cluster.local.", A, "ServFail"),
        ("ports", "web.shop.svc.cluster.local.", SRV, NODATA),
        ("the world's mail", "api.example.com.", MX, "no more of api.example.com."),
    ] {
        let got = judge(&ask(name, kind), &snapshot, Upstream::Absent, Transport::Udp);
        assert_eq!(line(got), want, "{case}");
    }
}
