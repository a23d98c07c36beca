//! Image files to pixels.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;
use std::sync::LazyLock;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

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
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<RgbImage> {
    let (decoder, orientation) = open(path, Cursor::new(bytes))?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(Error::image(path))?;
    // The decoder fills what is missing with grey.
    if bytes.starts_with(&jpeg::START) && !jpeg::is_complete(bytes) {
        return Err(Error::file(path, "the file is cut off: the JPEG has no end marker"));
    }
    image.apply_orientation(orientation);
    Ok(rgb(image))
}

/// As the image crate converts, whose way through floating point numbers takes longer for a grey image than
/// decoding does.
fn rgb(image: DynamicImage) -> RgbImage {
    let DynamicImage::ImageLuma8(grey) = image else { return image.into_rgb8() };
    let (width, height) = grey.dimensions();
    let pixels: Vec<[u8; 3]> = grey.as_raw().iter().map(|&value| [value; 3]).collect();
    RgbImage::from_raw(width, height, pixels.into_flattened()).expect("as many pixels as the grey image has")
}

/// `(height, width)` of the image that [`load_image`] gives. Reads the file's header, not its pixels.
///
/// # Errors
///
/// As [`load_image`], except for faults after the header.
pub fn image_size(path: impl AsRef<Path>) -> Result<(usize, usize)> {
    let path = path.as_ref();
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    // The decoder of JPEG files, unlike the others, begins by reading all that it is given.
    if file.fill_buf().map_err(Error::io(path))?.starts_with(&jpeg::START) {
        let header = jpeg::read_header(&mut file).map_err(Error::io(path))?;
        return upright_size(path, Cursor::new(header));
    }
    upright_size(path, file)
}

/// [`image_size`] of a file whose content is at hand.
#[cfg(feature = "tables")]
pub(super) fn size_of(path: &Path, bytes: &[u8]) -> Result<(usize, usize)> {
    upright_size(path, Cursor::new(bytes))
}

/// `(height, width)` with the orientation applied.
fn upright_size(path: &Path, file: impl BufRead + Seek) -> Result<(usize, usize)> {
    let (decoder, orientation) = open(path, file)?;
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
fn open<'a>(
    path: &Path,
    mut file: impl BufRead + Seek + 'a,
) -> Result<(impl ImageDecoder + 'a, Orientation)> {
    static LIMIT: LazyLock<Result<u64, String>> = LazyLock::new(|| {
        let Some(value) = env::var_os(MOST_PIXELS_VARIABLE) else { return Ok(MOST_PIXELS) };
        let number = value.to_str().and_then(|value| value.trim().parse().ok());
        number.ok_or_else(|| format!("{MOST_PIXELS_VARIABLE} must be a number of pixels, is {value:?}"))
    });
    let limit = LIMIT.clone().map_err(Error::Config)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit.saturating_mul(MOST_BYTES_PER_PIXEL));

    // The format is guessed from the content, because the extension may be wrong.
    let start = file.fill_buf().map_err(Error::io(path))?;
    let format = image::guess_format(start).map_err(Error::image(path))?;
    let mut reader = ImageReader::with_format(file, format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(Error::image(path))?;
    let (width, height) = decoder.dimensions();
    check_pixels(path, (width, height), limit)?;
    // Metadata that cannot be read is no reason to refuse the pixels.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
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

#[cfg(test)]
mod tests {
    use image::GrayImage;
    use rand::RngExt;

    use super::*;
    use crate::data::RandomKey;

    #[test]
    fn grey_becomes_what_the_image_crate_makes_of_it() {
        let grey = DynamicImage::from(GrayImage::from_fn(256, 3, |x, y| image::Luma([(x + y) as u8])));
        assert_eq!(rgb(grey.clone()), grey.into_rgb8());
    }

    /// Also of files that are damaged: mostly in the header, where markers, lengths and sizes are.
    #[test]
    fn the_header_of_a_jpeg_gives_what_the_whole_file_gives() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut rng = RandomKey { seed: 0, epoch: 0, image: 0 }.generator();
        let (mut sizes, mut faults, mut shorter) = (0, 0, 0);
        for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "jpg")) {
            let whole = fs::read(&path).unwrap();
            for round in 0..400 {
                let mut file = whole.clone();
                for _ in 0..round % 4 {
                    let at = rng.random_range(jpeg::START.len()..file.len().min(700));
                    file[at] = [rng.random(), 0xFF, 0, 1][rng.random_range(0..4)];
                }
                let header = jpeg::read_header(&mut &file[..]).unwrap();
                shorter += usize::from(header.len() < file.len());
                match (upright_size(&path, Cursor::new(&header)), upright_size(&path, Cursor::new(&file))) {
                    (Ok(of_header), Ok(of_file)) => {
                        assert_eq!(of_header, of_file, "{}", path.display());
                        sizes += 1;
                    }
                    (Err(_), Err(_)) => faults += 1,
                    (of_header, of_file) => panic!("{}: {of_header:?}, {of_file:?}", path.display()),
                }
            }
        }
        let counts = [sizes, faults, shorter];
        assert!(sizes > 1000 && faults > 100 && shorter > 1000, "sizes, faults, shorter: {counts:?}");
    }
}
