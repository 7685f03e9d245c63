//! What both dialects carry alike: integrity both ways at once, half-close, reset, refusal, slow readers, drain and loss.

use crate::support::{assert_reset, byte_at, check_noise, pair, read_all, run, send_noise};
use crate::tunnels::{both, line, tunnel};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_local;
use weft_tunnel::end::{Carried, End, Refused, Stop};
use weft_tunnel::join::join;
use weft_tunnel::socket::Socket;

#[test]
fn bytes_arrive_whole_and_in_order_both_ways_at_once() {
    both(|dialect| async move {
        const TOTAL: usize = 5_000_000;
        let line = line(dialect).await;
        tokio::join!(
            send_noise(&line.near, 1, TOTAL),
            check_noise(&line.far, 1, TOTAL),
            send_noise(&line.far, 2, TOTAL),
            check_noise(&line.near, 2, TOTAL),
        );
        let want = (End::Closed, TOTAL as u64, TOTAL as u64);
        assert_eq!(line.near_end.await.unwrap(), want);
        assert_eq!(line.client.stream_count(), 0);
    });
}

#[test]
fn bulk_arrives_whole_through_every_buffer() {
    both(|dialect| async move {
        const TOTAL: usize = 60_000_000;
        let line = line(dialect).await;
        let send = async {
            let block: Vec<u8> = (0..1_048_576).map(|at| byte_at(5, at)).collect();
            let mut left = TOTAL;
            while left > 0 {
                let count = left.min(block.len());
                line.near.write_all(&block[..count]).await.unwrap();
                left -= count;
            }
            line.near.finish();
        };
        let check = async {
            let (mut position, mut buffer) = (0, vec![0; 262_144]);
            loop {
                let count = line.far.read(&mut buffer).await.unwrap();
                if count == 0 {
                    break;
                }
                for (offset, byte) in buffer[..count].iter().enumerate() {
                    let at = (position + offset) % 1_048_576;
                    assert!(*byte == byte_at(5, at), "byte {}", position + offset);
                }
                position += count;
            }
            assert_eq!(position, TOTAL);
            line.far.finish();
        };
        tokio::join!(send, check);
        assert_eq!(line.near_end.await.unwrap(), (End::Closed, TOTAL as u64, 0));
    });
}

#[test]
fn one_side_may_finish_long_before_the_other() {
    both(|dialect| async move {
        for case in ["the client first", "the server first"] {
            let mut line = line(dialect).await;
            if case == "the server first" {
                // The server's stream exists once something has come through.
                line.near.write_all(b"!").await.unwrap();
                assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
                std::mem::swap(&mut line.near, &mut line.far);
            }
            line.near.write_all(b"question").await.unwrap();
            line.near.finish();
            assert_eq!(read_all(&line.far).await, b"question", "{case}");
            line.far.write_all(b"answer").await.unwrap();
            line.far.finish();
            assert_eq!(read_all(&line.near).await, b"answer", "{case}");
            assert_eq!(line.near_end.await.unwrap().0, End::Closed, "{case}");
            let far_end = line.far_end.take().unwrap();
            assert_eq!(far_end.await.unwrap(), End::Closed, "{case}");
        }
    });
}

#[test]
fn a_reset_arrives_as_a_reset() {
    both(|dialect| async move {
        for half_closed in [false, true] {
            let line = line(dialect).await;
            line.near.write_all(b"x").await.unwrap();
            assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
            if half_closed {
                line.far.finish();
                assert_eq!(line.near.read(&mut [0; 8]).await.unwrap(), 0);
            }
            line.far.reset_on_close();
            drop(line.far);
            if half_closed {
                // It has read the end already, and reads it again.
                line.near.failed().await;
            } else {
                assert_reset(&line.near, "near").await;
            }
            assert_eq!(line.near_end.await.unwrap().0, End::PeerReset);
            assert_eq!(line.far_end.take().unwrap().await.unwrap(), End::AppReset);
        }
    });
}

#[test]
fn the_clients_reset_reaches_the_server() {
    both(|dialect| async move {
        let line = line(dialect).await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.near.reset_on_close();
        drop(line.near);
        assert_reset(&line.far, "far").await;
        assert_eq!(line.near_end.await.unwrap().0, End::AppReset);
        assert_eq!(line.far_end.take().unwrap().await.unwrap(), End::PeerReset);
    });
}

