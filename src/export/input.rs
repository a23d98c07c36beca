//! The start of the graph: pixels to normalised images, and how large the images are.
//!
//! Shape letters: N images, H and W the sides of the input.

use super::graph::{Graph, Size, Value};
use super::options::{OnnxOptions, Pixels};
use super::proto::DataType;
use crate::model::TransformConfig;

/// The batch and its sizes.
pub struct Images {
    /// `[N, 3, H, W]`, normalised, zero where padded.
    pub tensor: Value,
    /// `[N, 4]`: width, height, width, height of each image without its padding, f32.
    pub corners: Value,
    /// All images have the same size, and `corners` is `[1, 4]`.
    pub one_size: bool,
    /// N
    pub batch: Size,
    /// H
    pub height: Size,
    /// W
    pub width: Size,
}

/// The inputs of the graph and what normalises them.
pub fn images(graph: &mut Graph, transform: &TransformConfig, options: &OnnxOptions) -> Images {
    let (height, width) = options.size.unzip();
    let shape = [("N", options.batch), ("3", Some(3)), ("H", height), ("W", width)];
    let (data_type, doc) = match options.pixels {
        Pixels::F32 => (DataType::Float, "RGB images, values in 0..=1, padded at the right and the bottom"),
        Pixels::U8 => (DataType::Uint8, "RGB images, bytes, padded at the right and the bottom"),
    };
    graph.input("images", data_type, &shape, doc);
    let mut size = |fixed: Option<usize>, name: &str, axis| match fixed {
        Some(size) => Size::Fixed(size as i64),
        None => graph.size_of(name, "images", axis),
    };
    let batch = size(options.batch, "batch", 0);
    let (height, width) = (size(height, "height", 2), size(width, "width", 3));

    let sizes = sizes(graph, options, &height, &width);
    let normalized = normalize(graph, transform, options.pixels);
    let tensor = match options.full_images {
        true => normalized,
        false => mask(graph, &normalized, &sizes, &height, &width),
    };
    let sizes = graph.cast("sizes.f32", &sizes, DataType::Float);
    let order = graph.ints(&[1, 0, 1, 0]);
    let corners = graph.gather("corners", &sizes, &order, 1);
    Images { tensor, corners, one_size: options.full_images, batch, height, width }
}

/// Height and width of each image without its padding: `[N, 2]`, or `[1, 2]` where all are the same; i64.
fn sizes(graph: &mut Graph, options: &OnnxOptions, height: &Size, width: &Size) -> Value {
    if options.full_images {
        let sizes = graph.shape("size", &[height.clone(), width.clone()]);
        return graph.reshape("sizes", &sizes, &[1, 2]);
    }
    let doc = "height and width of each image in `images`, in pixels, without the padding";
    graph.input("sizes", DataType::Int64, &[("N", options.batch), ("2", Some(2))], doc);
    "sizes".to_string()
}

/// `(pixels - mean) / std`, of values in `0..=1`.
fn normalize(graph: &mut Graph, transform: &TransformConfig, pixels: Pixels) -> Value {
    let (images, unit) = match pixels {
        Pixels::F32 => ("images".to_string(), 1.0),
        Pixels::U8 => (graph.cast("images.f32", "images", DataType::Float), 255.0),
    };
    let mean = transform.image_mean.map(|mean| mean * unit);
    let std = transform.image_std.map(|std| std * unit);
    let mean = graph.float_tensor("image_mean", &[3, 1, 1], &mean);
    let std = graph.float_tensor("image_std", &[3, 1, 1], &std);
    let centred = graph.op("Sub", "images.centred", &[&images, &mean]);
    graph.op("Div", "images.normalized", &[&centred, &std])
}

/// Zeros what is padding.
fn mask(graph: &mut Graph, images: &str, sizes: &str, height: &Size, width: &Size) -> Value {
    let mut inside = |name: &str, column, size: &Size, shape: &[i64]| {
        let column = graph.ints(&[column]);
        let limit = graph.gather(&format!("{name}.limit"), sizes, &column, 1); // [N, 1]
        let limit = graph.reshape(&format!("{name}.limits"), &limit, &[-1, 1, 1, 1]);
        let positions = range(graph, name, size);
        let positions = graph.reshape(&format!("{name}.positions"), &positions, shape);
        graph.op("Less", &format!("{name}.inside"), &[&positions, &limit])
    };
    let rows = inside("rows", 0, height, &[1, 1, -1, 1]); // [N, 1, H, 1]
    let columns = inside("columns", 1, width, &[1, 1, 1, -1]); // [N, 1, 1, W]
    let inside = graph.op("And", "images.inside", &[&rows, &columns]); // [N, 1, H, W]
    let zero = graph.float(0.0);
    graph.op("Where", "images.padded", &[&inside, images, &zero])
}

/// 0, 1, 2, ... below a size: i64.
pub fn range(graph: &mut Graph, name: &str, size: &Size) -> Value {
    match size {
        Size::Fixed(size) => {
            let values: Vec<i64> = (0..*size).collect();
            graph.int_tensor(&format!("{name}.range"), &[values.len()], &values)
        }
        Size::Dynamic(size) => {
            let size = graph.op("Squeeze", &format!("{name}.count"), &[size]);
            let (zero, one) = (graph.int(0), graph.int(1));
            graph.op("Range", &format!("{name}.range"), &[&zero, &size, &one])
        }
    }
}
