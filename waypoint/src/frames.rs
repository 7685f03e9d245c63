//! The frames that a client of HTTP/2 sends, as far as they say how it behaves: in the middle of what it is, and whether it
//! keeps this side busy for nothing.
//!
//! hyper's HTTP/2 ends connections by itself for frames that are none, for heads of too many CONTINUATIONs, for DATA without
//! bytes, and for streams that are reset before they have been looked at. It has no limit for what costs little and goes on
//! for ever: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, frames that nobody knows (CVE-2019-9511 to -9518), and streams that
//! are reset just after they have begun (CVE-2023-44487). Only headers of frames are looked at here, on their way to hyper.

use crate::framing::{Abuse, Framing, Phase};
use std::time::{Duration, Instant};

/// What begins a connection, before the first frame (RFC 9113 §3.4).
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

/// What is counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// Frames that are no part of a request, in one window, before what requests and responses earn: hundreds of times what
/// keep-alive and measuring the line take.
const CONTROLS_MAX: u32 = 10_000;
/// A request or a piece of its body earns so many of them, and so does each such piece of a response: a client gives back
/// the window of what it has read, on the stream and on the connection.
const CONTROLS_EARNED: u32 = 8;
const PIECE_BYTES: usize = 1024;
/// Streams that a client may reset in one window, whatever share of all that is: many at once lose patience when a service
/// stands still. More than these, and more than every second one, is an attack.
const RESETS_MAX: u32 = 1_000;

/// Kinds (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Flags of HEADERS, CONTINUATION and DATA.
const END_HEADERS: u8 = 4;

/// Follows the frames of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    at: At,
    /// A frame's header, as far as it has come.
    header: [u8; HEADER_BYTES],
    /// HEADERS have come without their end.
    in_head: bool,
    since: Instant,
    controls: u32,
    begun: u32,
    reset: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So much of the preface is still to come.
    Preface(usize),
    /// So much of a frame's header has come.
    Header(usize),
    /// So much of the frame's payload is still to come.
    Payload(usize),
}

impl Frames {
    /// Of a connection that begins now, with its preface.
    pub(crate) fn new(now: Instant) -> Self {
        let at = At::Preface(PREFACE_BYTES);
        Self { at, header: [0; HEADER_BYTES], in_head: false, since: now, controls: 0, begun: 0, reset: 0 }
    }

    /// The header of a frame is there.
    fn frame(&mut self, now: Instant) -> Result<(), Abuse> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        self.at = if length == 0 { At::Header(0) } else { At::Payload(length) };
        if now.saturating_duration_since(self.since) >= WINDOW {
            (self.since, self.controls, self.begun, self.reset) = (now, 0, 0, 0);
        }
        match kind {
            DATA if length > 0 => self.earn(),
            HEADERS => {
                self.begun = self.begun.saturating_add(1);
                self.in_head = flags & END_HEADERS == 0;
                self.earn();
            }
            CONTINUATION => {
                self.in_head &= flags & END_HEADERS == 0;
                return self.control();
            }
            RST_STREAM => {
                self.reset = self.reset.saturating_add(1);
                if self.reset > RESETS_MAX && self.reset > self.begun / 2 {
                    return Err(Abuse("the client resets most of the streams that it begins"));
                }
            }
            _ => return self.control(),
        }
        Ok(())
    }

    fn earn(&mut self) {
        self.controls = self.controls.saturating_sub(CONTROLS_EARNED);
    }

    fn control(&mut self) -> Result<(), Abuse> {
        self.controls = self.controls.saturating_add(1);
        if self.controls > CONTROLS_MAX {
            Err(Abuse("the client floods the connection with frames"))
        } else {
            Ok(())
        }
    }
}

impl Framing for Frames {
    fn phase(&self) -> Phase {
        match self.at {
            At::Header(0) if !self.in_head => Phase::Between,
            // Who sends a body slowly is its stream's concern.
            At::Payload(_) if self.header[3] == DATA => Phase::Body,
            At::Preface(_) | At::Header(_) | At::Payload(_) => Phase::Head,
        }
    }

    fn pass(&mut self, bytes: &mut [u8]) -> Result<(), Abuse> {
        let mut rest: &[u8] = bytes;
        // One look at the clock for all that has come at once.
        let now = Instant::now();
        while !rest.is_empty() {
            let taken = match self.at {
                At::Preface(left) => {
                    let taken = left.min(rest.len());
                    self.at = if left == taken { At::Header(0) } else { At::Preface(left - taken) };
                    taken
                }
                At::Header(have) => {
                    let taken = (HEADER_BYTES - have).min(rest.len());
                    self.header[have..have + taken].copy_from_slice(&rest[..taken]);
                    self.at = At::Header(have + taken);
                    if have + taken == HEADER_BYTES {
                        self.frame(now)?;
                    }
                    taken
                }
                At::Payload(left) => {
                    let taken = left.min(rest.len());
                    self.at = if left == taken { At::Header(0) } else { At::Payload(left - taken) };
                    taken
                }
            };
            rest = &rest[taken..];
        }
        Ok(())
    }

