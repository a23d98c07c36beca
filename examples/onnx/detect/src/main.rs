//! What an exported detector finds in an image: `cargo run --release -- model.onnx board.png
//! [reference.png]`.
//!
//! `ORT_DYLIB_PATH` names the library of ONNX Runtime. The model takes f32 images of any size: export it
//! without `--size`.

use std::env;

use anyhow::{Context, Result};
use ndarray::{Array2, Array4};
use ort::session::Session;
use ort::value::TensorRef;

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let (model, path) = arguments.next().zip(arguments.next()).context("detect MODEL IMAGE")?;
    let environment = ort::init().build()?;
    let mut session = Session::builder(&environment)?.commit_from_file(model)?;
    let setting =
        |key: &str| session.metadata()?.custom(key).with_context(|| format!("the model has no {key}"));
    let (min, max): (f64, f64) = (setting("min_size")?.parse()?, setting("max_size")?.parse()?);
    let names: Vec<String> = serde_json::from_str(&setting("class_names")?)?;

    // Bilinear with half-pixel centres and without antialiasing, as in training.
    let mut image = image::open(path)?.to_rgb8();
    if setting("reference")? == "difference" {
        // The detector sees the image, its reference, and what differs, all grey.
        let reference = image::open(arguments.next().context("detect MODEL IMAGE REFERENCE")?)?.to_luma8();
        let grey = image::imageops::grayscale(&image);
        anyhow::ensure!(reference.dimensions() == image.dimensions(), "the reference has another size");
        for ((pixel, a), b) in image.pixels_mut().zip(grey.as_raw()).zip(reference.as_raw()) {
            pixel.0 = [*a, *b, a.abs_diff(*b)];
        }
    }
    let (old_width, old_height) = (image.width() as f64, image.height() as f64);
    let scale = (min / old_width.min(old_height)).min(max / old_width.max(old_height));
    let (height, width) = ((old_height * scale) as usize, (old_width * scale) as usize);
    let along = |at: usize, old: f64, new: usize| {
        let at = ((at as f64 + 0.5) * old / new as f64 - 0.5).max(0.0);
        (at as u32, (at as u32 + 1).min(old as u32 - 1), at.fract() as f32)
    };
    let sides = (1, 3, height.next_multiple_of(32), width.next_multiple_of(32));
    let images = Array4::from_shape_fn(sides, |(_, channel, y, x)| {
        if y >= height || x >= width {
            return 0.0; // padding
        }
        let (top, bottom, down) = along(y, old_height, height);
        let (left, right, over) = along(x, old_width, width);
        let at = |x, y| f32::from(image.get_pixel(x, y)[channel]) / 255.0;
        let row = |y| at(left, y) * (1.0 - over) + at(right, y) * over;
        row(top) * (1.0 - down) + row(bottom) * down
    });
    let sizes = Array2::from_shape_vec((1, 2), vec![height as i64, width as i64])?;

    let images = TensorRef::from_array_view(&images)?;
    let sizes = TensorRef::from_array_view(&sizes)?;
    let found = session.run(ort::inputs!["images" => images, "sizes" => sizes])?;
    let count = found["num_detections"].try_extract_array::<i64>()?[0] as usize;
    let (boxes, scores) = (found["boxes"].try_extract_array()?, found["scores"].try_extract_array::<f32>()?);
    let labels = found["labels"].try_extract_array::<i64>()?;
    let (x, y) = (old_width as f32 / width as f32, old_height as f32 / height as f32);
    for row in 0..count {
        let side = |side: usize| -> f32 { boxes[[0, row, side]] };
        let name = names.get(labels[[0, row]] as usize - 1).map_or("?", String::as_str);
        println!("{name} {:.3} {:?}", scores[[0, row]], [side(0) * x, side(1) * y, side(2) * x, side(3) * y]);
    }
    Ok(())
}
