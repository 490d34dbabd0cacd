//! Frames on the socket between server and shim: four bytes of length, one byte with the number of
//! descriptors that come along, and a message as JSON. No I/O of its own beyond one call that never waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::limits::{FRAME_BYTES_MAX, FRAME_DESCRIPTORS_MAX, QUEUE_FRAMES_MAX};

const HEADER_BYTES: usize = 5;
const READ_BYTES: usize = 4096;

/// What is wrong with what arrived.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A frame larger than any message is.
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// A frame with more descriptors than any message has.
    #[error("a frame with {0} descriptors")]
    TooManyDescriptors(usize),
    /// A frame whose descriptors did not arrive.
    #[error("descriptors are missing")]
    DescriptorsMissing,
    /// A frame that holds no message.
    #[error("a frame that is no message")]
    Json(#[from] serde_json::Error),
    /// The other side does not read.
    #[error("the other side does not read")]
    QueueFull,
}

/// One end of a connection.
#[derive(Debug, Default)]
pub struct Wire {
    incoming: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    outgoing: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

/// Turns a message into a frame.
pub fn encode(message: &impl Serialize, descriptors: usize) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(length));
    }
    let count = u8::try_from(descriptors).ok().filter(|_| descriptors <= FRAME_DESCRIPTORS_MAX);
    let count = count.ok_or(WireError::TooManyDescriptors(descriptors))?;
    let length = u32::try_from(length).map_err(|_| WireError::TooLong(length))?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes[4] = count;
    Ok(bytes)
}

/// The length of the first frame in `bytes` and the number of its descriptors; `None` while it is not
/// complete.
pub fn frame(bytes: &[u8]) -> Result<Option<(usize, usize)>, WireError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let descriptors = usize::from(header[4]);
    if length > FRAME_BYTES_MAX {
        return Err(WireError::TooLong(length));
    }
    if descriptors > FRAME_DESCRIPTORS_MAX {
        return Err(WireError::TooManyDescriptors(descriptors));
    }
    let whole = HEADER_BYTES + length;
    Ok((bytes.len() >= whole).then_some((whole, descriptors)))
}

impl Wire {
    /// Takes what has arrived; `false` when the other side is gone. Fails with `WouldBlock` when nothing
    /// has.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffer = [0; READ_BYTES];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let slices = &mut [IoSliceMut::new(&mut buffer)];
        let received =
            rustix::io::retry_on_intr(|| recvmsg(socket.as_fd(), slices, &mut control, flags))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.incoming.extend_from_slice(&buffer[..received.bytes]);
        Ok(received.bytes > 0)
    }

    /// The next message that has arrived whole, with its descriptors.
    pub fn next_message<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, WireError> {
        let Some((length, descriptors)) = frame(&self.incoming)? else { return Ok(None) };
        if descriptors > self.descriptors.len() {
            return Err(WireError::DescriptorsMissing);
        }
        let message = serde_json::from_slice(&self.incoming[HEADER_BYTES..length])?;
        self.incoming.drain(..length);
        if self.incoming.is_empty() {
            // Nothing stays behind of a message that was large.
            self.incoming = Vec::new();
        }
        Ok(Some((message, self.descriptors.drain(..descriptors).collect())))
    }

    /// Queues a message.
    pub fn push(
        &mut self,
        message: &impl Serialize,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), WireError> {
        if self.outgoing.len() >= QUEUE_FRAMES_MAX {
            return Err(WireError::QueueFull);
        }
        let bytes = encode(message, descriptors.len())?;
        self.outgoing.push_back(Outgoing { bytes, sent: 0, descriptors });
        Ok(())
    }

    /// Whether something waits to be sent.
    pub fn wants_to_send(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Sends what the socket takes now; the rest stays.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        match self.send_now(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }

    /// Sends everything, or fails with `WouldBlock` when the socket takes no more.
    pub fn send_now(&mut self, socket: impl AsFd) -> io::Result<()> {
        while let Some(first) = self.outgoing.front_mut() {
            let sent = send_some(socket.as_fd(), first)?;
            first.descriptors.clear();
            first.sent += sent;
            if first.sent == first.bytes.len() {
                self.outgoing.pop_front();
            }
        }
        Ok(())
    }
}

