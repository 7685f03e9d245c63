//! Packet captures and what tests and the demo ask them. No tcpdump: a packet socket in the namespace, read by a
//! thread of its own.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::flow::{Flow, FlowKey};
use crate::packet::{Packet, Transport};
use crate::tap::{Tap, TapOptions};

/// The port of the tunnel, on pods and on nodes.
const TUNNEL_PORT: u16 = 15008;

/// A running capture. It ends when dropped.
#[derive(Debug)]
#[must_use = "a capture ends when dropped"]
pub struct Capture {
    tap: Tap,
}

/// What was found where only TLS should be.
#[derive(Debug, Default)]
pub struct NotTls {
    /// Payload bytes that are not part of a TLS record to or from the tunnel's port.
    pub bytes: u64,
    /// One line for each flow that carried some.
    pub flows: Vec<String>,
}

impl Capture {
    /// Listens on `device` of the namespace at this path; `None` means every device, where a forwarded packet is seen
    /// more than once.
    pub fn start(netns: &Path, device: Option<&str>, options: TapOptions) -> Result<Self> {
        Ok(Self { tap: Tap::open(netns, device, options)? })
    }

    /// Stops listening; what was seen can still be asked.
    pub fn stop(&mut self) {
        self.tap.stop();
    }

    /// All packets kept so far, in order.
    pub fn packets(&self) -> Vec<Packet> {
        self.tap.look(|seen| seen.packets.clone())
    }

    /// How many packets were seen, kept or not.
    pub fn packet_count(&self) -> u64 {
        self.tap.look(|seen| seen.packets.len() as u64 + seen.unlisted)
    }

    /// Every direction of every TCP connection seen so far.
    pub fn flows(&self) -> Vec<(FlowKey, Flow)> {
        self.tap.look(|seen| seen.flows.iter().map(|(key, flow)| (*key, flow.clone())).collect())
    }

    /// TCP payloads of packets between two addresses, in the order they were seen.
    pub fn tcp_payloads_between(&self, one: IpAddr, other: IpAddr) -> Vec<Vec<u8>> {
        let between = |packet: &&Packet| {
            let ends = (packet.src.ip(), packet.dst.ip());
            packet.transport.is_tcp() && (ends == (one, other) || ends == (other, one))
        };
        self.tap.look(|seen| {
            let found = seen.packets.iter().filter(between).filter(|packet| !packet.payload.is_empty());
            found.map(|packet| packet.payload.clone()).collect()
        })
    }

    /// Whether the bytes stand in some packet. Fails if packets are missing, because then "no" would mean nothing.
    /// For long captures, and for text that may be cut over two packets, name it in [`TapOptions::markers`].
    pub fn contains(&self, marker: &[u8]) -> Result<bool> {
        let (found, missing) = self.tap.look(|seen| {
            let holds = |packet: &Packet| packet.payload.windows(marker.len()).any(|part| part == marker);
            let cut = seen.packets.iter().any(|packet| packet.payload.len() < packet.payload_len);
            (seen.packets.iter().any(holds), seen.unlisted > 0 || seen.lost > 0 || cut)
        });
        ensure!(found || !missing, "the capture did not keep every packet: use a marker");
        Ok(found)
    }

    /// How often the marker of this number in [`TapOptions::markers`] went by, and first where.
    pub fn marker(&self, number: usize) -> (u64, Option<FlowKey>) {
        self.tap.look(|seen| seen.markers.get(number).copied().unwrap_or_default())
    }

    /// Fails if any marker of [`TapOptions::markers`] went by, or if packets were lost and nobody can know.
    pub fn assert_no_marker(&self) -> Result<()> {
        for (number, marker) in self.tap.options.markers.iter().enumerate() {
            let (count, first) = self.marker(number);
            let text = String::from_utf8_lossy(marker);
            ensure!(
                count == 0,
                "{text:?} went over the wire in plain text {count} times, first in {first:?}"
            );
        }
        self.assert_complete()
    }

    /// Fails if the capture missed packets.
    pub fn assert_complete(&self) -> Result<()> {
        match self.tap.failure() {
            Some(failure) => bail!("the capture proves nothing: {failure}"),
            None => Ok(()),
        }
    }

    /// TCP payload between the two groups of addresses that is not TLS on the tunnel's port. Between enrolled pods
    /// there must be none. A flow on the tunnel's port whose beginning was not seen counts if it does not look like
    /// records from its first byte on, so start the capture before the mesh.
    pub fn non_tls_bytes(&self, ones: &[IpAddr], others: &[IpAddr]) -> NotTls {
        let concerns = |key: &FlowKey| {
            let (src, dst) = (key.src.ip(), key.dst.ip());
            ones.contains(&src) && others.contains(&dst) || others.contains(&src) && ones.contains(&dst)
        };
        self.tap.look(|seen| {
            let mut found = NotTls::default();
            for (key, flow) in seen.flows.iter().filter(|(key, _)| concerns(key)) {
                let tunnel = key.src.port() == TUNNEL_PORT || key.dst.port() == TUNNEL_PORT;
                let bad = if tunnel { flow.not_tls_bytes } else { flow.wire_bytes };
                found.add(*key, bad);
            }
            for (key, bytes) in seen.fragments.iter().filter(|(key, _)| concerns(key)) {
                found.add(*key, *bytes as u64);
            }
            found
        })
    }

    /// Bytes of TLS records seen on the tunnel's port between the two groups: that something did flow.
    pub fn tls_bytes(&self, ones: &[IpAddr], others: &[IpAddr]) -> u64 {
        let flows = self.flows();
        let concerned = flows.iter().filter(|(key, _)| {
            let (src, dst) = (key.src.ip(), key.dst.ip());
            (key.src.port() == TUNNEL_PORT || key.dst.port() == TUNNEL_PORT)
                && (ones.contains(&src) && others.contains(&dst)
                    || others.contains(&src) && ones.contains(&dst))
        });
        concerned.map(|(_, flow)| flow.bytes - flow.not_tls_bytes).sum()
    }

    /// UDP payloads to or from a port.
    pub fn udp_payloads(&self, port: u16) -> Vec<Vec<u8>> {
        let on_port = |packet: &&Packet| {
            packet.transport == Transport::Udp && (packet.src.port() == port || packet.dst.port() == port)
        };
        self.tap
            .look(|seen| seen.packets.iter().filter(on_port).map(|packet| packet.payload.clone()).collect())
    }
}

impl NotTls {
    fn add(&mut self, key: FlowKey, bytes: u64) {
        if bytes > 0 {
            self.bytes += bytes;
            self.flows.push(format!("{} -> {}: {bytes} bytes", key.src, key.dst));
        }
    }

    /// Fails with the list of flows if there is anything.
    pub fn assert_none(&self) -> Result<()> {
        ensure!(self.bytes == 0, "{} bytes that are not TLS:\n{}", self.bytes, self.flows.join("\n"));
        Ok(())
    }
}
