//! Which connections may leave TCP out between an application and its proxy, and which of their messages do.

use weft_ebpf_common::{Acceleration, LIVELY_SEGMENTS, QUEUE_BYTES_MAX, Side};

use crate::sender::STATE_ESTABLISHED;

/// One end of a connection whose packet has come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// `TCP_…`.
    pub state: u32,
    /// It carries the storage that only the agent can set.
    pub owned: bool,
    /// Segments with data that it has sent.
    pub sent: u32,
    /// Segments with data that it has received.
    pub received: u32,
}

/// Whether a connection has shown that it lives: both ends have spoken, and more than once.
#[inline(always)]
#[must_use]
pub fn is_lively(end: End) -> bool {
    end.state == STATE_ESTABLISHED && end.sent >= LIVELY_SEGMENTS && end.received >= LIVELY_SEGMENTS
}

/// Whose end the first one is, if one is the mesh's and the other is not. Two containers of a pod that talk to each
/// other are none of our business, and no decision of the proxy's is left out.
#[inline(always)]
#[must_use]
pub fn side(first_owned: bool, second_owned: bool) -> Option<Side> {
    match (first_owned, second_owned) {
        (true, false) => Some(Side::Mesh),
        (false, true) => Some(Side::Application),
        (true, true) | (false, false) => None,
    }
}

/// What is known when a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What the pod says.
    pub level: Acceleration,
    /// Who sends.
    pub sender: Side,
    /// The end of what the sender has given to TCP.
    pub written: u32,
    /// The same when the other end had become ready for another way.
    pub floor: u32,
    /// The end of what the receiver has read from TCP.
    pub read: u32,
    /// Bytes that wait in front of the receiver.
    pub waiting: u32,
    /// Something transforms the stream of one of the two, such as the kernel's TLS: the message is not what TCP
    /// carries.
    pub transformed: bool,
}

/// How a message gets to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By TCP.
    Tcp,
    /// Past it, into the receiver's queue.
    Queue,
}

/// Decides on one message.
#[inline(always)]
#[must_use]
pub fn way(moment: &Moment) -> Way {
    // A reader empties its queue before TCP's: what went by TCP must be read first.
    let in_order = moment.written == moment.read;
    // A reader that went to sleep in TCP's own call hears of nothing else. It wakes with the next segment, and its
    // next call is the one that knows of the queue.
    let is_awake = moment.written != moment.floor;
    let has_room = moment.waiting < QUEUE_BYTES_MAX;
    // The queue is left only when it is empty or full: a reader that takes a short read for the end of all there is
    // would otherwise overlook what comes by TCP behind it.
    let wanted = moment.level.allows(moment.sender) || moment.waiting > 0;
    if in_order && is_awake && has_room && wanted && !moment.transformed { Way::Queue } else { Way::Tcp }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment {
        level: Acceleration::Proxy,
        sender: Side::Application,
        written: 100,
        floor: 90,
        read: 100,
        waiting: 0,
        transformed: false,
    };

    #[test]
    fn ways() {
        let full = Moment { level: Acceleration::Full, ..MOMENT };
        let off = Moment { level: Acceleration::Off, ..MOMENT };
        for (case, moment, want) in [
            ("to the proxy", MOMENT, Way::Queue),
            ("to the application", Moment { sender: Side::Mesh, ..MOMENT }, Way::Tcp),
            ("to the application, full", Moment { sender: Side::Mesh, ..full }, Way::Queue),
            ("to the proxy, full", full, Way::Queue),
            ("off", off, Way::Tcp),
            ("off while something waits", Moment { waiting: 1, ..off }, Way::Queue),
            ("off and full", Moment { waiting: QUEUE_BYTES_MAX, ..off }, Way::Tcp),
            ("unread", Moment { read: 99, ..MOMENT }, Way::Tcp),
            ("unread across zero", Moment { written: 5, read: u32::MAX, ..MOMENT }, Way::Tcp),
            ("the first", Moment { floor: 100, ..MOMENT }, Way::Tcp),
            ("nearly full", Moment { waiting: QUEUE_BYTES_MAX - 1, ..MOMENT }, Way::Queue),
            ("full", Moment { waiting: QUEUE_BYTES_MAX, ..MOMENT }, Way::Tcp),
            ("the kernel's TLS", Moment { transformed: true, ..MOMENT }, Way::Tcp),
        ] {
            assert_eq!(way(&moment), want, "{case}");
        }
    }

    #[test]
    fn who_is_paired() {
        for (case, first, second, want) in [
            ("application to application", false, false, None),
            ("mesh to mesh", true, true, None),
            ("mesh", true, false, Some(Side::Mesh)),
            ("application", false, true, Some(Side::Application)),
        ] {
            assert_eq!(side(first, second), want, "{case}");
        }
    }

    #[test]
    fn lively() {
        let end = End { state: STATE_ESTABLISHED, owned: false, sent: 4, received: 4 };
        for (case, end, want) in [
            ("both have spoken", end, true),
            ("one request", End { sent: 1, received: 1, ..end }, false),
            ("bulk one way", End { sent: 0, received: 1000, ..end }, false),
            ("one request, bulk back", End { sent: 1, received: 1000, ..end }, false),
            ("closing", End { state: 8, ..end }, false),
        ] {
            assert_eq!(is_lively(end), want, "{case}");
        }
    }
}
