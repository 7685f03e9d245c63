//! The kernel's tables as they read, and what becomes of the connections in them.

use super::*;
use weft_core::enrolment::PlainText;

const SYN_SENT: u8 = 2;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn row(local: &str, remote: &str, state: u8, inode: u64) -> Row {
    Row { local: addr(local), remote: addr(remote), state, inode }
}

#[test]
#[cfg(target_endian = "little")]
fn lines_of_the_tables() {
    let line = |local: &str, remote: &str, state: &str| {
        format!(
            "  0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"
        )
    };
    let mapped = "0000000000000000FFFF00000100000A";
    let six = "000000FD000000000000000001000000";
    for (case, line, wanted) in [
        ("the heading", "  sl  local_address rem_address   st tx_queue".to_owned(), None),
        (
            "established",
            line("0100000A:1F90", "0200000A:C350", "01"),
            Some(row("10.0.0.1:8080", "10.0.0.2:50000", 1, 4711)),
        ),
        (
            "listening",
            line("00000000:1F90", "00000000:0000", "0A"),
            Some(row("0.0.0.0:8080", "0.0.0.0:0", LISTEN, 4711)),
        ),
        (
            "mapped",
            line(&format!("{mapped}:0050"), &format!("{mapped}:0051"), "08"),
            Some(row("10.0.0.1:80", "10.0.0.1:81", 8, 4711)),
        ),
        (
            "IPv6",
            line(&format!("{six}:0050"), &format!("{six}:0051"), "01"),
            Some(row("[fd00::1]:80", "[fd00::1]:81", 1, 4711)),
        ),
        ("half a line", "  0: 0100000A:1F90".to_owned(), None),
        ("no numbers", line("x:y", "z:1", "01"), None),
    ] {
        assert_eq!(Row::read(&line), wanted, "{case}");
    }
    assert_eq!(range("32768\t60999\n"), Some(32_768..=60_999));
    assert_eq!(range("32768"), None);
}

#[test]
fn what_leaves_the_pod_is_told_by_who_opened_it() {
    let rows = [
        row("0.0.0.0:8080", "0.0.0.0:0", LISTEN, 1),
        row("10.0.0.1:8080", "10.0.0.9:50000", 1, 2),
        row("10.0.0.1:40000", "10.0.0.9:80", 1, 3),
        row("10.0.0.1:700", "10.0.0.9:81", 8, 4),
        row("10.0.0.1:40001", "10.0.0.9:80", TIME_WAIT, 0),
        row("127.0.0.1:40002", "127.0.0.1:80", 1, 5),
        row("10.0.0.1:40003", "10.0.0.1:8080", 1, 6),
        row("10.0.0.1:8080", "10.0.0.1:40003", 1, 7),
        row("10.0.0.1:40004", "10.0.0.9:80", 1, 8),
        row("10.0.0.9:80", "10.0.0.1:40004", 1, 0),
        row("10.0.0.1:40005", "10.0.0.9:82", SYN_SENT, 9),
        row("10.0.0.1:40006", "10.0.0.9:80", 1, 10),
    ];
    // The mesh's half of one that was opened while the list was being read.
    let later = [row("10.0.0.9:80", "10.0.0.1:40006", 3, 0)];
    let found = among(&rows, &later, &EPHEMERAL_DEFAULT);
    let found: Vec<_> = found.iter().map(|one| (one.local.port(), one.opened_by)).collect();
    let want = [(8080, Opener::Peer), (40_000, Opener::Pod), (700, Opener::Peer), (40_005, Opener::Pod)];
    assert_eq!(found, want, "the rest is over, within the pod, or captured");
}

#[test]
fn older_connections_go_on_until_something_ends_them() {
    let rule = |existing, plain_text| ExistingRule { existing, plain_text };
    let keep = rule(Existing::Keep, PlainText::default());
    let reset = rule(Existing::Reset, PlainText::default());
    let strict = rule(Existing::Keep, PlainText::RefusedBut(Vec::new()));
    let but_8080 = rule(Existing::Keep, PlainText::RefusedBut(vec![8080]));
    let only_8080 = rule(Existing::Keep, PlainText::AcceptedBut(vec![8080]));
    let one = |port: u16, state, inode| {
        let rows = [
            row("0.0.0.0:8080", "0.0.0.0:0", LISTEN, 1),
            Row {
                local: SocketAddr::new([10, 0, 0, 1].into(), port),
                ..row("10.0.0.1:0", "10.0.0.9:50000", state, inode)
            },
        ];
        among(&rows, &[], &EPHEMERAL_DEFAULT).remove(0)
    };
    let (inbound, outbound) = (one(8080, 1, 5), one(40_000, 1, 5));
    let nothing = || None;
    #[derive(Debug, PartialEq)]
    enum Fate {
        Stays,
        Ends,
        Closed,
    }
    for (case, last, now, rule, want) in [
        ("it is open", nothing(), Some(&inbound), &keep, Fate::Stays),
        ("it has closed", Some(&inbound), None, &keep, Fate::Closed),
        ("another has its numbers", Some(&inbound), Some(&one(8080, 1, 6)), &keep, Fate::Closed),
        ("accepted meanwhile", Some(&one(8080, 1, 0)), Some(&inbound), &keep, Fate::Stays),
        ("closing", Some(&inbound), Some(&one(8080, 4, 0)), &keep, Fate::Stays),
        ("still without an answer", Some(&outbound), Some(&one(40_000, SYN_SENT, 5)), &keep, Fate::Stays),
        ("reset", None, Some(&outbound), &reset, Fate::Ends),
        ("STRICT, inbound", None, Some(&inbound), &strict, Fate::Ends),
        ("STRICT, outbound", None, Some(&outbound), &strict, Fate::Stays),
        ("STRICT but for its port", None, Some(&inbound), &but_8080, Fate::Stays),
        ("STRICT on its port", None, Some(&inbound), &only_8080, Fate::Ends),
        ("STRICT on the other's port", None, Some(&outbound), &only_8080, Fate::Stays),
    ] {
        let pair = now.or(last).expect("one of them").pair();
        let last: Vec<_> = last.into_iter().cloned().collect();
        let judged = judge(&[pair], &last, now.into_iter().cloned().collect(), rule);
        let fate = match (judged.stay.len(), judged.end.len(), judged.closed.len()) {
            (1, 0, 0) => Fate::Stays,
            (0, 1, 0) => Fate::Ends,
            (0, 0, 1) => Fate::Closed,
            other => panic!("{case}: {other:?}"),
        };
        assert_eq!(fate, want, "{case}");
    }
    let judged = judge(&[], &[], vec![inbound], &reset);
    assert_eq!(judged, Judged::default(), "what the mesh carries is the proxy's business");
}

#[test]
fn this_process_has_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listening");
    let _client = std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connected");
    assert!(connections().iter().all(|one| !one.remote.ip().is_loopback()), "loopback is not captured");
}
