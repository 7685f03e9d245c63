//! What a stream can make this process keep.

use super::{DIALECTS, Line};
use crate::support::{byte_at, run};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use weft_tunnel::accept::Dialect;

#[test]
fn a_writer_stops_where_nobody_reads_and_goes_on_where_somebody_does() {
    run(async {
        const TOTAL: usize = 30_000_000;
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (mut near, mut far) = line.ios().await;
            let written = Rc::new(Cell::new(0));
            let count = written.clone();
            let writer = spawn_local(async move {
                let block: Vec<u8> = (0..1_048_576).map(|at| byte_at(3, at)).collect();
                while count.get() < TOTAL {
                    let start = count.get() % block.len();
                    count.set(count.get() + near.write(&block[start..]).await.unwrap());
                }
                near.shutdown().await.unwrap();
            });
            let stuck_at = loop {
                let before = written.get();
                tokio::time::sleep(Duration::from_millis(50)).await;
                if written.get() == before {
                    break before;
                }
            };
            // One stream's credit; of HTTP/2, its window, and what h2 keeps before it.
            let limit = match dialect {
                Dialect::Mux => 262_144,
                Dialect::Hbone => 8 * 1_048_576 + 524_288 + 262_144,
            };
            assert!(stuck_at <= limit, "{dialect:?}: {stuck_at} bytes were taken");
            let mut position = 0;
            let mut buffer = vec![0; 10_000];
            while let count @ 1.. = far.read(&mut buffer).await.unwrap() {
                for (offset, byte) in buffer[..count].iter().enumerate() {
                    assert!(
                        *byte == byte_at(3, (position + offset) % 1_048_576),
                        "byte {}",
                        position + offset
                    );
                }
                position += count;
                // What is under way never exceeds the largest credit, or the window.
                assert!(written.get() - position <= limit.max(2_097_152 + 262_144), "{dialect:?}");
            }
            writer.await.unwrap();
            assert_eq!(position, written.get(), "{dialect:?}");
        }
    });
}

#[test]
fn idle_streams_hold_little() {
    const STREAMS: usize = 1_000;
    /// Of each stream, both ends together; one of them has read many times as much.
    const BYTES_MAX: usize = 16_384;
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let mut idle = Vec::new();
            let before = resident_bytes();
            let mut buffer = vec![7; 100_000];
            for number in 0..STREAMS {
                let (mut from, mut to) = line.ios().await;
                if number % 2 == 0 {
                    std::mem::swap(&mut from, &mut to);
                }
                from.write_all(&buffer).await.unwrap();
                to.read_exact(&mut buffer).await.unwrap();
                idle.push((from, to));
            }
            // Other tests run beside this one: allow for what they hold.
            let held = resident_bytes().saturating_sub(before).saturating_sub(48 * 1_048_576);
            assert!(held < STREAMS * BYTES_MAX, "{dialect:?}: {} bytes each", held / STREAMS);
        }
    });
}

fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}
