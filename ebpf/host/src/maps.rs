//! The shared maps, in the words of the rest of the crate.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, SockMap};
use nix::errno::Errno;
use weft_ebpf_common::{
    Acceleration, Address, COUNTERS, Counter, Exemption, Family, Flow, LISTENERS_PER_POD, Layout,
    ListenerKind, Phase, PodRecord, SlotAddress, SlotFlow,
};

use crate::object::names;

/// `BPF_MAP_UPDATE_ELEM`.
const UPDATE: libc::c_long = 2;

/// A shared layout as aya wants it.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Plain<T: Layout>(pub(crate) T);

// SAFETY: `Layout` promises a `repr(C)` type without padding that is valid for every bit pattern.
unsafe impl<T: Layout> aya::Pod for Plain<T> {}

/// The maps that this process reads or writes.
pub(crate) struct Maps {
    owned: OwnedFd,
    listeners: SockMap<MapData>,
    addresses: HashMap<MapData, Plain<SlotAddress>, u32>,
    local_addresses: HashMap<MapData, Plain<Address>, u32>,
    exempt: HashMap<MapData, Plain<SlotFlow>, u32>,
    host_ends: HashMap<MapData, u32, u32>,
    counts: PerCpuArray<MapData, u64>,
    pods: HashMap<MapData, u32, Plain<PodRecord>>,
    levels: Array<MapData, u32>,
    phases: Array<MapData, u32>,
}

impl Maps {
    /// Takes them out of a loaded copy.
    pub(crate) fn take(ebpf: &mut Ebpf) -> Result<Self, MapError> {
        let mut take = |name: &str| -> Result<Map, MapError> {
            ebpf.take_map(name).ok_or_else(|| MapError::InvalidName { name: name.to_owned() })
        };
        let Map::SkStorage(owned) = take(names::OWNED)? else {
            return Err(MapError::InvalidName { name: names::OWNED.to_owned() });
        };
        let owned = owned.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
        Ok(Self {
            owned,
            listeners: take(names::LISTENERS)?.try_into()?,
            addresses: take(names::ADDRESSES)?.try_into()?,
            local_addresses: take(names::LOCAL_ADDRESSES)?.try_into()?,
            exempt: take(names::EXEMPT)?.try_into()?,
            host_ends: take(names::HOST_ENDS)?.try_into()?,
            counts: take(names::COUNTS)?.try_into()?,
            pods: take(names::PODS_KNOWN)?.try_into()?,
            levels: take(names::LEVELS)?.try_into()?,
            phases: take(names::PHASES)?.try_into()?,
        })
    }
}

/// Marks sockets as the mesh's own. Cheap to clone, and needs nothing else of the host: the thread that makes sockets
/// has one.
#[derive(Debug)]
pub struct Owner {
    map: OwnedFd,
}

/// A socket could not be marked.
#[derive(Debug, thiserror::Error)]
#[error("marking a socket as the mesh's own")]
pub struct OwnError(#[source] io::Error);

impl Owner {
    /// Marks a socket. What it accepts later is marked as well.
    pub fn own(&self, socket: BorrowedFd<'_>) -> Result<(), OwnError> {
        own(self.map.as_fd(), socket)
    }

    /// A second one.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { map: self.map.try_clone()? })
    }
}

/// By the system call itself: aya's type wants to be borrowed mutably, which would make of every new socket a turn at
/// a lock.
fn own(map: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), OwnError> {
    #[repr(C)]
    struct Attributes {
        map: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key: i32 = socket.as_raw_fd();
    let value: u32 = 1;
    let attributes = Attributes {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: `attributes` has the layout of this command, and key and value outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, UPDATE, &raw const attributes, size_of::<Attributes>()) };
    Errno::result(result).map_err(|errno| OwnError(errno.into()))?;
    Ok(())
}

impl Maps {
    pub(crate) fn owner(&self) -> io::Result<Owner> {
        Ok(Owner { map: self.owned.try_clone()? })
    }

    pub(crate) fn own(&self, socket: BorrowedFd<'_>) -> Result<(), OwnError> {
        own(self.owned.as_fd(), socket)
    }

    /// Replaces the listeners of these families.
    pub(crate) fn set_listener(
        &mut self,
        slot: u32,
        kind: ListenerKind,
        families: &[Family],
        socket: BorrowedFd<'_>,
    ) -> Result<(), MapError> {
        families.iter().try_for_each(|family| self.listeners.set(kind.index(slot, *family), &socket, 0))
    }

    /// How far a pod's connections are accelerated from now on.
    pub(crate) fn set_acceleration(&mut self, slot: u32, level: Acceleration) -> Result<(), MapError> {
        self.levels.set(slot, level as u32, 0)
    }

    /// How far a pod's capture has come.
    pub(crate) fn set_phase(&mut self, slot: u32, phase: Phase) -> Result<(), MapError> {
        self.phases.set(slot, phase as u32, 0)
    }

