//! The tables of verdicts.

use weft_ebpf_common::{Address, Family};

use super::*;

const POD: Address = Address::v4([10, 0, 0, 1]);
const OTHER: Address = Address::v4([10, 0, 0, 2]);

fn ends(src_port: u16, dst_port: u16) -> Ends {
    Ends { family: Family::V4, src: POD, dst: OTHER, src_port, dst_port }
}

fn segment(opens: bool, payload: bool) -> Packet {
    Packet { kind: Kind::Tcp, ends: ends(1, 2), opens, payload, header: 34 }
}

fn datagram(src_port: u16, dst_port: u16) -> Packet {
    Packet { ends: ends(src_port, dst_port), ..of(Kind::Udp) }
}

fn of(kind: Kind) -> Packet {
    Packet { kind, ..segment(false, false) }
}

const SYN: (bool, bool) = (true, false);
const EMPTY: (bool, bool) = (false, false);
const DATA: (bool, bool) = (false, true);

const ESTABLISHED: Known = Known::Established;
const EXCLUDED: Known = Known::Excluded;
const PROBE: Known = Known::Probe;
const GONE: Known = Known::ProbeEnding;

#[test]
fn what_the_maps_say() {
    for (case, known, want) in [
        ("excluded", Known::exempt(Exemption::Excluded as u32), EXCLUDED),
        ("established", Known::exempt(Exemption::Established as u32), ESTABLISHED),
        ("unknown", Known::exempt(77), ESTABLISHED),
        ("a live probe", Known::probe(0, 5), PROBE),
        ("just gone", Known::probe(5, 6), GONE),
        ("long gone", Known::probe(5, 6 + PROBE_LINGER_NANOS), Known::No),
    ] {
        assert_eq!(known, want, "{case}");
    }
}

