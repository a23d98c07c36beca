//! Fixtures that `tests/reference/generate.py` wrote, and the weights that both sides compute.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this")]

mod gpu;

use std::path::PathBuf;

use faster_rcnn::FasterRcnn;
use faster_rcnn::structures::{Image, Xyxy};
use faster_rcnn::weights::{self, NamedTensor};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde_json::Value;

pub use gpu::gpu;

/// A JSON file and the safetensors file beside it.
pub struct Fixture {
    pub json: Value,
    bytes: Vec<u8>,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
        let json = std::fs::read(path.with_extension("json")).unwrap();
        let bytes = std::fs::read(path.with_extension("safetensors")).unwrap();
        Self { json: serde_json::from_slice(&json).unwrap(), bytes }
    }

    /// Shape and elements of a tensor of either type.
    pub fn tensor(&self, key: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(key).unwrap_or_else(|error| panic!("{key}: {error}"));
        let values = match view.dtype() {
            Dtype::F32 => view
                .data()
                .as_chunks::<4>()
                .0
                .iter()
                .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect(),
            Dtype::I64 => {
                view.data().as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes) as f64).collect()
            }
            other => panic!("{key} is {other:?}"),
        };
        (view.shape().to_vec(), values)
    }

    pub fn floats(&self, key: &Value) -> Vec<f32> {
        self.tensor(key.as_str().unwrap()).1.into_iter().map(|value| value as f32).collect()
    }

    pub fn indices(&self, key: &Value) -> Vec<usize> {
        self.tensor(key.as_str().unwrap()).1.into_iter().map(|value| value as usize).collect()
    }

    pub fn boxes(&self, key: &Value) -> Vec<Xyxy> {
        self.floats(key).as_chunks::<4>().0.to_vec()
    }
}

/// `||actual - expected|| / ||expected||`; the plain norm where nothing is expected.
pub fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    match norm(&mut expected.iter().map(|value| f64::from(*value))) {
        0.0 => difference,
        expected => difference / expected,
    }
}

/// The generator that `tests/reference/weights.py` describes: `u` in `[0, 1)` per element.
pub fn unit(name: &str) -> impl Iterator<Item = f64> {
    let key = name.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3)
    });
    (1_u64..).map(move |index| {
        let mut z = key.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1 << 24)
    })
}

/// `(offset, bound)` of a tensor, the table of `tests/reference/weights.py`.
fn rule(name: &str, shape: &[usize]) -> (f64, f64) {
    if shape.len() > 1 {
        let mut parts = name.rsplit('.');
        let (last, before) = (parts.next().unwrap(), parts.next().unwrap());
        let gain = match (before, last) {
            ("conv1" | "conv2" | "conv3" | "fc6" | "fc7", "weight") => 2.0_f64.sqrt(),
            ("bbox_pred", "weight") => 0.3,
            _ => 1.0,
        };
        let fan_in: usize = shape[1..].iter().product();
        return (0.0, gain * (3.0 / fan_in as f64).sqrt());
    }
    match name {
        _ if name.ends_with("running_mean") => (0.0, 0.1),
        _ if name.ends_with("running_var") => (1.0, 0.5),
        _ if name.ends_with("cls_logits.bias") => (-2.0, 0.1),
        _ if name.ends_with(".bias") => (0.0, 0.1),
        _ if name.ends_with(".bn2.weight") => (0.25, 0.125),
        _ => (1.0, 0.5),
    }
}

/// Fills every tensor of a detector from the generator.
pub fn fill(model: FasterRcnn, seed: u64) -> FasterRcnn {
    let tensors = weights::collect(&model)
        .into_iter()
        .map(|NamedTensor { name, shape, values }| {
            let (offset, bound) = rule(&name, &shape);
            let value = |u: f64| (offset + (2.0 * u - 1.0) * bound) as f32;
            let values = unit(&format!("{seed}:{name}")).take(values.len()).map(value).collect();
            NamedTensor { name, shape, values }
        })
        .collect();
    weights::apply(model, tensors).unwrap()
}

/// Blocks of 32x32 pixels under blocks of 8x8 pixels.
pub fn image(name: &str, height: usize, width: usize) -> Image {
    let blocks = |kind: &str, size: usize| {
        let (rows, columns) = (height.div_ceil(size), width.div_ceil(size));
        let grid: Vec<f64> = unit(&format!("{name}/{kind}")).take(3 * rows * columns).collect();
        move |c: usize, y: usize, x: usize| grid[(c * rows + y / size) * columns + x / size]
    };
    let (coarse, fine) = (blocks("coarse", 32), blocks("fine", 8));
    let mut data = Vec::with_capacity(3 * height * width);
    for c in 0..3 {
        for y in 0..height {
            for x in 0..width {
                data.push(((coarse(c, y, x) + fine(c, y, x)) / 2.0) as f32);
            }
        }
    }
    Image::new(data, (height, width))
}
