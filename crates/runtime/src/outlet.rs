//! A way out for lines that never waits: a thread of its own writes them, and what it is too far behind for is lost and
//! counted. A pipe that nobody reads must not stop the traffic.

use prometheus::IntCounter;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Pieces that wait at most: some megabytes if each is a full buffer of lines.
const PIECES_MAX: usize = 256;
/// How long the end of a process waits for what is still to be written.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// How often it tries, if no more pieces may wait.
const END_TRY: Duration = Duration::from_millis(5);

/// Where lines go. Clones are the same.
#[derive(Debug, Clone)]
pub struct Outlet {
    pieces: SyncSender<Piece>,
    lost: IntCounter,
}

#[derive(Debug)]
enum Piece {
    Lines(Vec<u8>),
    /// Everything before it is written.
    End(SyncSender<()>),
}

/// Waits, when it is dropped, until all lines are written, or a second.
#[must_use = "what has not been written yet is lost with the process"]
#[derive(Debug)]
pub struct Rest(SyncSender<Piece>);

impl Outlet {
    /// Starts the thread. `lost` counts lines that could not be taken.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start(name: &str, to: impl Write + Send + 'static, lost: IntCounter) -> io::Result<(Self, Rest)> {
        let (pieces, coming) = sync_channel(PIECES_MAX);
        Builder::new().name(name.to_owned()).spawn(move || write(to, &coming))?;
        Ok((Self { pieces: pieces.clone(), lost }, Rest(pieces)))
    }

    /// Takes so many lines, or counts them as lost.
    pub fn put(&self, bytes: Vec<u8>, lines: u64) {
        if self.pieces.try_send(Piece::Lines(bytes)).is_err() {
            self.lost.inc_by(lines);
        }
    }
}

fn write(mut to: impl Write, coming: &Receiver<Piece>) {
    for piece in coming {
        match piece {
            // Nobody can be told that the log fails; the next lines may go again.
            Piece::Lines(bytes) => drop(to.write_all(&bytes).and_then(|()| to.flush())),
            // Nobody waits any more if that took too long.
            Piece::End(written) => drop(written.try_send(())),
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        let until = Instant::now() + END_PATIENCE;
        let (written, is_written) = sync_channel(1);
        let mut end = Piece::End(written);
        while let Err(TrySendError::Full(back)) = self.0.try_send(end) {
            if Instant::now() >= until {
                return;
            }
            end = back;
            std::thread::sleep(END_TRY);
        }
        // In vain if nobody reads the lines: they are lost then.
        let _ = is_written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("lost", "Lost.").expect("a name")
    }

    #[test]
    fn all_is_written_in_order_before_the_end() {
        let kept = Kept::default();
        let lost = counter();
        let (outlet, rest) = Outlet::start("test", kept.clone(), lost.clone()).expect("a thread");
        let lines: Vec<String> = (0..100).map(|number| format!("{number}\n")).collect();
        lines.iter().for_each(|line| outlet.put(line.clone().into_bytes(), 1));
        drop(rest);
        assert_eq!(*kept.0.lock().expect("no panic"), lines.concat().into_bytes());
        assert_eq!(lost.get(), 0);
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let lost = counter();
        let (outlet, rest) = Outlet::start("test", writer, lost.clone()).expect("a thread");
        let piece = vec![b'x'; 16_384];
        for _ in 0..PIECES_MAX * 2 {
            outlet.put(piece.clone(), 3);
        }
        let gone = lost.get();
        assert!(gone >= 3 * (PIECES_MAX as u64 / 2), "{gone} lines");
        assert_eq!(gone % 3, 0, "whole pieces");
        // The end does not wait for ever either.
        drop(rest);
        drop(outlet);
        let mut read = Vec::new();
        io::Read::read_to_end(&mut reader, &mut read).expect("reading");
        assert_eq!(
            read.len() as u64,
            (PIECES_MAX as u64 * 2 - gone / 3) * 16_384,
            "and what was taken is written"
        );
    }
}
