//! `faster-rcnn worker`

use std::io::{self, BufRead, IsTerminal, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{panic, process, thread};

use anyhow::{Result, anyhow, bail, ensure};
use burn::server::IrohIdentity;
use faster_rcnn::DeviceName;
use faster_rcnn::workers::{Endpoint, serve};
use tracing::level_filters::LevelFilter;

use crate::output;

const EXAMPLES: &str = "\
Whoever may connect to a worker may use its device and its memory. If it listens on more than the loopback
address, it needs a token, and a trainer must have the same one. WebSocket is not encrypted. On a network that
is not trusted, give the worker a key: it then listens with iroh, which encrypts and proves who the worker is.
Relays are off, so nothing goes through other servers.

Examples:

  faster-rcnn worker
  faster-rcnn worker --listen 10.0.0.5:3000 --token-file token
  faster-rcnn worker --listen 0.0.0.0:3000 --token-file token --iroh worker.key
  faster-rcnn train --config configs/gpu_nv_s.toml --data PCBData --output runs/four --token-file token \\
      --workers ws://10.0.0.5:3000,ws://10.0.0.6:3000,ws://10.0.0.7:3000,ws://10.0.0.8:3000";

/// Serve a device to trainers on this or other machines.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// Address to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Where to compute.
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// File with the token that a trainer has to have.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Listen with iroh, on all addresses, with the key in this file. The file is created if it does not
    /// exist.
    #[arg(long, value_name = "FILE")]
    iroh: Option<PathBuf>,
    /// Take the token from the first line of standard input, and end when standard input is closed.
    #[arg(long, hide = true)]
    child: bool,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { listen, device, token_file, iroh, child } = arguments;
    let device = device.open()?;
    let token =
        if child { Some(token_of_parent()?) } else { token_file.as_deref().map(token).transpose()? };
    // With iroh, all addresses of the machine.
    let listen = if iroh.is_some() { SocketAddr::from(([0, 0, 0, 0], listen.port())) } else { listen };
    let closed = listen.ip().is_loopback();
    ensure!(token.is_some() || closed, "{listen} can be reached from other machines: it needs --token-file");
    let endpoint = match iroh {
        None => Endpoint::websocket(listen)?,
        Some(key) => {
            let identity = IrohIdentity::load_or_create(&key);
            let identity = identity.map_err(|error| anyhow!("{}: {error}", key.display()))?;
            Endpoint::Iroh { identity: Box::new(identity), port: listen.port() }
        }
    };
    output::print(format!("worker {}\n", endpoint.address()))?;
    // burn would log to standard output; a worker's panic ends a trainer's session, not the worker.
    let level = if child { LevelFilter::OFF } else { LevelFilter::WARN };
    let log = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr);
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    serve(endpoint, &device, token.as_deref())?;
    Ok(())
}

/// The token in a file, without the space around it.
pub fn token(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    match text.trim() {
        "" => bail!("{}: holds no token", file.display()),
        token => Ok(token.to_string()),
    }
}

fn token_of_parent() -> Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    thread::spawn(|| {
        // However the parent ends, its side of the pipe is closed.
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    Ok(line.trim().to_string())
}
