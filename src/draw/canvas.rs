//! A white picture to draw on, and the PNG file that it becomes.
//!
//! Everything is drawn at twice its size and scaled down, which makes lines and letters smooth.

use std::{path::Path, sync::Once};

use image::{ImageFormat, RgbImage, imageops};
use plotters::{coord::Shift, prelude::*, style::register_font};

use super::style::FONT_FILE;
use crate::error::{Error, Result};
use crate::files::write_atomically;

/// Pixels drawn per pixel written, in each direction.
pub const OVERSAMPLING: i32 = 2;

const FAMILY: &str = "DejaVu Sans";
/// Titles and labels.
pub const INK: RGBColor = RGBColor(40, 40, 45);
/// What is less important than labels.
pub const FAINT: RGBColor = RGBColor(150, 150, 158);

/// What charts are drawn on.
pub type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
/// The result of drawing.
pub type Drawn<T = ()> =
    std::result::Result<T, DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>>;

/// Calls `draw` with a white canvas and writes the result as a PNG file of `(width, height)` pixels.
pub fn picture(path: &Path, (width, height): (u32, u32), draw: impl FnOnce(&Canvas) -> Drawn) -> Result<()> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        let known = register_font(FAMILY, FontStyle::Normal, FONT_FILE);
        assert!(known.is_ok(), "the font is part of the program");
    });
    let (wide, high) = (width * OVERSAMPLING as u32, height * OVERSAMPLING as u32);
    let mut large = RgbImage::from_pixel(wide, high, image::Rgb([255; 3]));
    {
        let canvas = BitMapBackend::with_buffer(&mut large, (wide, high)).into_drawing_area();
        draw(&canvas)
            .and_then(|()| canvas.present())
            .map_err(|error| Error::file(path, format!("the chart cannot be drawn: {error}")))?;
    }
    let small = imageops::thumbnail(&large, width, height);
    write_atomically(path, |temporary| {
        small.save_with_format(temporary, ImageFormat::Png).map_err(Error::image(path))
    })
}

/// The built-in font, `size` pixels high on the canvas.
pub fn font(size: i32) -> FontDesc<'static> {
    (FAMILY, size).into_font()
}
