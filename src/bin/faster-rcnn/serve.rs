//! `faster-rcnn serve`

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use faster_rcnn::records::{Keep, Records};
use faster_rcnn::serve::{Limits, ModelSource, ServeConfig, serve};
use tracing::level_filters::LevelFilter;

use crate::database::DatabaseArgument;
use crate::detector::DetectorArguments;
use crate::output;
use crate::registry::RegistryArguments;

const EXAMPLES: &str = "\
The page is at the address that is printed; the API is described at /docs. What is found is kept in the
records: a database, and a folder with the images.

Whoever can reach the server may use it, unless there are tokens. On anything but the loopback address it
needs --token-file. Nothing is encrypted: put a proxy with TLS before it where the network is not trusted.

SIGTERM and SIGINT finish what was accepted.

Examples:

  faster-rcnn serve --weights best.safetensors
  faster-rcnn serve --weights models:/pcb@champion --watch --listen 0.0.0.0:8080 --token-file tokens
  faster-rcnn serve --weights best.safetensors --database postgres://inspector@10.0.0.7/boards \\
      --images /srv/boards --keep 90d,500GB
  curl --data-binary @board.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8080/v1/detect
  curl -F image=@board.jpg -F reference=@good.png -F line=A http://127.0.0.1:8080/v1/detect";

/// Serve a detector over HTTP, with a page to look at boards and to give verdicts.
#[derive(clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Arguments {
    /// A detector's weights: a file, or models:/NAME/N or models:/NAME@ALIAS.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    #[command(flatten)]
    registry: RegistryArguments,
    /// Take up a new version of the alias without a gap.
    #[arg(long)]
    watch: bool,
    /// Address to listen on; port 0 is any free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// File with the tokens that clients need, one a line.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Folder for database and images, where these are not named [default: the user's data folder].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    database: DatabaseArgument,
    /// Folder for the images of the records [default: beside the database's file, else in --data].
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Remove the oldest records beyond this: days such as 30d, bytes such as 50GB, or both as 30d,50GB.
    #[arg(long, value_name = "LIMIT")]
    keep: Option<Keep>,
    #[command(flatten)]
    detector: DetectorArguments,
    #[command(flatten)]
    limits: LimitArguments,
}

/// What clients may cost.
#[derive(clap::Args)]
struct LimitArguments {
    /// Images that may wait for the detector; further ones are refused with 503.
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue)]
    queue: usize,
    /// The most MiB of a request.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().upload_bytes >> 20)]
    max_upload: usize,
    /// The most pixels of an image, in millions.
    #[arg(long, value_name = "MILLIONS", default_value_t = Limits::default().pixels / 1_000_000)]
    max_pixels: u64,
    /// The most MiB that all requests together hold, beside the detector.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().memory >> 20)]
    max_memory: usize,
    /// The most connections at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,
    /// Seconds in which a client has to send the head of a request.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().head_time.as_secs())]
    head_time: u64,
    /// Seconds in which a client has to send the body of a request.
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().body_time.as_secs())]
    body_time: u64,
}

impl LimitArguments {
    fn limits(&self) -> Limits {
        Limits {
            upload_bytes: self.max_upload.saturating_mul(1 << 20),
            pixels: self.max_pixels.saturating_mul(1_000_000),
            memory: self.max_memory.saturating_mul(1 << 20),
            queue: self.queue,
            connections: self.max_connections,
            head_time: Duration::from_secs(self.head_time),
            body_time: Duration::from_secs(self.body_time),
            ..Limits::default()
        }
    }
}

pub fn run(arguments: Arguments) -> Result<()> {
    let Arguments { weights, registry, watch, listen, token_file, keep, detector, limits, .. } = arguments;
    let database = arguments.database.database;
    let (database, images) = places(database, arguments.images, arguments.data.as_deref())?;
    let registry = registry.name()?;
    let device = detector.device().to_string();
    let load = Box::new(move |path: &Path| Ok(detector.load(path)?));
    let model = ModelSource { weights, registry, device, load };
    let limits = limits.limits();
    let log = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_writer(io::stderr);
    // With `--verbose` there is a log already.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
    let config = ServeConfig { model, watch, listen, token_file, database, images, keep, limits };
    serve(config, |address| {
        // Whoever has closed standard output does not need the address.
        let _ = output::print(format!("http://{address}\n"));
    })?;
    Ok(())
}

/// The database and the folder for images.
fn places(
    database: Option<String>,
    images: Option<PathBuf>,
    data: Option<&Path>,
) -> Result<(String, PathBuf)> {
    let folder = || -> Result<PathBuf> {
        let folder = match data {
            Some(folder) => folder.to_path_buf(),
            None => etcetera::choose_base_strategy()
                .context("there is no home folder: give --data")?
                .data_dir()
                .join("faster-rcnn/boards"),
        };
        output::create_folder(&folder)?;
        Ok(folder)
    };
    let database = match database {
        Some(url) => url,
        None => format!("sqlite:{}", folder()?.join("records.db").display()),
    };
    let images = match images.or_else(|| Records::images_beside(&database)) {
        Some(folder) => folder,
        None => folder()?.join("images"),
    };
    Ok((database, images))
}
