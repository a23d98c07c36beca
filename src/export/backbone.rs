//! ResNet and pyramid: images to P2..P6. Which blocks there are is read from the names of the weights.
//!
//! Mirrors `model/resnet.rs` and `model/fpn.rs`.

use super::graph::{Attribute, Graph, Value};
use super::layers::Weights;
use crate::error::Result;
use crate::model::{FasterRcnnConfig, NormKind};

/// `[N, 3, H, W]` to P2..P6, at strides of 4 to 64.
///
/// # Errors
///
/// As [`Weights::conv`].
pub fn pyramid(
    graph: &mut Graph,
    weights: &mut Weights,
    config: &FasterRcnnConfig,
    images: &str,
) -> Result<Vec<Value>> {
    let maps = resnet(graph, weights, config.norm, images)?;
    fpn(graph, weights, config.fpn_norm, &maps)
}

/// To C2..C5.
fn resnet(graph: &mut Graph, weights: &mut Weights, norm: NormKind, images: &str) -> Result<Vec<Value>> {
    let stem = weights.conv(graph, "backbone.body.conv1", Some((norm, "backbone.body.bn1")), 2)?;
    let x = stem.apply(graph, "backbone.body.conv1", images);
    let x = graph.op("Relu", "backbone.body.relu", &[&x]);
    let mut x = max_pool(graph, "backbone.body.maxpool", &x, 3);
    let mut maps = Vec::with_capacity(4);
    for layer in 1..=4 {
        for block in 0.. {
            let name = format!("backbone.body.layer{layer}.{block}");
            if !weights.has(&format!("{name}.conv1.weight")) {
                break;
            }
            let stride = if layer > 1 && block == 0 { 2 } else { 1 };
            x = residual(graph, weights, norm, &name, stride, &x)?;
        }
        maps.push(x.clone());
    }
    Ok(maps)
}

/// A block: two 3x3 convolutions, or a bottleneck, whose stride is on the 3x3 convolution.
fn residual(
    graph: &mut Graph,
    weights: &mut Weights,
    norm: NormKind,
    name: &str,
    stride: usize,
    x: &str,
) -> Result<Value> {
    let bottleneck = weights.has(&format!("{name}.conv3.weight"));
    let strided = if bottleneck { 2 } else { 1 };
    let last = if bottleneck { 3 } else { 2 };
    let shortcut = match weights.has(&format!("{name}.downsample.0.weight")) {
        true => {
            let [conv, bn] = [0, 1].map(|part| format!("{name}.downsample.{part}"));
            weights.conv(graph, &conv, Some((norm, &bn)), stride)?.apply(graph, &conv, x)
        }
        false => x.to_string(),
    };
    let mut x = x.to_string();
    for number in 1..=last {
        let (conv, bn) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
        let stride = if number == strided { stride } else { 1 };
        x = weights.conv(graph, &conv, Some((norm, &bn)), stride)?.apply(graph, &conv, &x);
        if number < last {
            x = graph.op("Relu", &format!("{name}.relu{number}"), &[&x]);
        }
    }
    let sum = graph.op("Add", &format!("{name}.sum"), &[&x, &shortcut]);
    Ok(graph.op("Relu", &format!("{name}.relu"), &[&sum]))
}

/// C2..C5 to P2..P6.
fn fpn(
    graph: &mut Graph,
    weights: &mut Weights,
    norm: Option<NormKind>,
    maps: &[Value],
) -> Result<Vec<Value>> {
    let mut pyramid = Vec::with_capacity(maps.len() + 1);
    let mut above: Option<Value> = None;
    for (index, map) in maps.iter().enumerate().rev() {
        let mut block = |graph: &mut Graph, kind: &str, x: &str| {
            let [conv, bn] = [0, 1].map(|part| format!("backbone.fpn.{kind}.{index}.{part}"));
            let conv_norm = weights.conv(graph, &conv, norm.map(|norm| (norm, bn.as_str())), 1)?;
            Ok(conv_norm.apply(graph, &conv, x))
        };
        let mut inner = block(graph, "inner_blocks", map)?;
        if let Some(above) = above {
            let upsampled = upsample(graph, &format!("backbone.fpn.upsampled.{index}"), &above);
            inner = graph.op("Add", &format!("backbone.fpn.sum.{index}"), &[&inner, &upsampled]);
        }
        pyramid.push(block(graph, "layer_blocks", &inner)?);
        above = Some(inner);
    }
    pyramid.reverse();
    let p5 = pyramid.last().expect("C5 gives P5").clone();
    pyramid.push(max_pool(graph, "backbone.fpn.pool", &p5, 1));
    Ok(pyramid)
}

/// To twice the size, each pixel four times. The sides of a map are half those of the one below, because the
/// sides of the input are multiples of 32.
fn upsample(graph: &mut Graph, name: &str, x: &str) -> Value {
    let scales = graph.floats(&[1.0, 1.0, 2.0, 2.0]);
    let attributes = [
        ("mode", Attribute::Text("nearest")),
        ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
        ("nearest_mode", Attribute::Text("floor")),
    ];
    graph.op_with("Resize", name, &[x, "", &scales], &attributes)
}

/// Over a window of `kernel` pixels, to half the size, rounded up.
fn max_pool(graph: &mut Graph, name: &str, x: &str, kernel: i64) -> Value {
    let attributes = [
        ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
        ("pads", Attribute::Ints(vec![kernel / 2; 4])),
        ("strides", Attribute::Ints(vec![2; 2])),
    ];
    graph.op_with("MaxPool", name, &[x], &attributes)
}
