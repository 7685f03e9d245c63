//! How streams end: resets, refusals, lost tunnels, and owners that leave.

use super::{DIALECTS, Line};
use crate::support::run;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;
use weft_tunnel::accept::Dialect;
use weft_tunnel::end::{Broken, Refused};
use weft_tunnel::io::TunnelIo;

/// Writes until it fails.
async fn flood(io: &mut TunnelIo) -> io::Error {
    let block = vec![7; 65_536];
    loop {
        if let Err(error) = io.write_all(&block).await {
            return error;
        }
    }
}

fn assert_broken(error: &io::Error, kind: ErrorKind, want: Broken, case: &str) {
    assert_eq!((error.kind(), Broken::find(error)), (kind, Some(want)), "{case}");
}

#[test]
fn a_drop_resets_who_reads_and_who_writes() {
    run(async {
        for (dialect, from) in DIALECTS.into_iter().flat_map(|dialect| [(dialect, "near"), (dialect, "far")])
        {
            for waiting in ["a read", "a write"] {
                let case = format!("{dialect:?}: {waiting} waits for {from}");
                let mut line = Line::new(dialect).await;
                let (mut leaving, mut staying) = line.ios().await;
                if from == "far" {
                    std::mem::swap(&mut leaving, &mut staying);
                }
                leaving.write_all(b"x").await.unwrap();
                assert_eq!(staying.read(&mut [0; 8]).await.unwrap(), 1, "{case}");
                let waits = spawn_local(async move {
                    let error = match waiting {
                        "a read" => staying.read(&mut [0; 8]).await.unwrap_err(),
                        _ => flood(&mut staying).await,
                    };
                    (error, staying)
                });
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                assert!(!waits.is_finished(), "{case}");
                drop(leaving);
                let (error, mut staying) = waits.await.unwrap();
                let reset =
                    |error: &_| assert_broken(error, ErrorKind::ConnectionReset, Broken::Reset, &case);
                reset(&error);
                // And again, either way.
                reset(&staying.read(&mut [0; 8]).await.unwrap_err());
                reset(&staying.write(b"x").await.unwrap_err());
                reset(&staying.shutdown().await.unwrap_err());
                drop(staying);
                line.settle(&case).await;
            }
        }
    });
}

#[test]
fn what_came_before_a_reset_is_had_first() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (mut near, mut far) = line.ios().await;
            far.write_all(b"last words").await.unwrap();
            assert_eq!(near.read(&mut [0; 5]).await.unwrap(), 5);
            drop(far);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            assert_eq!(near.read(&mut [0; 80]).await.unwrap(), 5, "{dialect:?}");
            let error = near.read(&mut [0; 8]).await.unwrap_err();
            assert_broken(&error, ErrorKind::ConnectionReset, Broken::Reset, &format!("{dialect:?}"));
        }
    });
}

#[test]
fn a_reset_is_known_at_once_though_bytes_wait() {
    run(async {
        for dialect in DIALECTS {
            let mut line = Line::new(dialect).await;
            let (mut near, mut far) = line.ios().await;
            near.write_all(&[7; 10_000]).await.unwrap();
            assert_eq!(far.read(&mut [0; 5]).await.unwrap(), 5);
            let nothing = poll_fn(|cx| Poll::Ready(far.poll_broken(cx).is_pending())).await;
            assert!(nothing, "{dialect:?}");
            let waits = spawn_local(async move { poll_fn(|cx| far.poll_broken(cx)).await });
            tokio::task::yield_now().await;
            drop(near);
            assert_eq!(waits.await.unwrap(), Broken::Reset, "{dialect:?}");
        }
    });
}

#[test]
fn a_refusal_names_its_reason_to_who_reads_and_who_writes() {
    run(async {
        for dialect in DIALECTS {
            for (why, doing) in [
                (Refused::Policy, "reading"),
                (Refused::AppUnreachable, "reading"),
                (Refused::Policy, "writing"),
                (Refused::AppUnreachable, "writing"),
                (Refused::Malformed, "finishing"),
            ] {
                let case = format!("{dialect:?}: {why} while {doing}");
                let mut line = Line::new(dialect).await;
                let (near, far) = line.stream().await;
                let mut near = near.into_io();
                near.write_all(&[7; 100_000]).await.unwrap();
                let client = spawn_local(async move {
                    let error = match doing {
                        "reading" => near.read(&mut [0; 8]).await.unwrap_err(),
                        "writing" => flood(&mut near).await,
                        _ => loop {
                            tokio::task::yield_now().await;
                            match near.write(b"x").await {
                                Ok(_) => {}
                                Err(_) => break near.shutdown().await.unwrap_err(),
                            }
                        },
                    };
                    (error, near.read(&mut [0; 8]).await.unwrap_err())
                });
                tokio::task::yield_now().await;
                far.refuse(why);
                let (first, second) = client.await.unwrap();
                for error in [first, second] {
                    assert_broken(&error, ErrorKind::ConnectionRefused, Broken::Refused(why), &case);
                    let source = error.source().and_then(|source| source.downcast_ref());
                    assert_eq!(source, Some(&why), "{case}");
                }
                line.settle(&case).await;
            }
        }
    });
}