    /// The same, also by the word of an earlier process.
    pub(crate) fn phase(&self, slot: u32) -> Result<Phase, MapError> {
        Ok(Phase::read(self.phases.get(&slot, 0)?))
    }

    /// Makes these the pod's addresses.
    pub(crate) fn set_addresses(&mut self, slot: u32, addresses: &[IpAddr]) -> Result<(), MapError> {
        let wanted: Vec<Address> = addresses.iter().map(|address| layout(*address)).collect();
        for address in &wanted {
            self.addresses.insert(Plain(SlotAddress { slot, address: *address }), 1, 0)?;
            self.local_addresses.insert(Plain(*address), 1, 0)?;
        }
        let known: Vec<SlotAddress> =
            self.addresses.keys().map(|key| key.map(|key| key.0)).collect::<Result<_, _>>()?;
        for stale in known.iter().filter(|known| known.slot == slot && !wanted.contains(&known.address)) {
            tolerate_missing(self.addresses.remove(&Plain(*stale)))?;
            let shared = known.iter().any(|other| other.slot != slot && other.address == stale.address);
            if !shared {
                tolerate_missing(self.local_addresses.remove(&Plain(stale.address)))?;
            }
        }
        Ok(())
    }

    pub(crate) fn exempt(&mut self, flow: SlotFlow, reason: Exemption) -> Result<(), MapError> {
        self.exempt.insert(Plain(flow), reason as u32, 0)
    }

    /// The flows of a slot that pass for this reason.
    pub(crate) fn exempted(&self, slot: u32, reason: Exemption) -> Result<Vec<Flow>, MapError> {
        let of_slot = |entry: &Result<(Plain<SlotFlow>, u32), MapError>| match entry {
            Ok((key, why)) => key.0.slot == slot && *why == reason as u32,
            Err(_) => true,
        };
        self.exempt.iter().filter(of_slot).map(|entry| entry.map(|(key, _)| key.0.flow)).collect()
    }

    pub(crate) fn forget_exempt(&mut self, flow: SlotFlow) -> Result<(), MapError> {
        tolerate_missing(self.exempt.remove(&Plain(flow)))
    }

    pub(crate) fn set_host_end(&mut self, interface: u32, slot: u32) -> Result<(), MapError> {
        self.host_ends.insert(interface, slot, 0)
    }

    /// The host's ends of a pod's devices.
    pub(crate) fn host_ends(&self, slot: u32) -> Vec<u32> {
        let entries = self.host_ends.iter().flatten();
        entries.filter(|(_, behind)| *behind == slot).map(|(interface, _)| interface).collect()
    }

    pub(crate) fn remember(&mut self, slot: u32, record: PodRecord) -> Result<(), MapError> {
        self.pods.insert(slot, Plain(record), 0)
    }

    /// Every pod that this directory's maps know.
    pub(crate) fn remembered(&self) -> Result<Vec<(u32, PodRecord)>, MapError> {
        self.pods.iter().map(|entry| entry.map(|(slot, record)| (slot, record.0))).collect()
    }

    /// Forgets everything of a slot. The record goes last: until then the slot is not given to another pod.
    pub(crate) fn forget(&mut self, slot: u32) -> Result<(), MapError> {
        for index in slot * LISTENERS_PER_POD..(slot + 1) * LISTENERS_PER_POD {
            self.clear_listener(index)?;
        }
        self.set_acceleration(slot, Acceleration::Off)?;
        self.set_phase(slot, Phase::Settled)?;
        self.set_addresses(slot, &[])?;
        let flows: Vec<_> = self.exempt.keys().flatten().filter(|flow| flow.0.slot == slot).collect();
        for flow in flows {
            tolerate_missing(self.exempt.remove(&flow))?;
        }
        for interface in self.host_ends(slot) {
            tolerate_missing(self.host_ends.remove(&interface))?;
        }
        tolerate_missing(self.pods.remove(&slot))
    }

    /// An empty place answers EINVAL.
    fn clear_listener(&mut self, index: u32) -> Result<(), MapError> {
        match self.listeners.clear_index(&index) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EINVAL) => {
                Ok(())
            }
            other => tolerate_missing(other),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let total = |counter: Counter| match self.counts.get(&(counter as u32), 0) {
            Ok(values) => values.iter().sum(),
            Err(_) => 0,
        };
        Counters { values: COUNTERS.map(|(counter, _)| total(counter)) }
    }
}

pub(crate) fn tolerate_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// An address as the maps have it.
pub(crate) fn layout(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}

/// What happened to packets on this node, since the maps were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    values: [u64; COUNTERS.len()],
}

impl Counters {
    /// One of them.
    #[must_use]
    pub fn of(&self, counter: Counter) -> u64 {
        self.values[counter as usize]
    }

    /// All of them by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        std::iter::zip(COUNTERS, self.values).map(|((_, name), value)| (name, value))
    }
}
