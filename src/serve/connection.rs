//! A TCP connection to a client that may be slow, silent, or still sending when its answer is ready.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long the rest of a refused body is read and thrown away.
const LINGER: Duration = Duration::from_secs(2);

/// The most bytes of it.
const LINGER_BYTES: usize = 16 << 20;

/// A connection that is cut where the client takes nothing of its answer for some time, and that is closed
/// gently: if it were closed while a client still sends, the system would reset it, and the client would lose
/// the answer that says why its body is refused.
pub struct Connection {
    stream: TcpStream,
    stall_time: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

struct Closing {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Connection {
    pub fn new(stream: TcpStream, stall_time: Duration) -> Self {
        Self { stream, stall_time, stalled: None, closing: None }
    }

    /// `written`, unless nothing could be written for too long.
    fn watch<T>(&mut self, context: &mut Context, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall_time)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        slices: &[io::IoSlice],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let closing = this.closing.get_or_insert_with(|| {
            let until = Box::pin(tokio::time::sleep_until(Instant::now() + LINGER));
            Closing { until, left: LINGER_BYTES }
        });
        let mut scrap = [0; 16 << 10];
        while closing.left > 0 && closing.until.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.stream).poll_read(context, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => break,
                Ok(()) => closing.left = closing.left.saturating_sub(buffer.filled().len()),
                Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