    fn written(&mut self, bytes: usize) {
        let earned = u32::try_from(bytes / PIECE_BYTES + 1).unwrap_or(u32::MAX);
        self.controls = self.controls.saturating_sub(earned.saturating_mul(CONTROLS_EARNED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("short").to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER_BYTES + payload, 0);
        bytes
    }

    fn begun() -> Frames {
        let mut frames = Frames::new(Instant::now());
        frames.pass(&mut [0; PREFACE_BYTES]).expect("the preface");
        frames
    }

    #[test]
    fn what_a_connection_is_in_the_middle_of() {
        let mut bytes = vec![0; PREFACE_BYTES];
        let mut want = vec![Phase::Head; PREFACE_BYTES - 1];
        want.push(Phase::Between);
        for (frame, inside, behind) in [
            (frame(4, 0, 6), Phase::Head, Phase::Between),
            (frame(HEADERS, 0, 3), Phase::Head, Phase::Head),
            (frame(CONTINUATION, END_HEADERS, 2), Phase::Head, Phase::Between),
            (frame(DATA, 0, 4), Phase::Body, Phase::Between),
            (frame(DATA, 1, 0), Phase::Head, Phase::Between),
        ] {
            want.extend([Phase::Head; HEADER_BYTES - 1]);
            want.extend(vec![inside; frame.len() - HEADER_BYTES]);
            want.push(behind);
            bytes.extend(frame);
        }
        let mut frames = Frames::new(Instant::now());
        for (place, (byte, want)) in bytes.iter().zip(&want).enumerate() {
            frames.pass(&mut [*byte]).expect("no abuse");
            assert_eq!(frames.phase(), *want, "behind byte {place}");
        }
        let mut at_once = Frames::new(Instant::now());
        at_once.pass(&mut bytes).expect("no abuse");
        assert_eq!((at_once.at, at_once.header), (frames.at, frames.header), "whatever the pieces");
    }

    #[test]
    fn who_keeps_this_side_busy_for_nothing() {
        let many = CONTROLS_MAX as usize + 1;
        let request = || frame(HEADERS, END_HEADERS | 1, 1);
        let usual =
            [request(), frame(8, 0, 4), frame(8, 0, 4), frame(6, 0, 8), frame(3, 0, 4), request(), request()];
        for (case, frames, times, want) in [
            ("SETTINGS", vec![frame(4, 0, 0)], many, false),
            ("PING", vec![frame(6, 0, 8)], many, false),
            ("PRIORITY", vec![frame(2, 0, 5)], many, false),
            ("WINDOW_UPDATE", vec![frame(8, 0, 4)], many, false),
            ("what nobody knows", vec![frame(200, 0, 1)], many, false),
            ("DATA without bytes", vec![frame(DATA, 0, 0)], many, false),
            ("CONTINUATION", vec![frame(CONTINUATION, 0, 1)], many, false),
            ("as many as may be", vec![frame(6, 0, 8)], many - 1, true),
            ("resets", vec![request(), frame(3, 0, 4)], RESETS_MAX as usize + 1, false),
            ("every third one is reset", vec![request(), request(), request(), frame(3, 0, 4)], 5_000, true),
            ("the usual", usual.concat().chunks(1).map(<[u8]>::to_vec).collect(), 5_000, true),
        ] {
            let mut one = begun();
            let mut bytes: Vec<u8> = frames.concat();
            // The window does not end within this, however slow the machine: the clock is read with each piece.
            one.since = Instant::now() + WINDOW * 1_000;
            let fine = (0..times).all(|_| one.pass(&mut bytes).is_ok());
            assert_eq!(fine, want, "{case}");
        }
    }

    #[test]
    fn windows_begin_anew_and_responses_earn_updates() {
        let now = Instant::now();
        let mut one = begun();
        one.header = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        one.since = now;
        assert!((0..CONTROLS_MAX).all(|_| one.frame(now).is_ok()));
        one.written(1);
        assert!((0..CONTROLS_EARNED).all(|_| one.frame(now).is_ok()));
        assert!(one.frame(now).is_err());
        assert!(one.frame(now + WINDOW).is_ok());
    }
}
