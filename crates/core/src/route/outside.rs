//! What becomes of an address that nobody is known to have: it may be a pod that is newer than what discovery has told.

use super::{Hop, Refusal};
use crate::names::NetworkAddr;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// What happens to destinations outside the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Egress {
    /// They are dialled in plain text.
    #[default]
    Allow,
    /// They are refused.
    Refuse,
}

/// The ranges of pods and services.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ranges {
    /// Nobody says but the nodes ([`Snapshot::is_for_pods`](crate::snapshot::Snapshot::is_for_pods)): discovery is asked for
    /// every address.
    #[default]
    Unsaid,
    /// These, and no others.
    Said(Vec<IpNet>),
}

/// Whose an address may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The mesh's, for it lies in its ranges: if nobody has it, it is refused.
    Mesh,
    /// The mesh's or a neighbour's: nobody says what the ranges are, and private addresses are what pods have as a rule.
    Neighbour,
    /// The mesh's, but it is unlikely: nobody says what the ranges are, and this is a public address.
    Public,
    /// A stranger's, for it lies outside the mesh's ranges.
    Stranger,
}

/// Whether discovery has been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Not yet.
    No,
    /// It has, and there is no more to come.
    Yes,
    /// It has, and does not answer.
    Unanswered,
}

impl Ranges {
    /// Whose an address may be that nobody is known to have.
    pub fn whose(&self, ip: IpAddr) -> Whose {
        match self {
            Self::Said(ranges) if ranges.iter().any(|range| range.contains(&ip)) => Whose::Mesh,
            Self::Said(_) => Whose::Stranger,
            Self::Unsaid if is_private(ip) => Whose::Neighbour,
            Self::Unsaid => Whose::Public,
        }
    }
}

/// RFC 1918 and RFC 6598 (which clusters use where the former has run out), and RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || (ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64),
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

pub(super) fn outside(
    (whose, egress): (Whose, Egress),
    asked: Asked,
    dst: SocketAddr,
    addr: NetworkAddr,
) -> Hop {
    match (whose, asked) {
        (Whose::Mesh | Whose::Neighbour | Whose::Public, Asked::No) => Hop::Ask(addr),
        (Whose::Mesh, Asked::Yes | Asked::Unanswered) => Hop::Refuse(Refusal::Unknown(addr.ip)),
        (Whose::Neighbour, Asked::Unanswered) => Hop::Refuse(Refusal::Unanswered(addr.ip)),
        (Whose::Neighbour, Asked::Yes)
        | (Whose::Public, Asked::Yes | Asked::Unanswered)
        | (Whose::Stranger, Asked::No | Asked::Yes | Asked::Unanswered) => match egress {
            Egress::Allow => Hop::Passthrough(dst),
            Egress::Refuse => Hop::Refuse(Refusal::Egress(addr.ip)),
        },
    }
}
