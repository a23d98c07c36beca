//! Images of clients: bytes to pixels and back. All of it is work for threads that may block.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use axum::body::Bytes;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageDecoder, ImageFormat, ImageReader, RgbImage, imageops};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;

use super::limits::{Held, Memory};
use super::refusal::Refusal;
use crate::data::decode_image;

/// Bytes of a pixel that is decoded.
const PIXEL: u64 = 3;

/// The longer side of a thumbnail, in pixels.
const THUMBNAIL_SIDE: u32 = 256;

/// Stored images that are made into other pictures at a time, or wait for a thread. Further ones are refused.
const MOST_VIEWS: usize = 128;

/// Small images are enlarged before they are drawn on. The result has at most this many bytes.
const ENLARGED: usize = 2 << 20;

/// A decoded image, with the memory that is taken for it.
#[derive(Debug)]
pub struct Picture {
    pub pixels: RgbImage,
    pub media_type: &'static str,
    #[allow(dead_code, reason = "held until it is dropped")]
    held: Held,
}

/// The threads that decode, draw and encode: as many as the machine has cores.
#[derive(Debug, Clone)]
pub struct Studio {
    threads: Arc<Semaphore>,
    views: Arc<Semaphore>,
    memory: Memory,
    most_pixels: u64,
}

/// What the first bytes of an image say.
struct Header {
    format: ImageFormat,
    pixels: u64,
    /// Bytes that the decoder writes.
    decoded: u64,
}

impl Studio {
    pub fn new(memory: Memory, most_pixels: u64) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (threads, views) = (Arc::new(Semaphore::new(cores)), Arc::new(Semaphore::new(MOST_VIEWS)));
        Self { threads, views, memory, most_pixels }
    }

    /// A place for a stored image that is made into another picture, or a refusal.
    pub fn enter(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |_| Refusal::unavailable("too many pictures are asked for at once; try again soon");
        self.views.clone().try_acquire_owned().map_err(full)
    }

    /// Makes the file of a picture from that of a stored image. Its memory is taken until it is sent.
    pub async fn view(
        &self,
        file: Bytes,
        make: impl FnOnce(&RgbImage) -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Result<Bytes, Refusal> {
        let studio = self.clone();
        let work = move || {
            let picture = studio.decode_here("the stored image", &file)?;
            drop(file);
            // What is drawn has these pixels again, and so at most has its file.
            let bytes = picture.pixels.as_raw().len().max(ENLARGED);
            let mut held = studio.memory.take(bytes.saturating_mul(2))?;
            let mut made = make(&picture.pixels)?;
            made.shrink_to_fit();
            held.shrink(made.len());
            Ok(held.with(made))
        };
        self.work(work).await
    }

    /// Does some work on a thread that may block, when one is free.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let gone = |_| Refusal::unavailable("the server ends");
        let permit = self.threads.clone().acquire_owned().await.map_err(gone)?;
        let done = task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.unwrap_or_else(|error| Err(Refusal::internal("the server failed at this image", error)))
    }

    /// Decodes an image, which messages call `name`. Its pixels are counted before memory is spent on them.
    pub async fn decode(&self, name: String, bytes: Bytes) -> Result<Picture, Refusal> {
        let studio = self.clone();
        self.work(move || studio.decode_here(&name, &bytes)).await
    }

    /// [`decode`](Self::decode) on this thread.
    pub fn decode_here(&self, name: &str, bytes: &[u8]) -> Result<Picture, Refusal> {
        let header = header(name, bytes)?;
        if header.pixels > self.most_pixels {
            let (pixels, most) = (header.pixels, self.most_pixels);
            return Err(Refusal::too_large(format!("{name} has {pixels} pixels; at most {most} are taken")));
        }
        let held = self.take(header.pixels * PIXEL)?;
        let decoding = self.take(header.decoded)?;
        let fault = |error| Refusal::bad_request(format!("{error:#}"));
        let pixels = decode_image(Path::new(name), bytes).map_err(fault)?;
        drop(decoding);
        if pixels.width() == 0 || pixels.height() == 0 {
            return Err(Refusal::bad_request(format!("{name} has no pixels")));
        }
        Ok(Picture { pixels, media_type: header.format.to_mime_type(), held })
    }

    fn take(&self, bytes: u64) -> Result<Held, Refusal> {
        self.memory.take(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

impl Picture {
    /// With other pixels of the same size.
    pub fn with_pixels(self, pixels: RgbImage) -> Self {
        Self { pixels, ..self }
    }
}

fn header(name: &str, bytes: &[u8]) -> Result<Header, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::bad_request(format!("{name} has no bytes")));
    }
    let unknown = |_| {
        Refusal::new(
            axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("{name} is no image: JPEG, PNG, BMP, TIFF and WebP are taken"),
        )
    };
    let format = image::guess_format(bytes).map_err(unknown)?;
    let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder();
    let decoder = decoder.map_err(|error| match error {
        image::ImageError::Unsupported(_) => unknown(error),
        error => Refusal::bad_request(format!("{name} cannot be decoded: {error}")),
    })?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    Ok(Header { format, pixels, decoded: decoder.total_bytes() })
}

