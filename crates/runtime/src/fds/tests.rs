//! Descriptors really passed, sizes at their bounds, and seals.

use super::*;
use std::io::{Read, Seek};

fn pipes(count: usize) -> Vec<(std::io::PipeReader, std::io::PipeWriter)> {
    (0..count).map(|_| std::io::pipe().expect("pipe")).collect()
}

#[tokio::test]
async fn descriptors_arrive_in_order() {
    for count in [0, 1, 7, FDS_MAX] {
        let (one, other) = SeqPacket::pair().expect("pair");
        let pipes = pipes(count);
        let fds: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
        one.send(b"here", &fds).await.expect("sent");
        let packet = other.recv().await.expect("received").expect("a packet");
        assert_eq!((packet.body.as_slice(), packet.fds.len()), (b"here".as_slice(), count));
        for (index, fd) in packet.fds.into_iter().enumerate() {
            File::from(fd).write_all(&[index as u8]).expect("written");
        }
        for (index, (mut reader, _)) in pipes.into_iter().enumerate() {
            let mut byte = [0];
            reader.read_exact(&mut byte).expect("read");
            assert_eq!(byte[0], index as u8, "{count} descriptors");
        }
    }
}

#[tokio::test]
async fn packets_keep_their_bounds() {
    let (one, other) = SeqPacket::pair().expect("pair");
    let largest = vec![7; BODY_BYTES_MAX];
    one.send(&largest, &[]).await.expect("sent");
    one.send(b"next", &[]).await.expect("sent");
    assert_eq!(other.recv().await.expect("received").expect("a packet").body, largest);
    assert_eq!(other.recv().await.expect("received").expect("a packet").body, b"next");

    let pipes = pipes(1);
    let too_many = vec![pipes[0].1.as_fd(); FDS_MAX + 1];
    assert!(matches!(one.send(&[0; BODY_BYTES_MAX + 1], &[]).await, Err(SendError::Size { .. })));
    assert!(matches!(one.send(&[], &[]).await, Err(SendError::Size { bytes: 0 })));
    assert!(matches!(one.send(b"x", &too_many).await, Err(SendError::Fds { fds: 254 })));

    drop(one);
    assert!(other.recv().await.expect("end").is_none());
    assert!(
        matches!(other.send(b"x", &[]).await, Err(SendError::Send(error)) if error.kind() == io::ErrorKind::BrokenPipe)
    );
}

#[tokio::test]
async fn the_last_words_of_a_peer_that_did_not_listen_are_heard() {
    let (one, other) = SeqPacket::pair().expect("pair");
    one.send(b"unread", &[]).await.expect("sent");
    other.send(b"last words", &[]).await.expect("sent");
    drop(other);
    assert_eq!(one.recv().await.expect("received").expect("a packet").body, b"last words");
    assert!(one.recv().await.expect("end").is_none());
}

#[tokio::test]
async fn an_oversized_packet_is_refused() {
    let (one, other) = SeqPacket::pair().expect("pair");
    rustix::net::send(one.0.get_ref(), &vec![0; BODY_BYTES_MAX + 1], SendFlags::empty()).expect("sent");
    assert!(matches!(other.recv().await, Err(RecvError::Size)));
}

#[tokio::test]
async fn a_listener_replaces_what_a_dead_process_left() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("below/socket");
    let first = SeqListener::bind(&path, 0o600).expect("first");
    assert!(matches!(SeqListener::bind(&path, 0o600), Err(ListenError::InUse { .. })));
    let client = SeqPacket::connect(&path).expect("connected");
    // The probe of the second bind waits in front.
    drop(first.accept().await.expect("probe"));
    let server = first.accept().await.expect("accepted");
    let me = Peer { pid: std::process::id(), uid: rustix::process::getuid().as_raw() };
    assert_eq!((server.peer().expect("peer"), client.peer().expect("peer")), (me, me));
    assert_eq!(std::fs::metadata(&path).expect("socket").permissions().mode() & 0o777, 0o600);

    // A dead process leaves the path behind; a living one removes it.
    let stale = folder.path().join("stale");
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("stale"));
    drop(SeqListener::bind(&stale, 0o660).expect("replaced"));
    assert!(!stale.exists());
}

#[test]
fn sealed_memory_cannot_change() {
    let fd = seal(b"keys").expect("sealed");
    let mut file = File::from(fd.try_clone().expect("clone"));
    assert!(file.write_all(b"other").is_err());
    assert!(file.set_len(1).is_err());
    file.seek(io::SeekFrom::End(0)).expect("seek");
    assert_eq!(
        unseal(fd.as_fd()).expect("read"),
        b"keys",
        "from the beginning, wherever others have read to"
    );

    let open = rustix::fs::memfd_create("open", MemfdFlags::ALLOW_SEALING).expect("memfd");
    assert!(matches!(unseal(open.as_fd()), Err(SealError::NotSealed)));
    let pipe = std::io::pipe().expect("pipe");
    assert!(matches!(unseal(pipe.0.as_fd()), Err(SealError::NotSealed)));
    let large = File::from(rustix::fs::memfd_create("large", MemfdFlags::ALLOW_SEALING).expect("memfd"));
    large.set_len(SEALED_BYTES_MAX + 1).expect("sparse");
    rustix::fs::fcntl_add_seals(&large, SEALS).expect("sealed");
    assert!(matches!(unseal(large.as_fd()), Err(SealError::Size { .. })));
}
