//! A veth that hands packets up in batches, as the drivers of network cards do.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Ns;

const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGRO: u32 = 0x2c;

/// Where frames are sent, and handed up once all of them have been.
const CPU: usize = 0;

/// Lets the device `to` take what `from`, its other end, sends by NAPI, in a thread of its own that runs after the sender:
/// see [`alone`].
pub(crate) fn gather(from: (&Ns, &str), to: (&Ns, &str)) {
    let before = pollers(to.1);
    // The kernel leaves NAPI out where the other end would cut segments.
    from.0.within(|| set(from.1, ETHTOOL_STSO, 0));
    to.0.within(|| {
        set(to.1, ETHTOOL_SGRO, 1);
        // `/sys` shows the namespace of whoever has mounted it.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>).unwrap();
        std::fs::write(format!("/sys/class/net/{}/threaded", to.1), "1").unwrap();
    });
    let new: Vec<_> = pollers(to.1).into_iter().filter(|pid| !before.contains(pid)).collect();
    assert!(!new.is_empty(), "no thread polls {}", to.1);
    new.into_iter().for_each(pin);
}

/// Sends from this thread alone run on their CPU until it ends: what polls there waits.
pub(crate) fn alone() {
    pin(0);
    // SAFETY: a plain system call; the parameter outlives it.
    unsafe {
        let first = libc::sched_param { sched_priority: 1 };
        let done = libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// The kernel's threads that poll devices of this name.
fn pollers(device: &str) -> Vec<libc::pid_t> {
    let start = format!("napi/{device}-");
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let polls = |pid: &libc::pid_t| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(&start))
    };
    pids.filter(polls).collect()
}

/// Leaves a thread one CPU; zero is the calling one.
fn pin(pid: libc::pid_t) {
    // SAFETY: all zeros is the empty set; it outlives the call.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(CPU, &mut cpus);
        let done = libc::sched_setaffinity(pid, size_of::<libc::cpu_set_t>(), &raw const cpus);
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    }
}

/// ethtool(8), in the current namespace.
fn set(device: &str, command: u32, value: u32) {
    let mut request_data = [command, value];
    // SAFETY: all zeros is a request without a name; request and data outlive the call.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in std::iter::zip(&mut request.ifr_name, device.bytes()) {
            *place = byte.cast_signed();
        }
        request.ifr_ifru.ifru_data = request_data.as_mut_ptr().cast();
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        assert!(socket >= 0);
        let socket = OwnedFd::from_raw_fd(socket);
        let done = libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request);
        assert_eq!(done, 0, "{device}: {}", std::io::Error::last_os_error());
    }
}
