//! The body of a session's answer: gRPC frames, written here and not by tonic, so that a connection that says nothing
//! holds no buffer. Tonic keeps one for each stream, as large as the largest message ever sent; with detection content
//! that is some 100 kB for each of ten thousand sensors. Here a message lies in a buffer of its own size until it is
//! sent, and the content's bytes are the same for all.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use garrison_wire::v1::{self, server_frame};
use http::HeaderMap;
use hyper::body::{Body, Frame};
use prost::Message as _;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::{Code, Status};

/// Small frames that are ready together leave together, up to one HTTP/2 frame.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

/// What a session has to say.
pub(super) enum Out {
    /// A frame of its own.
    Frame(v1::ServerFrame),
    /// A frame for all, encoded already.
    Encoded(Bytes),
}

/// The present content as an encoded frame, shared by all sessions.
#[derive(Debug, Default)]
pub(super) struct ContentFrame(Mutex<Option<(Arc<v1::Content>, Bytes)>>);

impl ContentFrame {
    /// The frame of this content; encoded once, as long as it stays the same.
    pub(super) fn of(&self, content: &Arc<v1::Content>) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, bytes)) = &*kept
            && Arc::ptr_eq(of, content)
        {
            return bytes.clone();
        }
        let mut buffer = BytesMut::new();
        let frame = server_frame::Frame::Content((**content).clone());
        encode(&v1::ServerFrame { frame: Some(frame) }, &mut buffer);
        let bytes = buffer.freeze();
        *kept = Some((Arc::clone(content), bytes.clone()));
        bytes
    }
}

/// A gRPC message: not compressed, length, protobuf.
fn encode(frame: &v1::ServerFrame, buffer: &mut BytesMut) {
    let length = frame.encoded_len();
    buffer.reserve(5 + length);
    buffer.put_u8(0);
    buffer.put_u32(length as u32);
    // Fails only when there is no room, and a growing buffer has it.
    let _ = frame.encode(buffer);
}

/// The body.
pub(super) struct Frames {
    source: Pin<Box<dyn Stream<Item = Out> + Send>>,
    /// What came right behind frames that left together.
    behind: Option<Bytes>,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Open,
    /// The source has ended, the status is to follow.
    Ended,
    Done,
}

impl Frames {
    pub(super) fn new(source: impl Stream<Item = Out> + Send + 'static) -> Self {
        Self { source: Box::pin(source), behind: None, state: State::Open }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if let Some(bytes) = this.behind.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let mut buffer = BytesMut::new();
        while this.state == State::Open && buffer.len() < TOGETHER_BYTES_MAX {
            match this.source.poll_next_unpin(cx) {
                Poll::Ready(Some(Out::Frame(frame))) => encode(&frame, &mut buffer),
                Poll::Ready(Some(Out::Encoded(bytes))) if buffer.is_empty() => {
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Poll::Ready(Some(Out::Encoded(bytes))) => {
                    this.behind = Some(bytes);
                    break;
                }
                Poll::Ready(None) => this.state = State::Ended,
                Poll::Pending if buffer.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if !buffer.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(buffer.freeze()))));
        }
        if this.state == State::Done {
            return Poll::Ready(None);
        }
        this.state = State::Done;
        let mut trailers = HeaderMap::new();
        // An `Ok` without words is always a valid header.
        let _ = Status::new(Code::Ok, "").add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(sequence_first: u64) -> v1::ServerFrame {
        let ack = v1::Ack { sequence_first, ..v1::Ack::default() };
        v1::ServerFrame { frame: Some(server_frame::Frame::Ack(ack)) }
    }

    /// All that the body gives until it has nothing more, as one text of bytes, and whether a good status closed it.
    async fn all(mut body: Frames) -> (Vec<Bytes>, bool) {
        let (mut data, mut closed) = (Vec::new(), false);
        while let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.into_data() {
                Ok(bytes) => data.push(bytes),
                Err(frame) => closed = frame.into_trailers().is_ok_and(|t| t.get("grpc-status").unwrap() == "0"),
            }
        }
        (data, closed)
    }

    #[tokio::test]
    async fn frames_keep_their_order_and_a_status_closes_them() {
        let content =
            Arc::new(v1::Content { version: "v1".into(), bundle: vec![7; 40_000].into(), ..Default::default() });
        let shared = ContentFrame::default();
        let of_all = shared.of(&content);
        assert_eq!(of_all.as_ptr(), shared.of(&content).as_ptr(), "one copy for all");
        let source = vec![Out::Frame(ack(1)), Out::Frame(ack(2)), Out::Encoded(of_all), Out::Frame(ack(3))];
        let (data, closed) = all(Frames::new(futures::stream::iter(source))).await;
        assert!(closed);
        assert_eq!(data.len(), 3, "what is small and ready leaves together");
        let mut bytes = data.concat().as_slice().to_vec();
        let mut seen = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
            let frame = v1::ServerFrame::decode(&bytes[5..5 + length]).unwrap();
            seen.push(match frame.frame.unwrap() {
                server_frame::Frame::Ack(ack) => ack.sequence_first,
                server_frame::Frame::Content(content) => content.bundle.len() as u64,
                other => panic!("{other:?}"),
            });
            bytes.drain(..5 + length);
        }
        assert_eq!(seen, [1, 2, 40_000, 3]);
    }
}
