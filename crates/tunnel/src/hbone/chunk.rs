//! Pieces of an application's bytes on their way into DATA frames.

use crate::scratch::READ_BYTES;
use bytes::Bytes;
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::task::{Poll, ready};

/// Reads once with `read` into the thread's memory. A long piece keeps that memory until it has been sent; a short
/// one is copied, so that a stream that waits for its window holds at most [`COPY_DIVISOR`] times what it carries.
pub(super) fn read_chunk(read: impl FnOnce(&mut [u8]) -> Poll<io::Result<usize>>) -> Poll<io::Result<Bytes>> {
    let mut memory = Memory::take();
    let count = ready!(read(&mut memory.0))?;
    Poll::Ready(Ok(if count < READ_BYTES / COPY_DIVISOR {
        Bytes::copy_from_slice(&memory.0[..count])
    } else {
        Bytes::from_owner(Piece { memory, count })
    }))
}

/// Copies as many bytes of `from` as one piece holds.
pub(super) fn copy_chunk(from: &[IoSlice<'_>]) -> Bytes {
    let count = from.iter().map(|slice| slice.len()).sum::<usize>().min(READ_BYTES);
    if count < READ_BYTES / COPY_DIVISOR {
        return Bytes::from(from.iter().fold(Vec::with_capacity(count), |mut bytes, slice| {
            bytes.extend_from_slice(slice);
            bytes
        }));
    }
    let mut memory = Memory::take();
    let mut space = &mut memory.0[..count];
    for slice in from {
        let (now, rest) = space.split_at_mut(slice.len().min(space.len()));
        now.copy_from_slice(&slice[..now.len()]);
        space = rest;
    }
    Bytes::from_owner(Piece { memory, count })
}

/// A copy of a quarter of the memory costs less than reading it from the kernel did.
const COPY_DIVISOR: usize = 4;
/// Buffers that a thread keeps for the next readers.
const SPARE_MAX: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Piece {
    memory: Memory,
    count: usize,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.memory.0[..self.count]
    }
}

/// Goes back to the thread when it is dropped.
struct Memory(Vec<u8>);

impl Memory {
    fn take() -> Self {
        Self(SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES]))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.0);
        // At the thread's own end there is nothing left to give it to.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(memory);
            }
        });
    }
}