#[test]
fn a_lost_tunnel_tells_whether_another_may_be_tried() {
    run(async {
        for dialect in DIALECTS {
            for (case, want) in [
                ("nothing was said", Broken::Unopened),
                ("bytes were said", Broken::Lost),
                ("the end was said", Broken::Lost),
                ("it was taken", Broken::Lost),
            ] {
                let mut line = Line::new(dialect).await;
                let (near, far) = line.stream().await;
                let mut near = near.into_io();
                let mut taken = None;
                match case {
                    "bytes were said" => near.write_all(b"x").await.unwrap(),
                    "the end was said" => near.shutdown().await.unwrap(),
                    "it was taken" => {
                        let mut far = far.into_io();
                        far.write_all(b"x").await.unwrap();
                        assert_eq!(near.read(&mut [0; 8]).await.unwrap(), 1);
                        taken = Some(far);
                    }
                    _ => {}
                }
                let read = spawn_local(async move { (near.read(&mut [0; 8]).await.unwrap_err(), near) });
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                line.server.close();
                let (error, mut near) = read.await.unwrap();
                let case = format!("{dialect:?}: {case}");
                assert_broken(&error, ErrorKind::ConnectionAborted, want, &case);
                let error = near.write(b"y").await.unwrap_err();
                assert_broken(&error, ErrorKind::ConnectionAborted, want, &case);
                if let Some(mut far) = taken {
                    let error = far.read(&mut [0; 8]).await.unwrap_err();
                    assert_broken(&error, ErrorKind::ConnectionAborted, Broken::Lost, &case);
                }
            }
        }
    });
}

#[test]
fn who_leaves_after_its_last_word_cuts_nothing_off() {
    run(async {
        for (dialect, from) in DIALECTS.into_iter().flat_map(|dialect| [(dialect, "near"), (dialect, "far")])
        {
            let case = format!("{dialect:?}: {from} leaves");
            let mut line = Line::new(dialect).await;
            let (mut leaving, mut staying) = line.ios().await;
            if from == "far" {
                std::mem::swap(&mut leaving, &mut staying);
            }
            leaving.write_all(&[7; 200_000]).await.unwrap();
            leaving.shutdown().await.unwrap();
            let error = leaving.write(b"more").await.unwrap_err();
            assert_broken(&error, ErrorKind::BrokenPipe, Broken::Closed, &case);
            drop(leaving);
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            let mut got = Vec::new();
            staying.read_to_end(&mut got).await.unwrap();
            assert_eq!(got.len(), 200_000, "{case}");
            // Nobody listens any more, and the writer learns it.
            let error = flood(&mut staying).await;
            match (dialect, from) {
                (Dialect::Hbone, "far") => {
                    assert_broken(&error, ErrorKind::BrokenPipe, Broken::Closed, &case);
                }
                _ => assert_broken(&error, ErrorKind::ConnectionReset, Broken::Reset, &case),
            }
            assert_eq!(staying.read(&mut [0; 8]).await.unwrap(), 0, "{case}: what came was whole");
            staying.shutdown().await.unwrap();
            drop(staying);
            line.settle(&case).await;
        }
    });
}

#[test]
fn who_stays_may_finish_without_a_listener() {
    run(async {
        for (dialect, from) in DIALECTS.into_iter().flat_map(|dialect| [(dialect, "near"), (dialect, "far")])
        {
            let case = format!("{dialect:?}: {from} leaves");
            let mut line = Line::new(dialect).await;
            let (mut leaving, mut staying) = line.ios().await;
            if from == "far" {
                std::mem::swap(&mut leaving, &mut staying);
            }
            leaving.shutdown().await.unwrap();
            drop(leaving);
            assert_eq!(staying.read(&mut [0; 8]).await.unwrap(), 0, "{case}");
            staying.shutdown().await.unwrap();
            drop(staying);
            line.settle(&case).await;
        }
    });
}
