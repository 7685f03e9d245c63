//! What is carried: whole, in order, and both ways at once.

use super::{DIALECTS, Line};
use crate::support::{Noise, byte_at, pair, read_all, run};
use std::future::poll_fn;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::spawn_local;
use weft_tunnel::end::{Carried, End};

#[test]
fn bytes_arrive_whole_and_in_order_both_ways_at_once() {
    run(async {
        const TOTAL: usize = 5_000_000;
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.ios().await;
            // Each half in a task of its own: neither wakes the other's.
            let (near_read, near_write) = tokio::io::split(near);
            let (far_read, far_write) = tokio::io::split(far);
            let all = [
                spawn_local(send_noise(near_write, 1, TOTAL)),
                spawn_local(check_noise(far_read, 1, TOTAL)),
                spawn_local(send_noise(far_write, 2, TOTAL)),
                spawn_local(check_noise(near_read, 2, TOTAL)),
            ];
            for one in all {
                one.await.unwrap();
            }
            line.settle(&format!("{dialect:?}")).await;
        }
    });
}

#[test]
fn one_side_may_finish_long_before_the_other() {
    run(async {
        for dialect in DIALECTS {
            for case in ["the client first", "the server first"] {
                let mut line = Line::new(dialect).await;
                let (mut near, mut far) = line.ios().await;
                if case == "the server first" {
                    std::mem::swap(&mut near, &mut far);
                }
                near.write_all(b"question").await.unwrap();
                near.shutdown().await.unwrap();
                near.shutdown().await.unwrap();
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"question", "{dialect:?}: {case}");
                assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0, "{dialect:?}: {case}: again");
                far.write_all(b"answer").await.unwrap();
                far.shutdown().await.unwrap();
                got.clear();
                near.read_to_end(&mut got).await.unwrap();
                assert_eq!(got, b"answer", "{dialect:?}: {case}");
                drop((near, far));
                line.settle(&format!("{dialect:?}: {case}")).await;
            }
        }
    });
}

#[test]
fn a_client_need_not_wait_for_the_answer() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.stream().await;
            let mut near = near.into_io();
            near.write_all(b"early").await.unwrap();
            let waits = tokio::time::timeout(Duration::from_millis(20), near.read(&mut [0; 8])).await;
            assert!(waits.is_err(), "{dialect:?}: nobody has answered");
            let mut far = far.into_io();
            let mut got = [0; 5];
            far.read_exact(&mut got).await.unwrap();
            far.write_all(&got).await.unwrap();
            near.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"early", "{dialect:?}");
        }
    });
}

#[test]
fn bytes_can_be_had_as_they_lie() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (mut near, mut far) = line.ios().await;
            let sent: Vec<u8> = (0..3_000_000).map(|at| byte_at(4, at)).collect();
            let send = async {
                near.write_all(&sent).await.unwrap();
                near.shutdown().await.unwrap();
            };
            let receive = async {
                let mut got = Vec::new();
                // Part of what waits may have been read before.
                let mut first = [0; 10];
                far.read_exact(&mut first).await.unwrap();
                got.extend_from_slice(&first);
                while let Some(bytes) = poll_fn(|cx| far.poll_data(cx)).await {
                    got.extend_from_slice(&bytes.unwrap());
                }
                got
            };
            let ((), got) = tokio::join!(send, receive);
            assert!(got == sent, "{dialect:?}");
        }
    });
}

#[test]
fn a_relay_may_be_at_the_other_end() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (near, far) = line.stream().await;
            let (app, proxy) = pair().await;
            let end = spawn_local(async move { near.relay(Rc::new(proxy), &Carried::default()).await });
            let mut far = far.into_io();
            app.write_all(b"question").await.unwrap();
            let mut got = [0; 8];
            far.read_exact(&mut got).await.unwrap();
            // Its owner says all and goes, as one that answers `Connection: close`. The application is slow.
            let answer = vec![7; 200_000];
            far.write_all(&answer).await.unwrap();
            far.shutdown().await.unwrap();
            drop(far);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(read_all(&app).await == answer, "{dialect:?}");
            app.finish();
            assert_eq!(end.await.unwrap(), End::Closed, "{dialect:?}");
            line.settle(&format!("{dialect:?}")).await;
        }
    });
}

/// Writes in pieces of any size, in several slices, with pauses, and then finishes.
async fn send_noise(mut io: impl AsyncWrite + Unpin, seed: u64, total: usize) {
    let mut noise = Noise(seed);
    let mut position = 0;
    while position < total {
        let size = (1 + noise.next(90_000) as usize).min(total - position);
        let chunk: Vec<u8> = (position..position + size).map(|at| byte_at(seed, at)).collect();
        let (one, other) = chunk.split_at(noise.next(size as u64) as usize);
        let slices = [IoSlice::new(one), IoSlice::new(&[]), IoSlice::new(other)];
        position += io.write_vectored(&slices).await.unwrap();
        if noise.next(4) == 0 {
            tokio::time::sleep(Duration::from_micros(noise.next(900))).await;
        }
    }
    io.shutdown().await.unwrap();
}

async fn check_noise(mut io: impl AsyncRead + Unpin, seed: u64, total: usize) {
    let mut noise = Noise(seed + 100);
    let mut position = 0;
    loop {
        let mut chunk = vec![0; 1 + noise.next(70_000) as usize];
        let count = io.read(&mut chunk).await.unwrap();
        if count == 0 {
            break;
        }
        for (offset, byte) in chunk[..count].iter().enumerate() {
            let at = position + offset;
            assert_eq!(*byte, byte_at(seed, at), "byte {at} of stream {seed}");
        }
        position += count;
        if noise.next(8) == 0 {
            tokio::time::sleep(Duration::from_micros(noise.next(900))).await;
        }
    }
    assert_eq!(position, total, "stream {seed}");
}
