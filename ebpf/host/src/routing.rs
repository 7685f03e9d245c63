//! The rule and the route in a pod's namespace that deliver captured packets locally, for both IP versions.

use std::io;

use weft_ebpf_common::{CAPTURE_MARK, CAPTURE_RULE_PRIORITY, CAPTURE_TABLE, Family, LOOPBACK_INDEX};

use crate::netlink::{CREATE, Message, Netlink};

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_DELRULE: u16 = 33;
const FR_ACT_TO_TBL: u8 = 1;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;
const RTPROT_STATIC: u8 = 4;
const RT_SCOPE_HOST: u8 = 254;
const RTN_LOCAL: u8 = 2;

/// Adds both. Does nothing to what is there already.
pub(crate) fn add(family: Family) -> io::Result<()> {
    let netlink = Netlink::open()?;
    // The route first: a rule without a route would let the next table have the packet.
    for message in [route(RTM_NEWROUTE, CREATE, family), rule(RTM_NEWRULE, CREATE, family)] {
        tolerate(netlink.act(message), &[libc::EEXIST])?;
    }
    Ok(())
}

/// Takes both away. Does nothing if they are gone.
pub(crate) fn remove(family: Family) -> io::Result<()> {
    let netlink = Netlink::open()?;
    let gone = [libc::ENOENT, libc::ESRCH, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
    let first = tolerate(netlink.act(rule(RTM_DELRULE, 0, family)), &gone);
    let second = tolerate(netlink.act(route(RTM_DELROUTE, 0, family)), &gone);
    first.and(second)
}

fn tolerate(result: io::Result<()>, codes: &[i32]) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|code| codes.contains(&code)) => Ok(()),
        other => other,
    }
}

/// `ip rule … fwmark <mark> lookup <table>`.
fn rule(kind: u16, flags: u16, family: Family) -> Message {
    let fixed = [address_family(family), 0, 0, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    Message::new(kind, flags, &fixed)
        .with(FRA_PRIORITY, &CAPTURE_RULE_PRIORITY.to_ne_bytes())
        .with(FRA_FWMARK, &CAPTURE_MARK.to_ne_bytes())
        .with(FRA_FWMASK, &u32::MAX.to_ne_bytes())
        .with(FRA_TABLE, &CAPTURE_TABLE.to_ne_bytes())
}

/// `ip route … local default dev lo table <table>`.
fn route(kind: u16, flags: u16, family: Family) -> Message {
    let fixed = [address_family(family), 0, 0, 0, 0, RTPROT_STATIC, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
    Message::new(kind, flags, &fixed)
        .with(RTA_OIF, &LOOPBACK_INDEX.to_ne_bytes())
        .with(RTA_TABLE, &CAPTURE_TABLE.to_ne_bytes())
}

fn address_family(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}
