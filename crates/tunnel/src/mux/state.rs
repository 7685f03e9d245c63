//! What a mux connection knows: its session, the frames that wait to go out, and its streams. All of it belongs
//! to one worker, so a `RefCell` guards it; nothing in here awaits.

use super::frame::{BadFrame, Cutter, Header, Kind, Piece};
use super::open::{BadOpen, OpenRequest};
use super::outgoing::Outgoing;
use super::stream_state::{Owner, Remote, StreamState};
use crate::end::Refused;
use crate::scratch::ReadBuffer;
use crate::tls::{Received, Session, TlsError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::IoSlice;
use std::ops::Range;
use std::rc::Rc;

/// Why a mux connection ended.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The peer broke the framing.
    #[error("the peer broke the protocol")]
    Frame(#[from] BadFrame),
    /// The socket failed.
    #[error("the tunnel's socket failed")]
    Socket(#[source] std::io::Error),
}

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Stream ids count up, so they are their own hash.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// OPENs, and the streams that they begin.
pub(super) type Opened = Vec<(u32, Result<OpenRequest, BadOpen>)>;
pub(super) type Streams = HashMap<u32, Rc<RefCell<StreamState>>, BuildHasherDefault<IdHasher>>;

pub(super) struct State {
    pub(super) session: Session,
    pub(super) outgoing: Outgoing,
    pub(super) table: Table,
    cutter: Cutter,
}

/// The streams and what is known of them.
pub(super) struct Table {
    pub(super) side: Side,
    pub(super) streams: Streams,
    /// The newest id; ids are never used again.
    pub(super) last_id: u32,
    /// The server wants no more streams here.
    pub(super) going_away: bool,
    /// The connection is over; nothing can be opened or sent.
    pub(super) over: bool,
    /// OPENs of the batch in hand.
    opened: Opened,
    /// Bytes of streams in the batch in hand, and where they lie in what was read.
    pieces: Vec<(Rc<RefCell<StreamState>>, Range<usize>)>,
}

/// Slices in one write to an application: as many records as one read brings. More take another write.
const SLICES: usize = 16;

impl State {
    pub(super) fn new(session: Session, side: Side) -> Self {
        let table = Table {
            side,
            streams: Streams::default(),
            last_id: 0,
            going_away: false,
            over: false,
            opened: Vec::new(),
            pieces: Vec::new(),
        };
        Self { session, outgoing: Outgoing::default(), table, cutter: Cutter::default() }
    }

    /// True if a stream may be opened from this side.
    pub(super) fn takes_streams(&self) -> bool {
        let Self { table, outgoing, .. } = self;
        !table.over
            && !table.going_away
            && table.streams.len() < super::STREAMS_MAX
            && table.last_id < u32::MAX
            && !outgoing.is_backed_up()
    }

    /// True if the peer has to read before it is read from: it asks and takes no answer. Only a server holds a peer up
    /// so: its frames are answers, one for each OPEN, while a client's are its own doing ([`State::takes_streams`]). If
    /// both could stop reading, both could wait for each other.
    pub(super) fn holds_up_the_peer(&self) -> bool {
        self.table.side == Side::Server && self.outgoing.is_backed_up()
    }

    /// Takes in what was read, and returns the streams that it opens. `true` if the peer has closed.
    pub(super) fn receive(&mut self, incoming: &mut ReadBuffer) -> Result<(bool, Opened), MuxError> {
        let mut used = 0;
        let opened = self.open_records(incoming.filled_mut(), &mut used);
        // Also what came before an error: the peer sent it in good order.
        self.table.deliver(incoming.filled(), &mut self.outgoing);
        incoming.consume(used);
        let closed = opened?;
        if self.session.wants_key_update() {
            self.outgoing.wake_driver();
        }
        Ok((closed, std::mem::take(&mut self.table.opened)))
    }

    fn open_records(&mut self, bytes: &mut [u8], used: &mut usize) -> Result<bool, MuxError> {
        let Self { session, table, cutter, .. } = self;
        loop {
            match session.open(&mut bytes[*used..])? {
                Received::Part => return Ok(false),
                Received::Closed => return Ok(true),
                Received::Control { bytes: record } => *used += record,
                Received::Data { bytes: record, payload } => {
                    let (start, end) = (*used + payload.start, *used + payload.end);
                    *used += record;
                    cutter.feed::<MuxError>(&bytes[start..end], |piece| match piece {
                        Piece::Data { stream, at } => table.on_data(stream, start + at.start..start + at.end),
                        Piece::Frame(header, payload) => table.on_frame(header, payload),
                    })?;
                }
            }
        }
    }

    /// The connection is over: every stream learns it.
    pub(super) fn end(&mut self) {
        self.table.over = true;
        for stream in self.table.streams.values() {
            let mut stream = stream.borrow_mut();
            match stream.remote {
                Remote::Silent => stream.remote = Remote::LostUnopened,
                Remote::Open => stream.remote = Remote::Lost,
                _ => {}
            }
            stream.wake();
        }
        self.table.streams.clear();
        self.outgoing.wake_blocked();
    }
}

impl Table {
    /// True if there is nothing more to do: the server wants no more streams, and the last one has ended. It is the client
    /// that ends the connection, for what it has opened before it heard so is under way to the server.
    pub(super) fn is_done(&self) -> bool {
        self.side == Side::Client && self.going_away && self.streams.is_empty()
    }

    /// The stream, or `None` if it has ended: frames may still be under way for it.
    fn stream(&self, id: u32) -> Result<Option<&Rc<RefCell<StreamState>>>, BadFrame> {
        if id == 0 || id > self.last_id {
            return Err(BadFrame::StreamId(id));
        }
        Ok(self.streams.get(&id))
    }

    fn on_data(&mut self, id: u32, at: Range<usize>) -> Result<(), MuxError> {
        let Some(stream) = self.stream(id)? else {
            return Ok(());
        };
        if stream.borrow_mut().takes(at.len())? {
            let stream = stream.clone();
            self.pieces.push((stream, at));
        }
        Ok(())
    }

    /// Hands the streams what the batch in hand has brought: one write for pieces that follow each other.
    fn deliver(&mut self, bytes: &[u8], outgoing: &mut Outgoing) {
        let same = |(one, _): &(Rc<_>, _), (other, _): &(Rc<_>, _)| Rc::ptr_eq(one, other);
        for pieces in self.pieces.chunk_by(same).flat_map(|pieces| pieces.chunks(SLICES)) {
            let mut slices = [IoSlice::new(&[]); SLICES];
            for (slice, (_, at)) in slices.iter_mut().zip(pieces) {
                *slice = IoSlice::new(&bytes[at.clone()]);
            }
            let [(stream, _), ..] = pieces else { continue };
            let mut stream = stream.borrow_mut();
            match stream.owner {
                Owner::Here => stream.deliver(&slices[..pieces.len()], outgoing),
                // As a kernel answers for a socket that was closed.
                Owner::Gone if stream.remote != Remote::Reset => {
                    stream.remote = Remote::Reset;
                    outgoing.push(Kind::Reset, stream.id, &[]);
                    self.streams.remove(&stream.id);
                }
                Owner::Gone => {}
            }
        }
        self.pieces.clear();
    }

    fn on_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), MuxError> {
        let from_client = matches!(header.kind, Kind::Open);
        let from_server = matches!(header.kind, Kind::Opened | Kind::Refused | Kind::GoAway);
        if (from_client && self.side == Side::Client) || (from_server && self.side == Side::Server) {
            return Err(BadFrame::Side(header.kind).into());
        }
        let (kind, id) = (header.kind, header.stream);
        match kind {
            Kind::Ignorable => Ok(()),
            Kind::GoAway => {
                self.going_away = true;
                Ok(())
            }
            Kind::Open => self.on_open(id, payload),
            Kind::Data => Ok(()), // Handed on in pieces; an empty one carries nothing.
            Kind::Opened | Kind::Refused | Kind::Credit | Kind::Fin | Kind::Reset => {
                let Some(stream) = self.stream(id)? else {
                    return Ok(());
                };
                let mut stream = stream.borrow_mut();
                match (kind, payload) {
                    (Kind::Opened, _) if stream.remote == Remote::Silent => stream.remote = Remote::Open,
                    (Kind::Refused, [reason]) => stream.remote = Remote::Refused(Refused::from_byte(*reason)),
                    (Kind::Fin, _) if matches!(stream.remote, Remote::Open | Remote::Silent) => {
                        stream.remote = Remote::Finished;
                    }
                    (Kind::Reset, _) => stream.remote = stream.remote.reset(),
                    (Kind::Credit, payload) => {
                        let step = payload.try_into().map_err(|_| BadFrame::Payload(kind))?;
                        let credit = stream.send_credit.checked_add(u32::from_be_bytes(step));
                        stream.send_credit = credit.ok_or(BadFrame::Payload(kind))?;
                    }
                    _ => {}
                }
                stream.wake();
                let is_over = !matches!(stream.remote, Remote::Open | Remote::Silent);
                let is_forgotten = is_over && stream.owner == Owner::Gone;
                drop(stream);
                if is_forgotten {
                    self.streams.remove(&id);
                }
                Ok(())
            }
        }
    }

    fn on_open(&mut self, id: u32, payload: &[u8]) -> Result<(), MuxError> {
        if id != self.last_id.wrapping_add(1) || self.streams.len() >= super::STREAMS_MAX {
            return Err(BadFrame::StreamId(id).into());
        }
        self.last_id = id;
        let request = OpenRequest::read(payload);
        if request.is_ok() {
            self.streams.insert(id, Rc::new(RefCell::new(StreamState::new(id, Remote::Open))));
        }
        self.opened.push((id, request));
        Ok(())
    }
}
