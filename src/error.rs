//! Everything that can go wrong with a user's files and settings. Shape misuse by a caller panics instead.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result of the library's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error that led to another one.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// An error that names the file and the place in it.
///
/// Printed with `{}` it says what went wrong and where. Printed with `{:#}` it also says why: the messages
/// of all its causes follow on the same line. The causes are those of [`source`](StdError::source). So
/// programs that print the chain of causes themselves (with `anyhow` or `eyre`) say everything once, too.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not an image that can be decoded (or could not be encoded).
    Image {
        /// The image file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A line of a label or list file is malformed.
    Line {
        /// The text file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file as a whole is not what it should be (settings, JSON, weights, checkpoint, data set).
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
        /// Why, where another library found the fault.
        source: Option<Cause>,
    },
    /// A tensor of a weight file is not what it should be.
    Tensor {
        /// The weight file.
        path: PathBuf,
        /// The tensor, by its name in the file, or by torchvision's where it is missing.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file could not be downloaded.
    Download {
        /// Where it was to come from.
        url: String,
        /// What went wrong and what to do.
        message: String,
        /// Why, where the network or the server is at fault.
        source: Option<Cause>,
    },
    /// A server cannot be reached, or refuses.
    Server {
        /// What was asked for.
        url: String,
        /// What went wrong.
        message: String,
        /// Why, where the network or the server is at fault: the same call may work later.
        source: Option<Cause>,
    },
    /// A database did not do what it was asked to. It may be gone for a while, or its disk may be full:
    /// the same call works again when that is over.
    Database {
        /// Where it is, without a password.
        database: String,
        /// What went wrong.
        message: String,
        /// Why, as the database or the network said.
        source: Option<Cause>,
    },
    /// A setting is outside what makes sense.
    Config(String),
    /// An image has no pixels.
    EmptyImage {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// A reference is missing, is not wanted, or does not show the same thing as the image.
    Reference(String),
    /// Training or inference produced a NaN or an infinity.
    NonFinite(String),
    /// A device cannot be used.
    Device(String),
    /// A worker cannot be used, or was lost.
    Worker {
        /// Where it is.
        worker: String,
        /// What is wrong with it.
        message: String,
        /// Why, where the network or the system is at fault.
        source: Option<Cause>,
    },
    /// Training stopped for another reason.
    Training {
        /// What happened.
        message: String,
        /// Why, where another library reported it.
        source: Option<Cause>,
    },
}

impl Error {
    /// For `map_err` on file system calls: `std::fs::read(path).map_err(Error::io(path))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }

    /// For `map_err` on image decoding and encoding.
    pub fn image(path: impl AsRef<Path>) -> impl FnOnce(image::ImageError) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Image { path, source }
    }

    /// A file that is not what it should be.
    pub fn file(path: impl AsRef<Path>, message: impl ToString) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.to_string(), source: None }
    }

    /// A file that is not what it should be, and the error of the library that found out.
    pub fn file_because(path: impl AsRef<Path>, message: impl ToString, source: impl Into<Cause>) -> Self {
        let (path, message) = (path.as_ref().to_path_buf(), message.to_string());
        Self::File { path, message, source: Some(source.into()) }
    }

    /// A tensor that is not what it should be.
    pub fn tensor(path: impl AsRef<Path>, tensor: impl ToString, message: impl ToString) -> Self {
        Self::Tensor {
            path: path.as_ref().to_path_buf(),
            tensor: tensor.to_string(),
            message: message.to_string(),
        }
    }

    /// A malformed line of a text file, `line` counted from 1.
    pub fn line(path: impl AsRef<Path>, line: usize, message: impl ToString) -> Self {
        Self::Line { path: path.as_ref().to_path_buf(), line, message: message.to_string() }
    }

    /// A worker that cannot be used.
    pub fn worker(worker: impl ToString, message: impl ToString) -> Self {
        Self::Worker { worker: worker.to_string(), message: message.to_string(), source: None }
    }

    /// A worker that cannot be used, and the error that says why.
    pub fn worker_because(worker: impl ToString, message: impl ToString, source: impl Into<Cause>) -> Self {
        let (worker, message) = (worker.to_string(), message.to_string());
        Self::Worker { worker, message, source: Some(source.into()) }
    }

    /// Training that stopped for a reason of its own.
    pub fn training(message: impl ToString) -> Self {
        Self::Training { message: message.to_string(), source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, .. } => write!(f, "cannot access {}", path.display())?,
            Self::Image { path, .. } => write!(f, "{}: unusable image", path.display())?,
            Self::Line { path, line, message } => write!(f, "{}:{line}: {message}", path.display())?,
            Self::File { path, message, .. } => write!(f, "{}: {message}", path.display())?,
            Self::Tensor { path, tensor, message } => {
                write!(f, "{}: tensor {tensor}: {message}", path.display())?;
            }
            Self::Download { url, message, .. } | Self::Server { url, message, .. } => {
                write!(f, "{url}: {message}")?
            }
            Self::Database { database, message, .. } => write!(f, "database {database}: {message}")?,
            Self::Config(message)
            | Self::Reference(message)
            | Self::NonFinite(message)
            | Self::Device(message) => f.write_str(message)?,
            Self::EmptyImage { width, height } => {
                write!(f, "an image of {width} x {height} pixels has nothing in it to be found")?;
            }
            Self::Worker { worker, message, .. } => write!(f, "worker {worker}: {message}")?,
            Self::Training { message, .. } => write!(f, "training failed: {message}")?,
        }
        if f.alternate() {
            let mut cause = self.source();
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Image { source, .. } => Some(source),
            Self::File { source, .. }
            | Self::Database { source, .. }
            | Self::Download { source, .. }
            | Self::Server { source, .. }
            | Self::Worker { source, .. }
            | Self::Training { source, .. } => {
                source.as_ref().map(|source| source.as_ref() as &(dyn StdError + 'static))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_kept_once_and_printed_once() {
        let error = Error::io("board.jpg")(io::Error::new(io::ErrorKind::NotFound, "no such file"));
        assert_eq!(error.to_string(), "cannot access board.jpg");
        assert_eq!(format!("{error:#}"), "cannot access board.jpg: no such file");
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::NotFound));

        let json = serde_json::from_str::<u8>("x").unwrap_err();
        let chain = format!("run.json: not settings: {json}");
        let error = Error::file_because("run.json", "not settings", json);
        assert_eq!(
            (error.to_string().as_str(), format!("{error:#}")),
            ("run.json: not settings", chain.clone())
        );
        assert_eq!(format!("{:#}", anyhow::Error::from(error)), chain);
    }
}
