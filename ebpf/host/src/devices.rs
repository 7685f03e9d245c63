//! The devices of a namespace, and which of the host's devices is the other end of a pod's veth.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use weft_ebpf_common::LOOPBACK_INDEX;

use crate::netlink::{Message, Netlink, attributes};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const IFINFOMSG_LEN: usize = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_INFO_KIND: u16 = 1;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;

/// How a device's frames begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// The loopback device.
    Loopback,
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header.
    Bare,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) framing: Framing,
    pub(crate) is_veth: bool,
    /// A program of the driver's own kind of XDP, which sees frames before they are packets.
    pub(crate) has_native_xdp: bool,
    peer: Option<Peer>,
}

/// What a veth says of its other end: an index, and the namespace by a number that only this namespace uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Peer {
    index: u32,
    nsid: i32,
}

impl Device {
    /// Whether it is a veth whose other end is in another namespace.
    pub(crate) fn leads_elsewhere(&self) -> bool {
        self.is_veth && self.peer.is_some()
    }

    /// Whether this veth's other end has the index of that device. Only for a device that [`host_ends`] has found.
    pub(crate) fn leads_to(&self, end: &Device) -> bool {
        self.is_veth && self.peer.is_some_and(|peer| peer.index == end.index)
    }
}

/// Switches `lo` of the current namespace on.
pub(crate) fn raise_loopback() -> io::Result<()> {
    const IFF_UP: u32 = libc::IFF_UP as u32;
    let mut fixed = [0; IFINFOMSG_LEN];
    for (at, word) in [(4, LOOPBACK_INDEX), (8, IFF_UP), (12, IFF_UP)] {
        fixed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    Netlink::open()?.act(Message::new(RTM_NEWLINK, 0, &fixed))
}

/// All devices of the current namespace.
pub(crate) fn list() -> io::Result<Vec<Device>> {
    let mut devices = Vec::new();
    let request = Message::new(RTM_GETLINK, 0, &[0; IFINFOMSG_LEN]);
    Netlink::open()?.dump(request, |kind, body| {
        if kind == RTM_NEWLINK {
            devices.extend(read(body));
        }
    })?;
    Ok(devices)
}

/// The devices of the current namespace with an index that one of these veths names. Asking for each is cheaper than
/// for all: a node has a device for every pod.
pub(crate) fn possible_ends(inside: &[Device]) -> io::Result<Vec<Device>> {
    let netlink = Netlink::open()?;
    let mut devices = Vec::new();
    for peer in inside.iter().filter(|device| device.is_veth).filter_map(|device| device.peer) {
        let mut fixed = [0; IFINFOMSG_LEN];
        fixed[4..8].copy_from_slice(&peer.index.to_ne_bytes());
        let asked = netlink.ask(Message::new(RTM_GETLINK, 0, &fixed), |kind, body| {
            if kind == RTM_NEWLINK {
                devices.extend(read(body));
            }
        });
        match asked {
            // Its other end is elsewhere.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            other => other?,
        }
    }
    Ok(devices)
}

fn read(body: &[u8]) -> Option<Device> {
    let fixed: &[u8; IFINFOMSG_LEN] = body.first_chunk()?;
    let framing = match u16::from_ne_bytes([fixed[2], fixed[3]]) {
        ARPHRD_LOOPBACK => Framing::Loopback,
        ARPHRD_ETHER => Framing::Ethernet,
        _ => Framing::Bare,
    };
    let index = u32::from_ne_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let (mut name, mut link, mut nsid, mut is_veth, mut has_native_xdp) = (None, None, None, false, false);
    for (kind, value) in attributes(&body[IFINFOMSG_LEN..]) {
        match kind {
            IFLA_IFNAME => name = Some(text(value)),
            IFLA_LINK => link = word(value),
            IFLA_LINK_NETNSID => nsid = word(value).map(u32::cast_signed),
            IFLA_XDP => has_native_xdp = attributes(value).any(|(kind, _)| kind == IFLA_XDP_DRV_PROG_ID),
            IFLA_LINKINFO => {
                is_veth =
                    attributes(value).any(|(kind, value)| kind == IFLA_INFO_KIND && text(value) == "veth");
            }
            _ => {}
        }
    }
    let peer = link.zip(nsid).map(|(index, nsid)| Peer { index, nsid });
    Some(Device { index, name: name?, framing, is_veth, has_native_xdp, peer })
}

fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(b"\0").unwrap_or(value)).into_owned()
}

/// The host's ends of a pod's veths. `inside` are the pod's devices, `outside` those of the current namespace, and
/// `pod` is the number that the current namespace has for the pod's. Both ends must name each other: indices alone
/// mean nothing across namespaces.
pub(crate) fn host_ends(inside: &[Device], outside: &[Device], pod: i32) -> Vec<Device> {
    let points_at = |outer: &Device, inner: &Device| {
        inner.is_veth
            && outer.is_veth
            && inner.peer.is_some_and(|peer| peer.index == outer.index)
            && outer.peer == Some(Peer { index: inner.index, nsid: pod })
    };
    outside.iter().filter(|outer| inside.iter().any(|inner| points_at(outer, inner))).cloned().collect()
}

/// The number that the current namespace has for another one. None if it has none, so no device leads there.
pub(crate) fn namespace_number(netns: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let mut number = None;
    let request = Message::new(RTM_GETNSID, 0, &[0; 4]).with(NETNSA_FD, &netns.as_raw_fd().to_ne_bytes());
    Netlink::open()?.ask(request, |kind, body| {
        if kind == RTM_NEWNSID {
            number = attributes(body.get(4..).unwrap_or_default())
                .find(|(kind, _)| *kind == NETNSA_NSID)
                .and_then(|(_, value)| word(value))
                .map(u32::cast_signed);
        }
    })?;
    Ok(number.filter(|number| *number >= 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(index: u32, peer: u32, nsid: i32) -> Device {
        let peer = Some(Peer { index: peer, nsid });
        let (name, framing) = (format!("v{index}"), Framing::Ethernet);
        Device { index, name, framing, is_veth: true, has_native_xdp: false, peer }
    }

    #[test]
    fn ends_that_name_each_other() {
        let outside = [veth(7, 2, 4), veth(8, 2, 5), Device { is_veth: false, ..veth(9, 2, 4) }];
        for (case, inside, pod, want) in [
            ("the pod's own", veth(2, 7, 0), 4, vec![7]),
            ("the same index in another pod", veth(2, 7, 0), 5, vec![]),
            ("that pod's own", veth(2, 8, 0), 5, vec![8]),
            ("its peer is in a third namespace", veth(3, 7, 1), 4, vec![]),
            ("not a veth", veth(2, 9, 0), 4, vec![]),
        ] {
            let found: Vec<u32> = host_ends(&[inside], &outside, pod).iter().map(|end| end.index).collect();
            assert_eq!(found, want, "{case}");
        }
    }

    #[test]
    fn the_loopback_is_there() {
        let devices = list().unwrap();
        assert!(devices.iter().any(|device| device.framing == Framing::Loopback && device.name == "lo"));
    }
}
