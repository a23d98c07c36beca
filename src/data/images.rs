//! Image files to pixels.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, ImageReader, RgbImage};

use crate::error::{Error, Result};

/// Decodes a JPEG or PNG file, whatever its extension says; a grey one becomes three equal channels.
///
/// # Errors
/// [`Error::Io`], [`Error::Image`] or, where the file is cut off, [`Error::File`], with the path.
pub fn load_image(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let format = image::guess_format(&bytes).map_err(Error::image(path))?;
    let image = ImageReader::with_format(Cursor::new(&bytes), format).decode().map_err(Error::image(path))?;
    if format == ImageFormat::Jpeg && !is_complete_jpeg(&bytes) {
        return Err(Error::file(path, "the file is cut off: the JPEG has no end marker"));
    }
    Ok(image.into_rgb8())
}

/// The decoder fills what is missing of a JPEG with grey; the end marker tells. Anything may follow it.
fn is_complete_jpeg(bytes: &[u8]) -> bool {
    let is_scan = |marker: &[u8]| marker == [0xFF, 0xDA];
    let scan = bytes.windows(2).rposition(is_scan).unwrap_or(0);
    bytes[scan..].windows(2).any(|marker| marker == [0xFF, 0xD9])
}

/// `(height, width)` of an image file, from its header.
///
/// # Errors
/// [`Error::Io`] and [`Error::Image`] with the path.
pub fn image_size(path: &Path) -> Result<(usize, usize)> {
    // The format is guessed from the content, because the extension of a collected file may lie.
    let reader =
        ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(Error::io(path))?;
    let (width, height) = reader.into_dimensions().map_err(Error::image(path))?;
    Ok((height as usize, width as usize))
}
