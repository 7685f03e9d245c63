//! What happens to a packet: pure functions over what the attach points have read, so that the whole table of verdicts
//! runs in an ordinary test. The attach points (`main.rs`, for the kernel only) fetch facts and carry verdicts out.
//!
//! Everything is `inline(always)`: the programs must load on kernels whose verifier follows calls less well.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod verdict;
pub mod acceleration;
pub mod sender;
pub mod packet;
