//! A worker listens on one port. What comes from another worker goes to the meeting of workers; all else is
//! handed on to burn's server, which listens inside.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::meeting::{GREETING, Meeting};

/// How long a connection may be silent at first.
const PATIENCE: Duration = Duration::from_secs(10);
const BUFFER: usize = 256 << 10;

/// Takes connections from `listener`, on threads of their own.
pub(super) fn open(listener: TcpListener, inside: SocketAddr, meeting: Arc<Meeting>) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Too many open files, for example. It may pass.
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100));
                continue;
            };
            let meeting = meeting.clone();
            thread::spawn(move || {
                // Whoever connected is told by the end of the connection.
                let _ = enter(stream, inside, &meeting);
            });
        }
    });
}

fn enter(stream: TcpStream, inside: SocketAddr, meeting: &Meeting) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    // The first byte tells a greeting from HTTP's GET.
    let mut first = [0];
    if stream.peek(&mut first)? == 1 && first[0] == GREETING[0] {
        return meeting.arrive(stream);
    }
    stream.set_read_timeout(None)?;
    let there = TcpStream::connect(inside)?;
    for stream in [&stream, &there] {
        stream.set_nodelay(true)?;
    }
    let back = (there.try_clone()?, stream.try_clone()?);
    thread::spawn(move || pass(back.0, back.1));
    pass(stream, there);
    Ok(())
}

/// Hands on what comes, until one side ends.
fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            _ => {
                let _ = from.shutdown(Shutdown::Both);
                break;
            }
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
