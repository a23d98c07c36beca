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

/// Bytes a second that a client has to take of its answers. A client that takes one byte now and then would
/// otherwise hold the memory of a whole answer for hours.
const LEAST_RATE: f64 = 128.0 * 1024.0;

/// A connection that is cut where the client takes its answers too slowly, and that is closed gently: if it
/// were closed while a client still sends, the system would reset it, and the client would lose the answer
/// that says why its body is refused.
///
/// The server waits for a client up to `stall_time` altogether. What the client takes gives it time again:
/// a second for each [`LEAST_RATE`] bytes, and never more than `stall_time`.
pub struct Connection {
    stream: TcpStream,
    stall_time: Duration,
    /// How much longer the server waits for this client.
    patience: Duration,
    waiting: Option<Waiting>,
    closing: Option<Closing>,
}

/// Nothing can be written until the client has taken something.
struct Waiting {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

struct Closing {
    until: Pin<Box<Sleep>>,
    left: usize,
}

impl Connection {
    pub fn new(stream: TcpStream, stall_time: Duration) -> Self {
        Self { stream, stall_time, patience: stall_time, waiting: None, closing: None }
    }

    /// `written`, unless the client is too slow.
    fn watch(&mut self, context: &mut Context, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = &written {
            let waited = self.waiting.take().map_or(Duration::ZERO, |waiting| waiting.since.elapsed());
            let taken = *done.as_ref().unwrap_or(&0) as f64;
            let earned = Duration::from_secs_f64(taken / LEAST_RATE);
            self.patience = (self.patience.saturating_sub(waited) + earned).min(self.stall_time);
            return written;
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { since: Instant::now(), until: Box::pin(sleep(self.patience)) });
        ready!(waiting.until.as_mut().poll(context));
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
        // A socket has nothing to flush.
        Pin::new(&mut self.stream).poll_flush(context)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    /// A connection whose sockets hold about this many bytes, and its client.
    async fn connection(stall_time: Duration, buffer: u32) -> (Connection, TcpStream) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(buffer).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(buffer).unwrap();
        let client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Connection::new(server, stall_time), client)
    }

    #[tokio::test]
    async fn a_client_that_takes_a_little_all_the_time_is_cut_off() {
        let (mut connection, mut client) = connection(Duration::from_secs(2), 4096).await;
        let reader = tokio::spawn(async move {
            let mut some = [0; 512];
            // 10 KiB a second.
            while client.read(&mut some).await.is_ok_and(|count| count > 0) {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let start = Instant::now();
        // At this rate it would take more than a day.
        let error = connection.write_all(&vec![0; 1 << 30]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        drop(connection);
        reader.abort();
    }

    #[tokio::test]
    async fn a_client_that_pauses_gets_everything() {
        let (mut connection, mut client) = connection(Duration::from_secs(30), 1 << 17).await;
        let reader = tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        connection.write_all(&vec![0; 32 << 20]).await.unwrap();
        drop(connection);
        assert_eq!(reader.await.unwrap(), 32 << 20);
    }
}
