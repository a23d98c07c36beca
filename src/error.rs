//! Everything that can go wrong with a user's files and settings. Shape misuse by a caller panics instead.

use std::path::{Path, PathBuf};

/// Result of the library's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not an image that can be decoded (or could not be encoded).
    #[error("{}: {source}", path.display())]
    Image {
        /// The image file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// A line of a label or list file is malformed.
    #[error("{}:{line}: {message}", path.display())]
    Line {
        /// The text file.
        path: PathBuf,
        /// Line number, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A file as a whole is not what it should be (config, JSON, weights, checkpoint, data set).
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor of a weight file is not what it should be.
    #[error("{}: tensor {tensor}: {message}", path.display())]
    Tensor {
        /// The weight file.
        path: PathBuf,
        /// The tensor, by its name in the file, or by torchvision's where it is missing.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file could not be downloaded.
    #[error("{url}: {message}")]
    Download {
        /// Where it was to come from.
        url: String,
        /// What went wrong and what to do.
        message: String,
    },
    /// A setting is outside what makes sense.
    #[error("{0}")]
    Config(String),
    /// An image has no pixels.
    #[error("an image of {width} x {height} pixels has nothing in it to be found")]
    EmptyImage {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// Training or inference produced a NaN or an infinity.
    #[error("{0}")]
    NonFinite(String),
    /// A worker cannot be used, or was lost.
    #[error("worker {worker}: {cause}")]
    Worker {
        /// Where it is.
        worker: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Training stopped for another reason.
    #[error("training failed: {0}")]
    Training(String),
}

impl Error {
    /// For `map_err` on file system calls: `std::fs::read(path).map_err(Error::io(path))`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
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
        Self::File { path: path.as_ref().to_path_buf(), message: message.to_string() }
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
}