/// The descriptors go with the first byte.
fn send_some(socket: impl AsFd, frame: &Outgoing) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FRAME_DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = frame.descriptors.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let slices = [IoSlice::new(&frame.bytes[frame.sent..])];
    let sent = rustix::io::retry_on_intr(|| sendmsg(socket.as_fd(), &slices, &mut control, flags))?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::protocol::*;
    use proptest::prelude::*;
    use std::os::unix::net::UnixStream;

    fn exit() -> impl Strategy<Value = Exit> {
        (any::<i32>(), any::<i64>(), any::<bool>()).prop_map(
            |(exit_code, finished_at, oom_killed)| Exit { exit_code, finished_at, oom_killed },
        )
    }

    fn message() -> impl Strategy<Value = Message> {
        let reply =
            (any::<u64>(), ".{0,40}", any::<bool>()).prop_map(|(id, message, not_found)| {
                Message::Reply { id, result: Err(Failure { not_found, message }) }
            });
        let exited = ("[a-f0-9]{1,64}", exit()).prop_map(|(container_id, exit)| {
            Message::Event(Event::ContainerExited { container_id, exit })
        });
        let state =
            proptest::collection::vec(("[a-z]{1,9}", any::<i32>(), exit()), 0..20).prop_map(
                |list| {
                    let containers = list.into_iter().map(|(container_id, pid, exit)| {
                        ContainerState { container_id, pid, started_at: 0, exit: Some(exit) }
                    });
                    let containers = containers.collect();
                    let state = State { pid: 1, pause_pid: None, containers };
                    Message::Reply { id: 1, result: Ok(Answer::State(state)) }
                },
            );
        prop_oneof![reply, exited, state]
    }

    proptest! {
        #[test]
        fn messages_survive_the_wire_in_any_pieces(
            messages in proptest::collection::vec(message(), 1..6),
            cut in 1_usize..50,
        ) {
            let bytes: Vec<u8> =
                messages.iter().flat_map(|message| encode(message, 0).unwrap()).collect();
            let mut wire = Wire::default();
            let mut arrived = Vec::new();
            for piece in bytes.chunks(cut) {
                wire.incoming.extend_from_slice(piece);
                while let Some((message, _)) = wire.next_message::<Message>().unwrap() {
                    arrived.push(message);
                }
            }
            prop_assert_eq!(arrived, messages);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut wire = Wire { incoming: bytes, ..Wire::default() };
            while let Ok(Some(_)) = wire.next_message::<Message>() {}
        }
    }

    #[test]
    fn bounds_are_kept() {
        let header = |length: u32, descriptors: u8| {
            let mut bytes = length.to_be_bytes().to_vec();
            bytes.push(descriptors);
            bytes
        };
        assert!(matches!(frame(&header(u32::MAX, 0)), Err(WireError::TooLong(_))));
        assert!(matches!(frame(&header(1, 200)), Err(WireError::TooManyDescriptors(200))));
        assert!(matches!(frame(&header(1, 0)), Ok(None)));
        let mut wire = Wire { incoming: encode(&1, 0).unwrap(), ..Wire::default() };
        wire.incoming[4] = 1;
        assert!(matches!(wire.next_message::<i32>(), Err(WireError::DescriptorsMissing)));
    }

    #[test]
    fn descriptors_arrive_with_their_message() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut sender, mut receiver) = (Wire::default(), Wire::default());
        let (reader, writer) = std::io::pipe().unwrap();
        sender.push(&"first", Vec::new()).unwrap();
        sender.push(&"second", vec![writer.into()]).unwrap();
        sender.send(&left).unwrap();
        while receiver.receive(&right).is_ok() {}
        assert!(receiver.next_message::<String>().unwrap().unwrap().1.is_empty());
        let (text, descriptors) = receiver.next_message::<String>().unwrap().unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("second", 1));
        let mut file = std::fs::File::from(descriptors.into_iter().next().unwrap());
        std::io::Write::write_all(&mut file, b"through").unwrap();
        drop(file);
        let mut read = String::new();
        std::io::Read::read_to_string(&mut { reader }, &mut read).unwrap();
        assert_eq!(read, "through");
        drop(left);
        assert!(!receiver.receive(&right).unwrap());
    }
}