/// Writes until nothing has room any more, as far as one can see; `carried` counts what has been taken.
async fn fill(socket: &Socket, carried: impl Fn() -> u64) {
    let flood = async {
        let block = vec![7; 65_536];
        while socket.write_all(&block).await.is_ok() {}
        panic!("it has failed before anybody reset it");
    };
    let stuck = async {
        let mut before = 0;
        while before == 0 || before != carried() {
            before = carried();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = flood => {}
        () = stuck => {}
    }
}

#[test]
fn a_reset_is_heard_though_what_came_before_it_has_no_room() {
    both(|dialect| async move {
        let line = line(dialect).await;
        fill(&line.near, || line.carried.from_app()).await;
        line.near.reset_on_close();
        drop(line.near);
        // It is told though it reads nothing.
        line.far.failed().await;
        assert_eq!(line.near_end.await.unwrap().0, End::AppReset);
        assert_eq!(line.far_end.take().unwrap().await.unwrap(), End::PeerReset);
    });
}

#[test]
fn joined_sockets_hear_of_resets_that_no_read_tells_of() {
    run(async {
        for (who, finishes) in [("first", false), ("first", true), ("second", false), ("second", true)] {
            let case = format!("the {who}, which has {}", if finishes { "finished" } else { "no room" });
            let ((first, first_proxy), (second, second_proxy)) = (pair().await, pair().await);
            let carried = Rc::new(Carried::default());
            let meter = carried.clone();
            let joined = spawn_local(async move { join(&first_proxy, &second_proxy, &meter).await });
            let (leaving, staying, want) = match who {
                "first" => (first, second, End::AppReset),
                _ => (second, first, End::PeerReset),
            };
            if finishes {
                leaving.finish();
                assert_eq!(staying.read(&mut [0; 8]).await.unwrap(), 0, "{case}");
            } else {
                fill(&leaving, || carried.from_app() + carried.to_app()).await;
            }
            leaving.reset_on_close();
            drop(leaving);
            staying.failed().await;
            assert_eq!(joined.await.unwrap(), want, "{case}");
        }
    });
}

#[test]
fn the_owner_can_stop_a_connection() {
    both(|dialect| async move {
        let line = line(dialect).await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.carried.stop(Stop::Policy);
        assert_eq!(line.near_end.await.unwrap().0, End::Stopped(Stop::Policy));
        for (side, socket) in [("near", &line.near), ("far", &line.far)] {
            assert_reset(socket, side).await;
        }
    });
}

#[test]
fn a_refusal_names_its_reason() {
    both(|dialect| async move {
        for (why, want) in [
            (Refused::Policy, Refused::Policy),
            (Refused::Malformed, Refused::Malformed),
            (Refused::AppUnreachable, Refused::AppUnreachable),
        ] {
            let (client, _server) = tunnel(dialect, move |stream| stream.refuse(why)).await;
            let (near, near_proxy) = pair().await;
            // Bytes under way do not hide the answer.
            near.write_all(&[7; 100_000]).await.unwrap();
            let mut waiting = client.open().unwrap();
            assert_eq!(waiting.opened().await, Err(End::Refused(want)), "{why}");
            let stream = client.open().unwrap();
            let end = stream.relay(Rc::new(near_proxy), &Carried::default()).await;
            assert_eq!(end, End::Refused(want), "{why}");
            assert_reset(&near, "near").await;
            assert!(client.is_usable(), "a refusal is not the connection's fault");
        }
    });
}

#[test]
fn an_answer_comes_before_any_byte() {
    both(|dialect| async move {
        let (client, _server) = tunnel(dialect, |mut stream| {
            spawn_local(async move {
                stream.accept();
                let (_app, proxy) = pair().await;
                stream.relay(Rc::new(proxy), &Carried::default()).await
            });
        })
        .await;
        let mut stream = client.open().unwrap();
        assert_eq!(stream.opened().await, Ok(()));
        assert_eq!(client.stream_count(), 1);
    });
}

#[test]
fn slow_readers_hold_up_their_own_streams_only() {
    both(|dialect| async move {
        let stuck = Rc::new(RefCell::new(Vec::new()));
        let arrived = stuck.clone();
        let (far, far_proxy) = pair().await;
        let mut far_proxy = Some(Rc::new(far_proxy));
        // The first two streams are never read; the third is carried.
        let (client, _server) = tunnel(dialect, move |mut stream| {
            stream.accept();
            if arrived.borrow().len() < 2 {
                arrived.borrow_mut().push(stream);
                return;
            }
            let app = far_proxy.take().unwrap();
            spawn_local(async move { stream.relay(app, &Carried::default()).await });
        })
        .await;
        let mut floods = Vec::new();
        for _ in 0..2 {
            let (app, proxy) = pair().await;
            let stream = client.open().unwrap();
            spawn_local(async move { stream.relay(Rc::new(proxy), &Carried::default()).await });
            floods.push(spawn_local(async move {
                let block = vec![7; 65_536];
                for _ in 0..1_000 {
                    app.write_all(&block).await?;
                }
                Ok::<_, std::io::Error>(())
            }));
        }
        let (near, near_proxy) = pair().await;
        let third = client.open().unwrap();
        spawn_local(async move { third.relay(Rc::new(near_proxy), &Carried::default()).await });
        tokio::join!(send_noise(&near, 3, 2_000_000), check_noise(&far, 3, 2_000_000));
        for flood in floods {
            assert!(!flood.is_finished(), "65 MB fit into no buffer of a stream that nobody reads");
            flood.abort();
        }
    });
}

#[test]
fn many_streams_share_a_connection() {
    both(|dialect| async move {
        let (client, _server) = tunnel(dialect, |mut stream| {
            stream.accept();
            spawn_local(async move {
                let (app, proxy) = pair().await;
                let echo = async {
                    let mut buffer = [0; 512];
                    loop {
                        match app.read(&mut buffer).await.unwrap() {
                            0 => break app.finish(),
                            count => app.write_all(&buffer[..count]).await.unwrap(),
                        }
                    }
                };
                let carried = Carried::default();
                tokio::join!(echo, stream.relay(Rc::new(proxy), &carried));
            });
        })
        .await;
        let mut all = Vec::new();
        for number in 0..90_u32 {
            let stream = client.open().unwrap();
            all.push(spawn_local(async move {
                let (near, proxy) = pair().await;
                let carried = Carried::default();
                let talk = async {
                    near.write_all(&number.to_be_bytes()).await.unwrap();
                    near.finish();
                    assert_eq!(read_all(&near).await, number.to_be_bytes());
                };
                let ((), end) = tokio::join!(talk, stream.relay(Rc::new(proxy), &carried));
                assert_eq!(end, End::Closed);
            }));
        }
        for one in all {
            one.await.unwrap();
        }
    });
}

#[test]
fn a_server_that_drains_lets_its_streams_finish() {
    both(|dialect| async move {
        let line = line(dialect).await;
        line.near.write_all(b"x").await.unwrap();
        assert_eq!(line.far.read(&mut [0; 8]).await.unwrap(), 1);
        line.server.go_away();
        while line.client.is_usable() {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(line.client.open().is_none());
        line.near.write_all(b"still here").await.unwrap();
        line.near.finish();
        assert_eq!(read_all(&line.far).await, b"still here");
        line.far.finish();
        assert_eq!(line.near_end.await.unwrap().0, End::Closed);
        // With its last stream the connection has ended, and the server need not wait for more.
        while line.server.is_usable() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_lost_connection_tells_whether_another_may_be_tried() {
    both(|dialect| async move {
        for (case, said, want) in [("silent", false, End::Unopened), ("bytes sent", true, End::TunnelLost)] {
            // The server never answers.
            let held = Rc::new(RefCell::new(Vec::new()));
            let streams = held.clone();
            let (client, server) = tunnel(dialect, move |stream| streams.borrow_mut().push(stream)).await;
            let (near, near_proxy) = pair().await;
            let stream = client.open().unwrap();
            let carried = Rc::new(Carried::default());
            let meter = carried.clone();
            let app = Rc::new(near_proxy);
            let held_app = app.clone();
            let end = spawn_local(async move { stream.relay(app, &meter).await });
            if said {
                near.write_all(b"x").await.unwrap();
            }
            while held.borrow().is_empty() || (said && carried.from_app() == 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.close();
            assert_eq!(end.await.unwrap(), want, "{case}");
            assert!(!client.is_usable(), "{case}");
            drop(held_app);
            let read = near.read(&mut [0; 8]).await;
            assert_eq!(read.is_ok(), !said, "{case}: the application was left as it was, or reset");
        }
    });
}
