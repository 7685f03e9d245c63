//! Connections that are older than a pod's enrolment, as the kernel lists them (proc(5), `/proc/net/tcp`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The tables of the calling thread's namespace.
const TABLES: [&str; 2] = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
/// States whose connection is over for both ends, or was never open: TIME_WAIT, CLOSE and LISTEN
/// (include/net/tcp_states.h).
const NOT_OPEN: [u8; 3] = [6, 7, 10];
/// Connections of one pod that are noted; what is beyond is captured and reset.
const CONNECTIONS_MAX: usize = 16_384;

/// The open connections of the namespace that this thread is in, but for those within it.
pub fn connections() -> Vec<(SocketAddr, SocketAddr)> {
    let texts = TABLES.iter().filter_map(|path| fs::read_to_string(path).ok());
    let all: Vec<_> =
        texts.flat_map(|text| text.lines().filter_map(connection).collect::<Vec<_>>()).collect();
    all.into_iter().filter(|(_, remote)| !remote.ip().is_loopback()).take(CONNECTIONS_MAX).collect()
}

/// One line of a table; nothing for its heading and for sockets that are no open connections.
fn connection(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    let state = u8::from_str_radix(state, 16).ok()?;
    (!NOT_OPEN.contains(&state)).then_some((address(local)?, address(remote)?))
}

/// `<address>:<port>`: the address as words in the machine's order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::new();
    for word in words.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn lines_of_the_tables() {
        let row = |local: &str, remote: &str, state: &str| {
            format!("  0: {local} {remote} {state} 00000000:00000000")
        };
        let mapped = "0000000000000000FFFF00000100000A";
        let six = "000000FD000000000000000001000000";
        for (case, line, wanted) in [
            ("the heading", "  sl  local_address rem_address   st tx_queue".to_owned(), None),
            (
                "established",
                row("0100000A:1F90", "0200000A:C350", "01"),
                Some(("10.0.0.1:8080", "10.0.0.2:50000")),
            ),
            ("listening", row("00000000:1F90", "00000000:0000", "0A"), None),
            ("over", row("0100000A:1F90", "0200000A:C350", "06"), None),
            (
                "mapped",
                row(&format!("{mapped}:0050"), &format!("{mapped}:0051"), "08"),
                Some(("10.0.0.1:80", "10.0.0.1:81")),
            ),
            (
                "IPv6",
                row(&format!("{six}:0050"), &format!("{six}:0051"), "01"),
                Some(("[fd00::1]:80", "[fd00::1]:81")),
            ),
            ("half a line", "  0: 0100000A:1F90".to_owned(), None),
            ("no numbers", row("x:y", "z:1", "01"), None),
        ] {
            let wanted = wanted.map(|(local, remote)| {
                (local.parse().expect("an address"), remote.parse().expect("an address"))
            });
            assert_eq!(connection(&line), wanted, "{case}");
        }
    }

    #[test]
    fn this_process_has_connections() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("listening");
        let _client =
            std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connected");
        assert!(
            connections().iter().all(|(_, remote)| !remote.ip().is_loopback()),
            "loopback is not captured"
        );
    }
}
