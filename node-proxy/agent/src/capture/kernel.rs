//! The kernel side of a real machine: `weft-ebpf-host`.

use super::{Attachment, Capture, CaptureError, Chosen, Pair};
use crate::reconcile::Key;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use weft_core::enrolment::Acceleration;
use weft_ebpf_host::{Ends, Host, ListenerKind, Owner, PodAttachment, PodKey, ReleaseError, Words, netns};

/// What pods get that do not say.
const STANDARD: weft_ebpf_host::Acceleration = weft_ebpf_host::Acceleration::Off;

/// The programs and maps of this node.
pub struct Kernel {
    host: Host,
    owner: Owner,
}

impl Kernel {
    /// Takes the node's capture over.
    ///
    /// # Errors
    /// At the limit of open files.
    pub fn new(host: Host) -> Result<Self, CaptureError> {
        let owner =
            host.owner().map_err(|error| CaptureError::new("opening the map of owned sockets", error))?;
        Ok(Self { host, owner })
    }

    /// What the programs say, if they are a debug build.
    pub fn words(&self) -> Option<Words> {
        self.host.words()
    }

    /// Releases what is left and removes every pin.
    pub fn close_all(&self) {
        self.host.close_all();
    }
}

fn key_of(key: &Key) -> Result<PodKey, CaptureError> {
    key.as_str().parse().map_err(|error| CaptureError::new("naming the pod", error))
}

fn ends((local, remote): &Pair) -> Ends {
    Ends { local: *local, remote: *remote }
}

/// What a pod gets that says so, or nothing.
fn level(of: Acceleration) -> weft_ebpf_host::Acceleration {
    match of {
        Acceleration::Off => weft_ebpf_host::Acceleration::Off,
        Acceleration::Standard => STANDARD,
        Acceleration::Proxy => weft_ebpf_host::Acceleration::Proxy,
        Acceleration::Full => weft_ebpf_host::Acceleration::Full,
    }
}

impl Capture for Kernel {
    fn netns_cookie(&self, netns: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        netns::netns_cookie(netns).map_err(|error| CaptureError::new("reading the namespace's cookie", error))
    }

    fn socket_cookie(&self, socket: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        netns::socket_netns_cookie(socket)
            .map_err(|error| CaptureError::new("asking a socket for its namespace", error))
    }

    fn inside(&self, netns: BorrowedFd<'_>, work: &mut dyn FnMut()) -> Result<(), CaptureError> {
        let _entered =
            netns::enter(netns).map_err(|error| CaptureError::new("entering the namespace", error))?;
        work();
        Ok(())
    }

    fn enrol(&self, pod: Attachment<'_>) -> Result<(), CaptureError> {
        let attachment = PodAttachment {
            key: key_of(pod.key)?,
            netns: pod.netns,
            addresses: pod.addresses.to_vec(),
            acceleration: level(pod.acceleration),
        };
        let enrolled = self.host.enrol(&attachment);
        enrolled.map_err(|error| CaptureError::new("attaching the programs", error))
    }

    fn captured(&self, key: &Key) -> Option<u64> {
        self.host.captured_netns(&key_of(key).ok()?)
    }

    fn is_joining(&self, key: &Key) -> Result<bool, CaptureError> {
        let joining = self.host.is_joining(&key_of(key)?);
        joining.map_err(|error| CaptureError::new("asking whether the pod is joining", error))
    }

    fn settle(&self, key: &Key) -> Result<(), CaptureError> {
        let settled = self.host.settle(&key_of(key)?);
        settled.map_err(|error| CaptureError::new("ending the joining", error))
    }

    fn register(&self, key: &Key, chosen: Chosen, socket: BorrowedFd<'_>) -> Result<(), CaptureError> {
        let kind = match chosen {
            Chosen::Outbound => ListenerKind::Outbound,
            Chosen::Inbound => ListenerKind::Inbound,
            Chosen::Dns => ListenerKind::Dns,
        };
        let registered = self.host.register_listener(&key_of(key)?, kind, socket);
        registered.map_err(|error| CaptureError::new("registering the listener", error))
    }

    fn own(&self, socket: BorrowedFd<'_>) -> Result<(), CaptureError> {
        self.owner.own(socket).map_err(|error| CaptureError::new("marking the socket", error))
    }

    fn exempt(&self, key: &Key, connections: &[Pair]) -> Result<usize, CaptureError> {
        let ends: Vec<_> = connections.iter().map(ends).collect();
        let exempted = self.host.exempt_established(&key_of(key)?, &ends);
        exempted.map_err(|error| CaptureError::new("noting older connections", error))
    }

    fn exempted(&self, key: &Key) -> Result<Vec<Pair>, CaptureError> {
        let found = self.host.established(&key_of(key)?);
        let found = found.map_err(|error| CaptureError::new("reading the older connections", error))?;
        Ok(found.iter().map(|ends| (ends.local, ends.remote)).collect())
    }

    fn end_exemptions(&self, key: &Key, connections: &[Pair]) -> Result<(), CaptureError> {
        let ends: Vec<_> = connections.iter().map(ends).collect();
        let ended = self.host.end_exemptions(&key_of(key)?, &ends);
        ended.map_err(|error| CaptureError::new("forgetting older connections", error))
    }

    fn destroy(&self, connections: &[Pair]) -> Result<usize, CaptureError> {
        let ended = weft_ebpf_host::destroy(&connections.iter().map(ends).collect());
        ended.map_err(|error| CaptureError::new("ending older connections", error))
    }

    fn can_destroy(&self) -> Result<(), CaptureError> {
        weft_ebpf_host::can_destroy().map_err(|error| CaptureError::new("trying it on a socket", error))
    }

    fn set_addresses(&self, key: &Key, addresses: &[IpAddr]) -> Result<(), CaptureError> {
        let set = self.host.set_addresses(&key_of(key)?, addresses);
        set.map_err(|error| CaptureError::new("setting the addresses", error))
    }

    fn set_acceleration(&self, key: &Key, acceleration: Acceleration) -> Result<(), CaptureError> {
        let set = self.host.set_acceleration(&key_of(key)?, level(acceleration));
        set.map_err(|error| CaptureError::new("changing the acceleration", error))
    }

    fn release(&self, key: &Key) -> Result<(), CaptureError> {
        match self.host.release(&key_of(key)?) {
            Err(ReleaseError::NotRestored) => {
                // Its file is gone or was never known: in most cases the namespace is gone with the pod.
                tracing::warn!(key = key.as_str(), "a namespace that is not known was not restored");
                Ok(())
            }
            released => released.map_err(|error| CaptureError::new("detaching the programs", error)),
        }
    }

    fn device_events(&self, key: &Key) -> Result<OwnedFd, CaptureError> {
        let events = self.host.device_events(&key_of(key)?);
        events.map_err(|error| CaptureError::new("listening for new devices", error))
    }

    fn refresh_devices(&self, key: &Key) -> Result<(), CaptureError> {
        let refreshed = self.host.refresh_devices(&key_of(key)?);
        refreshed.map_err(|error| CaptureError::new("attaching to new devices", error))
    }

    fn uncontained(&self, key: &Key) -> Vec<String> {
        key_of(key).map_or_else(|_| Vec::new(), |key| self.host.uncontained(&key))
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.host.counters().iter().collect()
    }
}
