//! Switching generic receive offload off on the host's end of a veth. With it on, and segmentation off in the pod, the
//! kernel joins segments there and forgets whose they were: the second lock would stop the mesh's own traffic.
//! Where it was on, a directory beside the pod's pins says so until it is on again.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::net::if_::if_indextoname;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::devices::Device;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GGRO: u32 = 0x2b;
const ETHTOOL_SGRO: u32 = 0x2c;

/// The beginning of the directories' names; the device's index follows.
const NOTE: &str = "gro_";

/// Whether it is on, on a device of the current namespace.
pub(crate) fn is_on(device: &Device) -> io::Result<bool> {
    ask(&device.name, ETHTOOL_GGRO, 0).map(|on| on != 0)
}

/// Switches it off on a device of the current namespace, and notes in the pod's directory if it was on.
pub(crate) fn disable(device: &Device, dir: &Path) -> io::Result<()> {
    if !is_on(device)? {
        return Ok(());
    }
    match std::fs::create_dir(dir.join(format!("{NOTE}{}", device.index))) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    ask(&device.name, ETHTOOL_SGRO, 0).map(drop)
}

/// Switches it on again where a pod's directory says that it was, on devices that are still there.
pub(crate) fn restore(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut restored = Ok(());
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(index) = name.to_str().and_then(|name| name.strip_prefix(NOTE)?.parse().ok()) else {
            continue;
        };
        if let Ok(device) = if_indextoname(index) {
            restored = restored.and(ask(&device.to_string_lossy(), ETHTOOL_SGRO, 1).map(drop));
        }
        restored = restored.and(std::fs::remove_dir(entry.path()));
    }
    restored
}

/// Says one thing to the driver of a device of the current namespace (ethtool(8)), and returns its answer.
fn ask(device: &str, command: u32, data: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = Value { command, data };
    // SAFETY: all zeros is a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero, which ends the name.
    let room = request.ifr_name.len() - 1;
    for (place, byte) in std::iter::zip(&mut request.ifr_name[..room], device.bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request has the layout of this ioctl, and its data that of the command; both outlive the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(value.data) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices;
    use nix::sched::{CloneFlags, unshare};

    fn ip(args: &str) {
        let done = std::process::Command::new("ip").args(args.split(' ')).status();
        assert!(done.expect("ip runs").success(), "ip {args}");
    }

    #[test]
    #[ignore = "needs root to make a namespace; run by cargo xtask test"]
    fn a_device_gets_back_what_it_had() {
        let namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make a namespace");
            ip("link add was_on type veth peer name was_off");
            let dir = std::env::temp_dir().join(format!("weft-gro-{}", std::process::id()));
            std::fs::create_dir(&dir).expect("made");
            ask("was_on", ETHTOOL_SGRO, 1).expect("switched on");
            let state = || ["was_on", "was_off"].map(|name| ask(name, ETHTOOL_GGRO, 0).expect("asked"));
            assert_eq!(state(), [1, 0]);
            for device in devices::list().expect("listed").iter().filter(|device| device.is_veth) {
                disable(device, &dir).expect("switched off");
                disable(device, &dir).expect("again");
            }
            assert_eq!(state(), [0, 0]);
            restore(&dir).expect("restored");
            assert_eq!(state(), [1, 0]);
            std::fs::remove_dir(&dir).expect("nothing is left in it");
        };
        std::thread::spawn(namespace).join().expect("the namespace's thread");
    }
}