/// A PNG file.
pub fn to_png(image: &RgbImage) -> Result<Vec<u8>, Refusal> {
    let mut png = Cursor::new(Vec::new());
    image
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Refusal::internal("the picture cannot be encoded", error))?;
    Ok(png.into_inner())
}

/// A small JPEG file. An image that is small already keeps its size.
pub fn to_thumbnail(image: &RgbImage) -> Result<Vec<u8>, Refusal> {
    let (width, height) = image.dimensions();
    let longer = width.max(height).max(1);
    let side = |side: u32| {
        let scaled = u64::from(side) * u64::from(THUMBNAIL_SIDE) / u64::from(longer);
        if longer > THUMBNAIL_SIDE { u32::try_from(scaled).unwrap_or(THUMBNAIL_SIDE).max(1) } else { side }
    };
    let small = imageops::thumbnail(image, side(width), side(height));
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 80)
        .encode_image(&small)
        .map_err(|error| Refusal::internal("the picture cannot be encoded", error))?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    fn studio(memory: usize) -> Studio {
        Studio::new(Memory::new(memory), 10_000)
    }

    #[test]
    fn an_image_is_decoded_where_its_pixels_are_allowed() {
        let memory = 1 << 20;
        let studio = studio(memory);
        let png = |width, height| to_png(&RgbImage::new(width, height)).unwrap();
        let picture = studio.decode_here("image 1", &png(100, 100)).unwrap();
        assert_eq!((picture.pixels.dimensions(), picture.media_type), ((100, 100), "image/png"));
        assert_eq!(studio.memory.free(), memory - 30 * 1024);
        drop(picture);
        assert_eq!(studio.memory.free(), memory);

        let status = |bytes: &[u8]| studio.decode_here("image 1", bytes).unwrap_err().status();
        assert_eq!(status(&png(100, 101)), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(status(b""), StatusCode::BAD_REQUEST);
        assert_eq!(status(b"no image"), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(status(b"GIF89a\x01\x00\x01\x00"), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let whole = png(90, 90);
        // Without its last chunk, or the sum before it, a PNG has all of its pixels.
        for cut in 8..whole.len() - 20 {
            assert_eq!(status(&whole[..cut]), StatusCode::BAD_REQUEST, "{cut} of {}", whole.len());
        }
        let small = Studio::new(Memory::new(1000), 10_000).decode_here("image 1", &whole).unwrap_err();
        assert_eq!(small.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let taken = studio.memory.take(memory).unwrap();
        let busy = studio.decode_here("image 1", &whole).unwrap_err();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(taken);
        assert_eq!(studio.memory.free(), memory);
    }

    #[tokio::test]
    async fn a_view_holds_its_memory_until_it_is_sent() {
        let memory = 8 << 20;
        let studio = studio(memory);
        let png = to_png(&RgbImage::new(90, 90)).unwrap();
        let file = studio.memory.take(png.len()).unwrap().with(png);
        let view = studio.view(file, to_png).await.unwrap();
        assert_eq!(studio.memory.free(), memory - view.len().next_multiple_of(1024));
        drop(view);
        assert_eq!(studio.memory.free(), memory);

        let places: Vec<_> = (0..MOST_VIEWS).map(|_| studio.enter().unwrap()).collect();
        assert_eq!(studio.enter().unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(places);
        assert!(studio.enter().is_ok());
    }

    #[test]
    fn thumbnails_keep_the_shape() {
        let size = |width, height| {
            let jpeg = to_thumbnail(&RgbImage::new(width, height)).unwrap();
            image::load_from_memory(&jpeg).unwrap().to_rgb8().dimensions()
        };
        assert_eq!(size(640, 320), (256, 128));
        assert_eq!(size(100, 50), (100, 50));
        assert_eq!(size(2000, 2), (256, 1));
    }
}
