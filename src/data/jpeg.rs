//! Where the parts of a JPEG file begin and end: whether it was cut off, and what its header is.
//!
//! A file is a chain of segments, each a marker (`FF` and a code) and most with a length. The entropy-coded
//! data of a scan follows the segment `FF DA` and has no length: it goes on to the next marker. (ITU T.81,
//! B.1.1)

use std::io::{self, Read};

/// What a JPEG file begins with: the marker of its start, and the first byte of the next marker.
pub(super) const START: [u8; 3] = [0xFF, 0xD8, 0xFF];

const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Bytes that are read at first. The header of a file without metadata has some hundred.
const FIRST_READ: usize = 512;

/// Whether the end marker of the image is there. Bytes after it are ignored. So are the bytes inside
/// segments, such as the thumbnail in EXIF data, which is a JPEG itself.
pub(super) fn is_complete(bytes: &[u8]) -> bool {
    reaches(END_OF_IMAGE, bytes)
}

/// Reads a file no further than it needs to tell the image's size and its metadata: to the header of the
/// first scan, and at most as much again. Reads a file without a scan to its end.
pub(super) fn read_header(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        // Twice as much each time, so that looking for the scan again costs no more than reading.
        let more = bytes.len().max(FIRST_READ);
        let read = file.take(more as u64).read_to_end(&mut bytes)?;
        if read < more || reaches(START_OF_SCAN, &bytes) {
            return Ok(bytes);
        }
    }
}

/// Whether a marker is among the first ones of a file, up to the end of the image, with its whole segment.
fn reaches(wanted: u8, bytes: &[u8]) -> bool {
    let mut rest = &bytes[START.len() - 1..];
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            // Markers without a segment: TEM, restarts, the end, and a start of image where none belongs.
            0x01 | 0xD0..=END_OF_IMAGE => after,
            _ => {
                let Some(&[high, low]) = after.first_chunk::<2>() else { return false };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(behind) = after.get(length..) else { return false };
                behind
            }
        };
        match marker {
            _ if marker == wanted => return true,
            END_OF_IMAGE => return false,
            START_OF_SCAN => rest = skip_scan(rest),
            _ => {}
        }
    }
    false
}

/// The code of the next marker, and what follows it. As decoders do, skips bytes that do not belong between
/// segments.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let at = bytes.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0xFF && pair[1] != 0)?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

/// What follows the entropy-coded data of a scan. In it, `FF 00` is a byte `FF`, and restart markers belong
/// to it.
fn skip_scan(bytes: &[u8]) -> &[u8] {
    let is_end = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7 | 0xFF);
    &bytes[bytes.windows(2).position(is_end).unwrap_or(bytes.len())..]
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{GrayImage, Luma};

    use super::*;

    fn file() -> Vec<u8> {
        let image = GrayImage::from_fn(64, 48, |x, y| Luma([(x * 37 + y * 91) as u8]));
        let mut bytes = Vec::new();
        image.write_with_encoder(JpegEncoder::new(&mut bytes)).unwrap();
        bytes
    }

    #[test]
    fn a_file_is_complete_with_its_end_marker_alone() {
        let whole = file();
        assert!(whole.starts_with(&START) && is_complete(&whole));
        for length in START.len()..whole.len() {
            assert!(!is_complete(&whole[..length]), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn bytes_after_the_image_are_allowed_whatever_they_are() {
        for after in [&b"\xFF\xDA"[..], b"\xFF\xDA\x00\x0C\x01", b"\0\0", b"\xFF", &file()[..300]] {
            assert!(is_complete(&[&file(), after].concat()), "{after:x?}");
        }
        // They do not complete an image that was cut off, either, if they hold no end marker.
        let whole = file();
        assert!(!is_complete(&[&whole[..whole.len() - 2], &b"\xFF\xDA\x00\x0C"[..]].concat()));
    }

    #[test]
    fn a_thumbnail_in_the_metadata_does_not_end_the_image() {
        let (whole, thumbnail) = (file(), file());
        let length = (thumbnail.len() + 2) as u16;
        let segment = [&[0xFF, 0xE1][..], &length.to_be_bytes(), &thumbnail].concat();
        let with = [&whole[..2], &segment, &whole[2..]].concat();
        assert!(is_complete(&with));
        assert!(!is_complete(&with[..with.len() - 2]));
        assert!(!is_complete(&with[..segment.len() + 2]));
    }

    #[test]
    fn a_header_is_read_without_the_pixels() {
        let noise =
            GrayImage::from_fn(800, 800, |x, y| Luma([((x * y).wrapping_mul(2_654_435_761) >> 7) as u8]));
        let mut whole = Vec::new();
        noise.write_with_encoder(JpegEncoder::new(&mut whole)).unwrap();
        let metadata = [&[0xFF, 0xE2, 0xFF, 0xFF][..], &[7; 0xFFFF - 2]].concat().repeat(2);
        let with = [&whole[..2], &metadata, &whole[2..]].concat();
        assert!(whole.len() > 64 * FIRST_READ && with.len() > 5 * metadata.len() / 2);
        for (file, most) in [(&whole, 2 * FIRST_READ), (&with, 2 * metadata.len())] {
            let header = read_header(&mut &file[..]).unwrap();
            assert!(header.len() <= most && file.starts_with(&header) && reaches(START_OF_SCAN, &header));
        }
        // A file without a scan is read to its end.
        let cut = &with[..metadata.len()];
        assert_eq!(read_header(&mut &cut[..]).unwrap(), cut);
    }
}
