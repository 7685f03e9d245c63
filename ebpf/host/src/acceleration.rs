//! The acceleration of connections between applications and their proxy: whether this kernel can do it, found by
//! doing it, and what has to be loaded once a node.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapError, SockHash};
use aya::programs::tc::{NlOptions, TcAttachOptions, qdisc_add_clsact};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, SkMsg};
use nix::poll::{PollFd, PollFlags, poll};
use weft_ebpf_common::{Acceleration, Counter, EndKey, LIVELY_SEGMENTS};

use crate::attach::Hook;
use crate::btf::BtfError;
use crate::devices;
use crate::maps::{Maps, OwnError, Plain};
use crate::netns::{self, EnterError};
use crate::object::{NotBuilt, Object, embedded, names};

/// The program that sees the messages of paired sockets.
const ACCELERATE: &str = "accelerate";
/// For each step of the trial, which takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_MS: u16 = 2000;
/// Bytes that are left to wait in the trial, to see whether the kernel counts them.
const WAITING: usize = 1000;
/// The pod of the trial.
const TRIAL_SLOT: u32 = 0;

/// Why connections are not accelerated on this kernel.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// The programs are not in this build.
    #[error("finding the eBPF programs")]
    NotBuilt(#[source] NotBuilt),
    /// It does not say where it keeps what must be read.
    #[error("finding the fields of sockets")]
    Fields(#[source] BtfError),
    /// The object was refused.
    #[error("loading the eBPF object")]
    Object(#[source] Box<aya::EbpfError>),
    /// A program was refused.
    #[error("loading the program {name}")]
    Program {
        /// Its name.
        name: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
    /// The object lacks something.
    #[error("the object has no {name}")]
    Absent {
        /// What.
        name: &'static str,
    },
    /// A map was missing or could not be written.
    #[error("opening the maps")]
    Maps(#[source] MapError),
    /// There is no namespace to try it in.
    #[error("making a namespace for a trial")]
    Namespace(#[source] io::Error),
    /// The same.
    #[error("entering the namespace of the trial")]
    Enter(#[source] EnterError),
    /// A socket could not be marked.
    #[error("marking a socket")]
    Own(#[source] OwnError),
    /// Bytes did not come through as they were sent.
    #[error("exchanging bytes in a trial")]
    Exchange(#[source] io::Error),
    /// Nothing went past TCP.
    #[error("the kernel pairs no sockets")]
    NotPaired,
    /// It does not say how much waits in front of a reader, so memory would be without a bound.
    #[error("the kernel does not count bytes that wait past TCP")]
    NotCounted,
}

impl Refused {
    /// What `weft check` says.
    pub(crate) fn summary(&self) -> &'static str {
        match self {
            Self::Fields(_) => "TCP throughout: the kernel does not describe its sockets (BTF)",
            Self::NotCounted => "TCP throughout: the kernel does not count bytes that wait past it",
            Self::NotPaired | Self::Exchange(_) => "TCP throughout: a trial failed",
            Self::NotBuilt(_)
            | Self::Object(_)
            | Self::Program { .. }
            | Self::Absent { .. }
            | Self::Maps(_)
            | Self::Namespace(_)
            | Self::Enter(_)
            | Self::Own(_) => "TCP throughout: the kernel refuses the programs",
        }
    }
}

/// Makes the map of senders run the program. It stays so when this process ends; the next one puts its own program in
/// its place, which sockets that are paired from then on have.
pub(crate) fn load(node: &mut Ebpf) -> Result<(), Refused> {
    let map = node.map(names::SENDERS).ok_or(Refused::Absent { name: names::SENDERS })?;
    let senders: SockHash<_, Plain<EndKey>> = map.try_into().map_err(Refused::Maps)?;
    let map = senders.fd().try_clone().map_err(|error| Refused::Maps(MapError::IoError(error)))?;
    let refused = |source: ProgramError| Refused::Program { name: ACCELERATE, source: source.into() };
    let found: Option<Result<&mut SkMsg, _>> = node.program_mut(ACCELERATE).map(TryInto::try_into);
    let program = found.ok_or(Refused::Absent { name: ACCELERATE })?.map_err(refused)?;
    program.load().map_err(refused)?;
    let id = program.attach(&map).map_err(refused)?;
    // Dropping aya's link would take the program off the map.
    std::mem::forget(program.take_link(id).map_err(refused)?);
    Ok(())
}

/// Accelerates a connection in a namespace of its own and looks at what happens. Leaves no trace.
pub(crate) fn trial() -> Result<(), Refused> {
    let mut ebpf = load_trial()?;
    load(&mut ebpf)?;
    let found: Option<Result<&mut SchedClassifier, _>> =
        ebpf.program_mut(Hook::PAIR.program).map(TryInto::try_into);
    let name = Hook::PAIR.program;
    let refused = |source: ProgramError| Refused::Program { name, source: source.into() };
    let pair = found.ok_or(Refused::Absent { name })?.map_err(refused)?;
    pair.load().map_err(refused)?;
    let scratch = netns::scratch().map_err(Refused::Namespace)?;
    let _entered = netns::enter(scratch.as_fd()).map_err(Refused::Enter)?;
    devices::raise_loopback().map_err(Refused::Namespace)?;
    attach_to_loopback(pair).map_err(refused)?;
    let mut maps = Maps::take(&mut ebpf).map_err(Refused::Maps)?;
    maps.set_acceleration(TRIAL_SLOT, Acceleration::Full).map_err(Refused::Maps)?;
    exchange(&maps)
}

fn load_trial() -> Result<Ebpf, Refused> {
    let bytes = embedded().map_err(Refused::NotBuilt)?;
    let offsets = crate::object::kernel_offsets().map_err(Refused::Fields)?;
    Object::load_trial(bytes, offsets, &TRIAL_SLOT).map_err(|error| Refused::Object(error.into()))
}

fn attach_to_loopback(pair: &mut SchedClassifier) -> Result<(), ProgramError> {
    let tcx = TcAttachOptions::TcxOrder(LinkOrder::first());
    if pair.attach_with_options("lo", Hook::PAIR.direction, tcx).is_ok() {
        return Ok(());
    }
    qdisc_add_clsact("lo")?;
    let options = TcAttachOptions::Netlink(NlOptions::default());
    pair.attach_with_options("lo", Hook::PAIR.direction, options).map(drop)
}

/// Both ends of a connection talk until they must be paired; then one does not read for a while.
fn exchange(maps: &Maps) -> Result<(), Refused> {
    let (mut application, mut mesh) = connect(maps)?;
    for turn in 0..LIVELY_SEGMENTS as u8 * 2 {
        say(&mut application, &mut mesh, turn).map_err(Refused::Exchange)?;
        say(&mut mesh, &mut application, turn).map_err(Refused::Exchange)?;
    }
    if maps.counters().of(Counter::Accelerated) == 0 {
        return Err(Refused::NotPaired);
    }
    let sent = [7; WAITING];
    application.write_all(&sent).map_err(Refused::Exchange)?;
    if waiting(&mesh).map_err(Refused::Exchange)? < WAITING as u32 {
        return Err(Refused::NotCounted);
    }
    let mut came = [0; WAITING];
    mesh.read_exact(&mut came).map_err(Refused::Exchange)?;
    if came == sent { Ok(()) } else { Err(Refused::Exchange(io::ErrorKind::InvalidData.into())) }
}

fn connect(maps: &Maps) -> Result<(TcpStream, TcpStream), Refused> {
    let listener =
        TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(Refused::Exchange)?;
    maps.own(listener.as_fd()).map_err(Refused::Own)?;
    let connected = || -> io::Result<_> {
        let application = TcpStream::connect(listener.local_addr()?)?;
        let (mesh, _) = listener.accept()?;
        for stream in [&application, &mesh] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_nodelay(true)?;
        }
        // Others are not paired. That is asked of applications only.
        application.set_nonblocking(true)?;
        Ok((application, mesh))
    };
    connected().map_err(Refused::Exchange)
}

fn say(from: &mut TcpStream, to: &mut TcpStream, word: u8) -> io::Result<()> {
    let mut heard = [0];
    from.write_all(&[word])?;
    await_bytes(to)?;
    to.read_exact(&mut heard)?;
    if heard == [word] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Waits as a program does that reads without waiting.
fn await_bytes(stream: &TcpStream) -> io::Result<()> {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PATIENCE_MS)? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Bytes that wait in front of a socket, as the kernel counts them for its receive buffer.
fn waiting(stream: &TcpStream) -> io::Result<u32> {
    // SO_MEMINFO's `SK_MEMINFO_RMEM_ALLOC` is the first of them.
    let mut counts = [0u32; 9];
    let mut length = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `counts`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            counts.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(counts[0]) } else { Err(io::Error::last_os_error()) }
}
