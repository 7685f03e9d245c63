//! The packet socket of a capture, and the thread that reads it. Everything that asserts is in `capture`.

use std::collections::HashMap;
use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use parking_lot::{Condvar, Mutex};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::flow::{Flow, FlowKey};
use crate::netns;
use crate::packet::{Packet, Transport, decode};

/// What the kernel may hold for a reader that is late.
const SOCKET_BUFFER_BYTES: usize = 64 << 20;
/// The biggest frame: offloaded packets reach 64 KiB, with BIG TCP more.
const FRAME_BYTES_MAX: usize = 512 << 10;
/// How long the socket must be empty before everything sent so far counts as read.
const QUIET: Duration = Duration::from_millis(20);

/// What a capture keeps.
#[derive(Clone, Debug)]
pub struct TapOptions {
    /// Payload bytes kept of each packet.
    pub snap: usize,
    /// Payload bytes kept in all; later packets count in the flows and the markers but are not listed.
    pub keep_bytes: usize,
    /// Byte strings to look for in TCP streams (across packets) and in UDP payloads while the traffic goes by.
    pub markers: Vec<Vec<u8>>,
}

impl Default for TapOptions {
    fn default() -> Self {
        Self { snap: usize::MAX, keep_bytes: 64 << 20, markers: Vec::new() }
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) packets: Vec<Packet>,
    pub(crate) flows: HashMap<FlowKey, Flow>,
    /// How often each marker was met, and where first.
    pub(crate) markers: Vec<(u64, Option<FlowKey>)>,
    /// Packets that are not in `packets` because `keep_bytes` was reached.
    pub(crate) unlisted: u64,
    /// Packets that the kernel dropped because the reader was late, or that were longer than the buffer.
    pub(crate) lost: u64,
    /// Payload bytes of fragments whose connection is unknown.
    pub(crate) fragments: Vec<(FlowKey, usize)>,
    kept_bytes: usize,
    /// The last bytes of each stream, where a marker may begin.
    tails: HashMap<FlowKey, Vec<u8>>,
    /// How often the reader found nothing more to read.
    quiet: u64,
    /// Why the reader ended before it was told to.
    failure: Option<String>,
    stop: bool,
}

