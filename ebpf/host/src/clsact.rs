//! The clsact qdiscs that capture has added where the kernel has no tcx, and removing them again. A directory beside the
//! pod's pins says of each that it was added: another one may have been there before, and stays.

use std::io;
use std::path::Path;

use crate::netlink::{Message, Netlink};

/// linux/rtnetlink.h.
const RTM_DELQDISC: u16 = 37;
const RTM_NEWTFILTER: u16 = 44;
const RTM_GETTFILTER: u16 = 46;
/// `struct tcmsg`: family, the device's index, handle, parent, info.
const TCMSG_LEN: usize = 20;
const TCA_KIND: u16 = 1;
/// linux/pkt_sched.h: where the qdisc sits, its handle, and its two lists of filters.
const TC_H_CLSACT: u32 = 0xffff_fff1;
const HANDLE: u32 = 0xffff_0000;
const LISTS: [u32; 2] = [0xffff_fff2, 0xffff_fff3];

/// Whose device it is: indices alone mean nothing across namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The pod's.
    Inside,
    /// The host's.
    Outside,
}

impl Place {
    const ALL: [Self; 2] = [Self::Inside, Self::Outside];

    /// The beginning of the directories' names; the device's index follows.
    fn note(self) -> &'static str {
        match self {
            Self::Inside => "clsact_in_",
            Self::Outside => "clsact_out_",
        }
    }
}

/// The qdiscs that were added for a pod.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Made(Vec<(Place, u32)>);

/// Notes in the pod's directory that one was added to this device.
pub(crate) fn note(dir: &Path, place: Place, interface: u32) -> io::Result<()> {
    match std::fs::create_dir(dir.join(format!("{}{interface}", place.note()))) {
        // The device of an earlier note has gone, and another has its number.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// What is noted in the pod's directory. The notes are gone afterwards.
pub(crate) fn take_notes(dir: &Path) -> Made {
    let mut made = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let read = |place: Place| Some((place, name.to_str()?.strip_prefix(place.note())?.parse().ok()?));
        if let Some(found) = Place::ALL.into_iter().find_map(read) {
            if let Err(error) = std::fs::remove_dir(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove a note");
            }
            made.push(found);
        }
    }
    Made(made)
}

impl Made {
    /// Removes the qdisc of a device of the current namespace, if it was added for this pod and nobody else has come to
    /// use it.
    pub(crate) fn remove(&self, place: Place, interface: u32) -> io::Result<()> {
        if !self.0.contains(&(place, interface)) || !is_empty(interface)? {
            return Ok(());
        }
        let request = Message::new(RTM_DELQDISC, 0, &tcmsg(interface, HANDLE, TC_H_CLSACT));
        match Netlink::open()?.act(request.with(TCA_KIND, b"clsact\0")) {
            // Somebody has removed it, or put an older `ingress` in its place.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
            done => done,
        }
    }
}

fn is_empty(interface: u32) -> io::Result<bool> {
    let kernel = Netlink::open()?;
    let mut filters = 0;
    for list in LISTS {
        let request = Message::new(RTM_GETTFILTER, 0, &tcmsg(interface, 0, list));
        kernel.dump(request, |kind, _| filters += usize::from(kind == RTM_NEWTFILTER))?;
    }
    Ok(filters == 0)
}

fn tcmsg(interface: u32, handle: u32, parent: u32) -> [u8; TCMSG_LEN] {
    let mut fixed = [0; TCMSG_LEN];
    for (at, word) in [(4, interface), (8, handle), (12, parent)] {
        fixed[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    fixed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_taken_once() {
        let dir = std::env::temp_dir().join(format!("weft-clsact-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        for (place, interface) in [(Place::Inside, 2), (Place::Outside, 2), (Place::Outside, 14)] {
            note(&dir, place, interface).unwrap();
            note(&dir, place, interface).unwrap();
        }
        std::fs::create_dir(dir.join("gro_7")).unwrap();
        let Made(mut made) = take_notes(&dir);
        made.sort_by_key(|(place, interface)| (*place == Place::Outside, *interface));
        assert_eq!(made, [(Place::Inside, 2), (Place::Outside, 2), (Place::Outside, 14)]);
        assert_eq!(take_notes(&dir), Made(Vec::new()));
        std::fs::remove_dir(dir.join("gro_7")).expect("it is another's");
        std::fs::remove_dir(&dir).expect("nothing is left in it");
    }
}
