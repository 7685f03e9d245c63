//! The addresses of a world: pure arithmetic, no namespace is touched here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many worlds in a row get addresses of their own before the first ones come round again. Enough that what an
/// earlier world left in a cache, a map or a log is never taken for this one's.
const GENERATIONS: u8 = 8;
/// Nodes in a world; the third byte of a pod's IPv4 address is the node's number.
pub(crate) const NODES_MAX: usize = 60;
/// Pods on a node: what a /24 holds besides the gateway and the two ends.
pub(crate) const PODS_PER_NODE_MAX: usize = 253;

/// Which addresses a world uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    generation: u8,
}

impl Plan {
    /// The plan of the world with this running number.
    pub fn new(number: u64) -> Self {
        let generation = u8::try_from(number % u64::from(GENERATIONS)).expect("a remainder of eight");
        Self { generation }
    }

    /// Node `node` (counted from 1) on the underlay, IPv4.
    pub fn node4(self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 72 + self.generation, byte(node))
    }

    /// Node `node` on the underlay, IPv6.
    pub fn node6(self, node: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x72 + self.g(), 0, 0, 0, 0, 0, short(node))
    }

    /// The fabric's own address, where the control plane listens, IPv4.
    pub fn fabric4(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, 72 + self.generation, 254)
    }

    /// The fabric's own address, IPv6.
    pub fn fabric6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x72 + self.g(), 0, 0, 0, 0, 0, 0xfe)
    }

    /// Pod `slot` (counted from 1) of a node, IPv4.
    pub fn pod4(self, node: usize, slot: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 240 + self.generation, byte(node), byte(slot + 1))
    }

    /// Pod `slot` of a node, IPv6.
    pub fn pod6(self, node: usize, slot: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x240 + self.g(), 0, short(node), 0, 0, 0, short(slot + 1))
    }

    /// The node's address on its pods' bridge, IPv4.
    pub fn gateway4(self, node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 240 + self.generation, byte(node), 1)
    }

    /// The node's address on its pods' bridge, IPv6.
    pub fn gateway6(self, node: usize) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x240 + self.g(), 0, short(node), 0, 0, 0, 1)
    }

    /// The pods of one node, as CIDRs.
    pub fn node_pods(self, node: usize) -> [String; 2] {
        let six = Ipv6Addr::new(0xfd00, 0x240 + self.g(), 0, short(node), 0, 0, 0, 0);
        [format!("10.{}.{node}.0/24", 240 + self.generation), format!("{six}/64")]
    }

    /// All pods of the world, as CIDRs.
    pub fn pods(self) -> [String; 2] {
        let six = Ipv6Addr::new(0xfd00, 0x240 + self.g(), 0, 0, 0, 0, 0, 0);
        [format!("10.{}.0.0/16", 240 + self.generation), format!("{six}/48")]
    }

    /// All Service addresses of the world, as CIDRs.
    pub fn services(self) -> [String; 2] {
        let six = Ipv6Addr::new(0xfd00, 0x96 + self.g(), 0, 0, 0, 0, 0, 0);
        [format!("10.{}.0.0/16", 96 + self.generation), format!("{six}/112")]
    }

    /// Service `slot` (counted from 1), both families. The block of [`Plan::dns`] is left out.
    pub fn service(self, slot: usize) -> [IpAddr; 2] {
        let four = Ipv4Addr::new(10, 96 + self.generation, byte(1 + slot / 250), byte(1 + slot % 250));
        let six = Ipv6Addr::new(0xfd00, 0x96 + self.g(), 0, 0, 0, 0, 0, short(0x100 + slot));
        [four.into(), six.into()]
    }

    /// The cluster's DNS server as pods know it. Nothing answers there unless a test puts something.
    pub fn dns(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.generation, 0, 10)
    }

    fn g(self) -> u16 {
        u16::from(self.generation)
    }
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("the world's limits keep this in a byte")
}

fn short(number: usize) -> u16 {
    u16::try_from(number).expect("the world's limits keep this in 16 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let mut seen = HashSet::new();
        let plans = (0..u64::from(GENERATIONS)).map(Plan::new);
        for plan in plans {
            for node in 1..=NODES_MAX {
                for slot in 1..=PODS_PER_NODE_MAX {
                    assert!(seen.insert(IpAddr::from(plan.pod4(node, slot))), "{node}/{slot}");
                    assert!(seen.insert(IpAddr::from(plan.pod6(node, slot))), "{node}/{slot}");
                }
                assert!(seen.insert(plan.gateway4(node).into()));
                assert!(seen.insert(plan.gateway6(node).into()));
                assert!(seen.insert(plan.node4(node).into()));
                assert!(seen.insert(plan.node6(node).into()));
            }
            for slot in 1..=1000 {
                assert!(plan.service(slot).into_iter().all(|address| seen.insert(address)), "service {slot}");
            }
            assert!(seen.insert(plan.dns().into()));
            assert!(seen.insert(plan.fabric4().into()) && seen.insert(plan.fabric6().into()));
        }
    }

    #[test]
    fn cidrs_read_as_documented() {
        let plan = Plan::new(4);
        assert_eq!(plan.node_pods(2), ["10.244.2.0/24".to_owned(), "fd00:244:0:2::/64".to_owned()]);
        assert_eq!(plan.pod4(2, 1).to_string(), "10.244.2.2");
        assert_eq!(plan.pod6(2, 1).to_string(), "fd00:244:0:2::2");
    }
}