#[test]
fn tcp_that_leaves() {
    use Sender::{Application, Kernel, Mesh};
    let pass = |counter| Verdict::Pass(Some(counter));
    let captured = Verdict::Capture(Counter::CapturedTcp);
    let (mesh, exempt) = (pass(Counter::PassedMesh), pass(Counter::PassedExempt));
    let (probe, empty) = (pass(Counter::PassedProbe), pass(Counter::PassedEmpty));
    for (case, (opens, payload), sender, known, received_here, want) in [
        ("an application opens", SYN, Application, Known::No, false, captured),
        ("an application's data", DATA, Application, Known::No, true, captured),
        ("an application's ACK", EMPTY, Application, Known::No, true, captured),
        ("the mesh opens", SYN, Mesh, Known::No, false, mesh),
        ("the mesh's data", DATA, Mesh, Known::No, false, mesh),
        ("the kernel's RST to the outside", EMPTY, Kernel, Known::No, false, empty),
        ("the kernel's ACK to our half", EMPTY, Kernel, Known::No, true, captured),
        ("data without a socket", DATA, Kernel, Known::No, false, captured),
        ("data without a socket, to our half", DATA, Kernel, Known::No, true, captured),
        ("a SYN without a socket", SYN, Kernel, Known::No, false, captured),
        ("an old connection", DATA, Application, ESTABLISHED, false, exempt),
        ("its numbers again", SYN, Application, ESTABLISHED, false, captured),
        ("excluded", SYN, Application, EXCLUDED, false, exempt),
        ("the answer to a probe", DATA, Application, PROBE, false, probe),
        ("its end", EMPTY, Application, GONE, false, probe),
        ("a SYN after it", SYN, Application, GONE, false, captured),
    ] {
        let got = egress(&segment(opens, payload), sender, || Phase::Settled, |_| known, |_| received_here);
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn tcp_of_a_pod_that_is_joining() {
    use Sender::{Application, Kernel, Mesh};
    let captured = Verdict::Capture(Counter::CapturedTcp);
    for (case, (opens, payload), sender, known, received_here, want) in [
        ("an application opens", SYN, Application, Known::No, false, captured),
        ("what it opened goes on", DATA, Application, Known::No, true, captured),
        ("an older connection", DATA, Application, Known::No, false, Verdict::Exempt),
        ("an older connection's ACK", EMPTY, Application, Known::No, false, Verdict::Exempt),
        ("it is exempt", DATA, Application, ESTABLISHED, false, Verdict::Pass(Some(Counter::PassedExempt))),
        ("the mesh", DATA, Mesh, Known::No, false, Verdict::Pass(Some(Counter::PassedMesh))),
        ("the kernel's RST", EMPTY, Kernel, Known::No, false, Verdict::Pass(Some(Counter::PassedEmpty))),
    ] {
        let got = egress(&segment(opens, payload), sender, || Phase::Joining, |_| known, |_| received_here);
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn what_else_leaves() {
    use Sender::{Application, Kernel, Mesh};
    let unreadable = Verdict::Drop(Counter::DroppedUnreadable);
    let mesh = Verdict::Pass(Some(Counter::PassedMesh));
    for (case, packet, sender, want) in [
        ("ARP", of(Kind::NotIp), Application, Verdict::Pass(None)),
        ("ping", of(Kind::Other), Application, Verdict::Pass(None)),
        ("path MTU", of(Kind::Signal), Kernel, Verdict::Pass(None)),
        ("unreadable", of(Kind::Unreadable), Application, unreadable),
        ("unreadable, no socket", of(Kind::Unreadable), Kernel, unreadable),
        ("a fragment", of(Kind::TcpFragment), Application, unreadable),
        ("a fragment of the mesh", of(Kind::TcpFragment), Mesh, mesh),
        ("a DNS query", datagram(9, 53), Application, Verdict::Capture(Counter::CapturedDns)),
        ("a DNS query of the mesh", datagram(9, 53), Mesh, mesh),
        ("other UDP", datagram(53, 9), Application, Verdict::Pass(None)),
    ] {
        assert_eq!(egress(&packet, sender, || Phase::Settled, |_| Known::No, |_| false), want, "{case}");
    }
}

#[test]
fn the_second_lock() {
    use Sender::{Application, Kernel, Mesh};
    let pass = Verdict::Pass(None);
    let stopped = Verdict::Drop(Counter::DroppedSecondLock);
    let tcp = |(opens, payload)| segment(opens, payload);
    for (case, packet, sender, known, want) in [
        ("the mesh", tcp(DATA), Mesh, Known::No, pass),
        ("past tc", tcp(SYN), Application, Known::No, stopped),
        ("past tc, empty", tcp(EMPTY), Application, Known::No, stopped),
        ("past tc on an old connection", tcp(DATA), Application, ESTABLISHED, pass),
        ("the kernel's RST", tcp(EMPTY), Kernel, Known::No, pass),
        ("a SYN without a socket", tcp(SYN), Kernel, Known::No, stopped),
        ("data without a socket", tcp(DATA), Kernel, Known::No, stopped),
        ("a fragment", of(Kind::TcpFragment), Kernel, Known::No, stopped),
        ("a fragment of the mesh", of(Kind::TcpFragment), Mesh, Known::No, pass),
        ("unreadable", of(Kind::Unreadable), Application, Known::No, stopped),
        ("UDP", datagram(1, 2), Application, Known::No, pass),
        ("ARP", of(Kind::NotIp), Kernel, Known::No, pass),
    ] {
        assert_eq!(second_lock(&packet, sender, |_| known), want, "{case}");
    }
}

#[test]
fn what_the_mesh_has_no_part_in() {
    use Sender::{Application, Kernel, Mesh};
    for (case, packet, sender, leaves, past) in [
        ("TCP", segment(true, false), Application, false, false),
        ("a fragment of it", of(Kind::TcpFragment), Application, false, false),
        ("ARP", of(Kind::NotIp), Kernel, false, false),
        ("neighbour discovery, path MTU", of(Kind::Signal), Kernel, false, false),
        ("ping, SCTP", of(Kind::Other), Application, true, true),
        ("a fragment of UDP", of(Kind::Other), Kernel, true, true),
        ("the mesh's own", of(Kind::Other), Mesh, false, false),
        ("UDP", datagram(53, 9), Application, true, true),
        ("UDP without a socket", datagram(9, 443), Kernel, true, true),
        ("a DNS query, which is captured", datagram(9, 53), Application, false, true),
        ("a DNS query of the mesh", datagram(9, 53), Mesh, false, false),
    ] {
        assert_eq!(is_other(&packet, sender), leaves, "{case}");
        assert_eq!(is_other_past_capture(&packet, sender), past, "{case}, past the capture");
    }
}

#[test]
fn words() {
    assert_eq!(loopback_word(CAPTURE_MARK), Word::Sent);
    assert_eq!(loopback_word(0), Word::Leave);
    assert_eq!(loopback_word(1), Word::Leave);
}

#[test]
fn what_comes_in_and_is_left_alone() {
    use Phase::{Joining, Settled};
    for (case, phase, known, want) in [
        ("a new connection", Settled, Known::No, false),
        ("to a pod that is joining", Joining, Known::No, true),
        ("a probe", Settled, PROBE, true),
        ("its numbers after it", Settled, GONE, false),
        ("excluded", Settled, EXCLUDED, true),
        ("an old connection's numbers", Settled, ESTABLISHED, false),
    ] {
        assert_eq!(is_left_alone(|| phase, || known), want, "{case}");
        let (choice, listener) = (Choice::Kernel, Choice::Listener(ListenerKind::Inbound));
        let got = choose(Some(Word::Arrived), Transport::Tcp, 80, || is_left_alone(|| phase, || known));
        assert_eq!(got, if want { choice } else { listener }, "{case}");
    }
}

#[test]
fn choices() {
    use Choice::{Kernel, Listener, MeshPort, Nobody};
    for (case, word, transport, port, want) in [
        ("no word", None, Transport::Tcp, 80, Nobody),
        ("sent", Some(Word::Sent), Transport::Tcp, 80, Listener(ListenerKind::Outbound)),
        (
            "sent to a tunnel port",
            Some(Word::Sent),
            Transport::Tcp,
            TUNNEL_PORT,
            Listener(ListenerKind::Outbound),
        ),
        ("a DNS query", Some(Word::Sent), Transport::Udp, 53, Listener(ListenerKind::Dns)),
        ("marked by the pod itself", Some(Word::Sent), Transport::Udp, 54, Kernel),
        ("arrived", Some(Word::Arrived), Transport::Tcp, 80, Listener(ListenerKind::Inbound)),
        (
            "arrived at a listener's port",
            Some(Word::Arrived),
            Transport::Tcp,
            15001,
            Listener(ListenerKind::Inbound),
        ),
        ("a tunnel", Some(Word::Arrived), Transport::Tcp, TUNNEL_PORT, Kernel),
        ("arrived UDP", Some(Word::Arrived), Transport::Udp, 53, Kernel),
        ("the DNS listener, from outside", Some(Word::Arrived), Transport::Udp, DNS_LISTENER_PORT, MeshPort),
        ("the DNS listener, on loopback", Some(Word::Leave), Transport::Udp, DNS_LISTENER_PORT, MeshPort),
        ("the DNS listener, with a mark", Some(Word::Sent), Transport::Udp, DNS_LISTENER_PORT, MeshPort),
        (
            "its port by TCP",
            Some(Word::Arrived),
            Transport::Tcp,
            DNS_LISTENER_PORT,
            Listener(ListenerKind::Inbound),
        ),
        ("the pod's own loopback", Some(Word::Leave), Transport::Tcp, 80, Kernel),
    ] {
        assert_eq!(choose(word, transport, port, || false), want, "{case}");
    }
}

#[test]
fn dns_answers() {
    for (case, datagram, sender, want) in [
        ("ours", datagram(DNS_LISTENER_PORT, 9), Sender::Mesh, true),
        ("an application's", datagram(DNS_LISTENER_PORT, 9), Sender::Application, false),
        ("our query", datagram(9, DNS_LISTENER_PORT), Sender::Mesh, false),
    ] {
        assert_eq!(is_dns_answer(&datagram, sender), want, "{case}");
    }
}
