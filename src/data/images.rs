//! Image files to pixels.

use std::env;
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::jpeg;
use crate::error::{Error, Result};

/// Extensions of image files, in small or capital letters.
pub(super) const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp"];

/// Names the environment variable that raises (or lowers) [`MOST_PIXELS`].
const MOST_PIXELS_VARIABLE: &str = "FASTER_RCNN_MAX_IMAGE_PIXELS";

/// The most pixels of an image, 16384 x 16384. A file of some kilobytes can ask for any number of them. A
/// pixel takes 3 bytes once it is decoded and 12 more as the floating point numbers that the model takes, so
/// the largest image takes 4 GiB.
const MOST_PIXELS: u64 = 1 << 28;

/// The most bytes of a decoded pixel: four channels of 32 bits. The decoder's memory limit is the pixel limit
/// times this.
const MOST_BYTES_PER_PIXEL: u64 = 16;

/// Decodes a JPEG, PNG, BMP, TIFF or WebP file, whatever its extension says.
///
/// The pixels are those of Pillow's `ImageOps.exif_transpose(image).convert("RGB")`, but for a rounding: an
/// image that is stored turned or mirrored (EXIF's orientation) is put upright, a grey one becomes three
/// equal channels, and transparency is left out. 16 bits a channel become 8 by division by 257.
///
/// An image may have 2^28 pixels, which take 0.8 GB. The environment variable `FASTER_RCNN_MAX_IMAGE_PIXELS`
/// sets another limit.
///
/// # Errors
///
/// [`Error::Io`]; [`Error::Image`] for what cannot be decoded; [`Error::File`] where the file is cut off or
/// the image has too many pixels. Each has the path.
pub fn load_image(path: impl AsRef<Path>) -> Result<RgbImage> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(Error::io(path))?;
    decode(path, &bytes)
}

/// [`load_image`] of a file whose content is at hand.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage> {
    let (decoder, orientation) = open(path, bytes)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(Error::image(path))?;
    // The decoder fills what is missing with grey.
    if bytes.starts_with(&jpeg::START) && !jpeg::is_complete(bytes) {
        return Err(Error::file(path, "the file is cut off: the JPEG has no end marker"));
    }
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// `(height, width)` of the image that [`load_image`] gives, from the file's header.
///
/// # Errors
///
/// As [`load_image`], except for faults after the header.
pub fn image_size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(Error::io(path))?;
    size_of(path, &bytes)
}

/// [`image_size`] of a file whose content is at hand.
pub(super) fn size_of(path: &Path, bytes: &[u8]) -> Result<(usize, usize)> {
    let (decoder, orientation) = open(path, bytes)?;
    let (width, height) = decoder.dimensions();
    let lies_on_its_side = matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    let (height, width) = if lies_on_its_side { (width, height) } else { (height, width) };
    Ok((height as usize, width as usize))
}

/// A decoder that has read the header, and the orientation to apply to its output.
fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(impl ImageDecoder + 'a, Orientation)> {
    static LIMIT: LazyLock<Result<u64, String>> = LazyLock::new(|| {
        let Some(value) = env::var_os(MOST_PIXELS_VARIABLE) else { return Ok(MOST_PIXELS) };
        let number = value.to_str().and_then(|value| value.trim().parse().ok());
        number.ok_or_else(|| format!("{MOST_PIXELS_VARIABLE} must be a number of pixels, is {value:?}"))
    });
    let limit = LIMIT.clone().map_err(Error::Config)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit.saturating_mul(MOST_BYTES_PER_PIXEL));

    // The format is guessed from the content, because the extension may be wrong.
    let format = image::guess_format(bytes).map_err(Error::image(path))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(Error::image(path))?;
    let (width, height) = decoder.dimensions();
    check_pixels(path, (width, height), limit)?;
    let orientation = match format {
        // The decoder gives no metadata of a TIFF file. What EXIF keeps in other formats is itself a TIFF
        // file.
        ImageFormat::Tiff => Orientation::from_exif_chunk(bytes).unwrap_or(Orientation::NoTransforms),
        // Metadata that cannot be read is no reason to refuse the pixels.
        _ => decoder.orientation().unwrap_or(Orientation::NoTransforms),
    };
    Ok((decoder, orientation))
}

fn check_pixels(path: &Path, (width, height): (u32, u32), limit: u64) -> Result<()> {
    if u64::from(width) * u64::from(height) <= limit {
        return Ok(());
    }
    let message = format!(
        "an image of {width} x {height} pixels has more than the {limit} that are read; the environment \
         variable {MOST_PIXELS_VARIABLE} sets another limit"
    );
    Err(Error::file(path, message))
}