/// The reader and what it shares with its capture.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) options: TapOptions,
    shared: Arc<(Mutex<Seen>, Condvar)>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Tap {
    /// Listens on one device of the namespace, or on all of them.
    pub(crate) fn open(netns: &Path, device: Option<&str>, options: TapOptions) -> Result<Self> {
        let device = device.map(str::to_owned);
        let socket = netns::within(netns, || packet_socket(device.as_deref()))??;
        let seen = Seen { markers: vec![(0, None); options.markers.len()], ..Seen::default() };
        let shared = Arc::new((Mutex::new(seen), Condvar::new()));
        let (theirs, their_options) = (Arc::clone(&shared), options.clone());
        // The socket belongs to the namespace it was made in; the reader may be anywhere.
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || read(&socket, &theirs, &their_options))
            .context("starting the capture's thread")?;
        Ok(Self { options, shared, thread: Some(thread) })
    }

    /// Waits until everything that was sent before this call has been read, then shows it. Under traffic that never
    /// pauses it goes on after a second; what was sent before has long been read then.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        let (seen, changed) = &*self.shared;
        let mut seen = seen.lock();
        // The quiet that is being waited out may have begun before the call: two of them.
        let goal = seen.quiet + 2;
        let _in_time =
            changed.wait_while_for(&mut seen, |seen| seen.quiet < goal && !seen.stop, Duration::from_secs(1));
        at(&seen)
    }

    /// Why this capture may have missed packets.
    pub(crate) fn failure(&self) -> Option<String> {
        let early = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        self.look(|seen| match (&seen.failure, seen.lost) {
            (Some(failure), _) => Some(failure.clone()),
            (None, _) if early => Some("the reader has ended".to_owned()),
            (None, 0) => None,
            (None, lost) => Some(format!("{lost} packets were lost")),
        })
    }

    /// Ends the reader once it has read what is there.
    pub(crate) fn stop(&mut self) {
        self.shared.0.lock().stop = true;
        if let Some(thread) = self.thread.take() {
            let failure = match thread.join() {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{error:#}"),
                Err(_panic) => "the reader panicked".to_owned(),
            };
            self.shared.0.lock().failure = Some(failure);
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop();
    }
}

fn packet_socket(device: Option<&str>) -> Result<Socket> {
    const ETH_P_ALL: u16 = 0x0003;
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("opening a packet socket")?;
    if let Some(device) = device {
        let index = nix::net::if_::if_nametoindex(device).with_context(|| format!("no device {device}"))?;
        socket.attach_filter(&only_device(index)).context("filtering by device")?;
        // Frames of other devices may have come in before the filter was there.
        let mut unwanted = [0_u8; 1];
        while nix::sys::socket::recv(socket.as_raw_fd(), &mut unwanted, MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
    setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER_BYTES).context("enlarging the buffer")?;
    setsockopt(&socket, sockopt::RxqOvfl, &1).context("asking for the count of lost packets")?;
    socket.set_read_timeout(Some(QUIET)).context("setting a read timeout")?;
    Ok(socket)
}

/// Classic BPF: accept a frame if its device is the one, else drop it.
fn only_device(index: u32) -> [SockFilter; 4] {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // SKF_AD_OFF + SKF_AD_IFINDEX: facts about the packet stand at negative offsets.
    const DEVICE_INDEX: u32 = (-0x1000_i32 + 8) as u32;
    [
        SockFilter::new(LOAD_WORD, 0, 0, DEVICE_INDEX),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, index),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn read(socket: &Socket, shared: &(Mutex<Seen>, Condvar), options: &TapOptions) -> Result<()> {
    let mut frame = vec![0_u8; FRAME_BYTES_MAX];
    let mut space = nix::cmsg_space!(u32);
    loop {
        let mut parts = [IoSliceMut::new(&mut frame)];
        let got = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_TRUNC);
        let (length, lost) = match got {
            Ok(message) => (message.bytes, lost_so_far(&message)),
            Err(Errno::EAGAIN) => {
                let mut seen = shared.0.lock();
                seen.quiet += 1;
                shared.1.notify_all();
                if seen.stop {
                    return Ok(());
                }
                continue;
            }
            // A device that went down or away is no reason to stop looking at what comes after.
            Err(Errno::ENETDOWN | Errno::EINTR) => continue,
            Err(error) => return Err(error).context("reading the packet socket"),
        };
        let mut seen = shared.0.lock();
        seen.lost = seen.lost.max(u64::from(lost));
        match frame.get(..length) {
            Some(frame) => seen.note(frame, options),
            None => seen.lost += 1,
        }
    }
}

fn lost_so_far<S>(message: &nix::sys::socket::RecvMsg<'_, '_, S>) -> u32 {
    let Ok(mut notes) = message.cmsgs() else { return 0 };
    let found = notes.find_map(|note| match note {
        ControlMessageOwned::RxqOvfl(count) => Some(count),
        _ => None,
    });
    found.unwrap_or(0)
}

impl Seen {
    fn note(&mut self, frame: &[u8], options: &TapOptions) {
        let Some(mut packet) = decode(frame) else { return };
        let key = FlowKey { src: packet.src, dst: packet.dst };
        match packet.transport {
            Transport::Tcp { flags, seq, .. } => {
                let flow = self.flows.entry(key).or_default();
                flow.reset |= flags.rst();
                flow.finished |= flags.fin();
                let (tails, markers) = (&mut self.tails, &mut self.markers);
                flow.segment(seq, flags.syn(), &packet.payload, |bytes| {
                    search(markers, &options.markers, tails.entry(key).or_default(), key, bytes);
                });
            }
            Transport::Fragment(6) => self.fragments.push((key, packet.payload_len)),
            Transport::Udp | Transport::Fragment(_) | Transport::Other(_) => {
                search(&mut self.markers, &options.markers, &mut Vec::new(), key, &packet.payload);
            }
        }
        packet.payload.truncate(options.snap);
        if self.kept_bytes + packet.payload.len() > options.keep_bytes {
            self.unlisted += 1;
            return;
        }
        packet.payload.shrink_to_fit();
        self.kept_bytes += packet.payload.len();
        self.packets.push(packet);
    }
}

/// Looks for the markers in the end of what came before and the new bytes, and leaves the end for the next call.
fn search(
    found: &mut [(u64, Option<FlowKey>)],
    markers: &[Vec<u8>],
    tail: &mut Vec<u8>,
    key: FlowKey,
    bytes: &[u8],
) {
    let Some(longest) = markers.iter().map(Vec::len).max() else { return };
    let known = tail.len();
    tail.extend_from_slice(bytes);
    for (marker, (count, first)) in markers.iter().zip(found) {
        // Only matches that end in the new bytes are new.
        let from = known.saturating_sub(marker.len().saturating_sub(1));
        let new = tail[from..].windows(marker.len().max(1)).filter(|window| window == marker).count();
        if new > 0 {
            *count += new as u64;
            first.get_or_insert(key);
        }
    }
    let cut = tail.len().saturating_sub(longest.saturating_sub(1));
    tail.drain(..cut);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_found_across_packets_and_once() {
        let key = FlowKey {
            src: "1.1.1.1:1".parse().expect("an address"),
            dst: "2.2.2.2:2".parse().expect("an address"),
        };
        let markers = vec![b"secret".to_vec(), b"x".to_vec()];
        for (case, pieces, want) in [
            ("whole", vec!["a secret"], [1, 0]),
            ("cut", vec!["a sec", "ret"], [1, 0]),
            ("byte by byte", vec!["s", "e", "c", "r", "e", "t", "x", "x"], [1, 2]),
            ("twice", vec!["secretsec", "ret"], [2, 0]),
            ("none", vec!["sec", "rat"], [0, 0]),
        ] {
            let (mut found, mut tail) = (vec![(0, None); 2], Vec::new());
            for piece in pieces {
                search(&mut found, &markers, &mut tail, key, piece.as_bytes());
            }
            assert_eq!([found[0].0, found[1].0], want, "{case}");
        }
    }
}
