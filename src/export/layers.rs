//! Convolutions with their norms and linear layers, as nodes.
//!
//! Weights come by torchvision's names. A batch norm is folded into the convolution before it, so that only
//! the convolution's weight and bias are in the graph.

use std::collections::HashMap;

use burn::nn::BatchNormConfig;
use half::f16;

use super::graph::{Attribute, Graph, Value};
use super::proto::DataType;
use crate::error::{Error, Result};
use crate::model::{FasterRcnn, NormKind};
use crate::weights::{NamedTensor, collect};

/// Groups of a group norm.
const GROUPS: usize = 32;
/// What group norms add to the variance: PyTorch's default.
const GROUP_NORM_EPSILON: f32 = 1e-5;

/// The weights of a detector that are not in the graph yet.
pub struct Weights {
    tensors: HashMap<String, NamedTensor>,
    frozen_epsilon: f64,
    half: bool,
}

/// A convolution whose weights are in the graph. It can be used several times.
pub struct Conv {
    weight: Value,
    bias: Value,
    kernel: usize,
    stride: usize,
    group_norm: Option<GroupNorm>,
}

struct GroupNorm {
    /// `[C, 1, 1]`
    weight: Value,
    /// `[C, 1, 1]`
    bias: Value,
}

/// A linear layer whose weights are in the graph.
pub struct Linear {
    weight: Value,
    bias: Value,
}

impl Weights {
    /// The weights of a detector; matrices and kernels will be stored as f16 if `half` is set.
    ///
    /// # Errors
    ///
    /// [`Error::NonFinite`] names a tensor with a NaN, or an infinity, or a value that f16 cannot hold.
    pub fn new(model: &FasterRcnn, half: bool) -> Result<Self> {
        let tensors = collect(model);
        for NamedTensor { name, values, .. } in &tensors {
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                return Err(Error::NonFinite(format!("tensor {name} has a value of {value}")));
            }
        }
        let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        Ok(Self { tensors, frozen_epsilon: model.config().frozen_epsilon, half })
    }

    /// Whether there is a tensor of this name that is not in the graph yet.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Names of the tensors that are not in the graph yet.
    pub fn left(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }

    fn take(&mut self, name: &str) -> NamedTensor {
        self.tensors.remove(name).unwrap_or_else(|| panic!("the detector has no tensor {name}"))
    }

    /// A convolution, `conv`, with the norm of another name after it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), for weights after the norm is folded into them.
    pub fn conv(
        &mut self,
        graph: &mut Graph,
        conv: &str,
        norm: Option<(NormKind, &str)>,
        stride: usize,
    ) -> Result<Conv> {
        let mut weight = self.take(&format!("{conv}.weight"));
        let outputs = weight.shape[0];
        let bias = format!("{conv}.bias");
        let mut group_norm = None;
        let bias = match norm {
            None => self.take(&bias).values,
            Some((NormKind::Group, norm)) => {
                group_norm = Some(self.group_norm(graph, norm, outputs));
                vec![0.0; outputs]
            }
            Some((kind, norm)) => self.fold(&mut weight, norm, kind)?,
        };
        let kernel = weight.shape[3];
        Ok(Conv {
            bias: self.vector(graph, &format!("{conv}.bias"), &[outputs], &bias),
            weight: self.matrix(graph, &weight)?,
            kernel,
            stride,
            group_norm,
        })
    }

    /// A linear layer.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn linear(&mut self, graph: &mut Graph, name: &str) -> Result<Linear> {
        let weight = self.take(&format!("{name}.weight"));
        let NamedTensor { name, shape, values } = self.take(&format!("{name}.bias"));
        Ok(Linear { bias: self.vector(graph, &name, &shape, &values), weight: self.matrix(graph, &weight)? })
    }

    /// Scales the weight as a batch norm does, and gives the bias that it adds.
    fn fold(&mut self, weight: &mut NamedTensor, norm: &str, kind: NormKind) -> Result<Vec<f32>> {
        let epsilon = match kind {
            NormKind::FrozenBatch => self.frozen_epsilon,
            _ => BatchNormConfig::new(1).epsilon,
        };
        let mut part = |part| self.take(&format!("{norm}.{part}")).values;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map(&mut part);
        let row = weight.values.len() / weight.shape[0];
        let mut bias = Vec::with_capacity(gamma.len());
        for (channel, weights) in weight.values.chunks_exact_mut(row).enumerate() {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + epsilon).sqrt();
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
            bias.push((f64::from(beta[channel]) - f64::from(mean[channel]) * scale) as f32);
        }
        match weight.values.iter().chain(&bias).all(|value| value.is_finite()) {
            true => Ok(bias),
            false => {
                Err(Error::NonFinite(format!("{norm} divides by the root of a variance that is no number")))
            }
        }
    }

    fn group_norm(&mut self, graph: &mut Graph, norm: &str, channels: usize) -> GroupNorm {
        let [weight, bias] = ["weight", "bias"].map(|part| {
            let NamedTensor { name, values, .. } = self.take(&format!("{norm}.{part}"));
            self.vector(graph, &name, &[channels, 1, 1], &values)
        });
        GroupNorm { weight, bias }
    }

    /// A bias or an affine. It stays f32, because it takes little space.
    fn vector(&self, graph: &mut Graph, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        graph.weight(name, shape, DataType::Float, raw)
    }

    fn matrix(&self, graph: &mut Graph, tensor: &NamedTensor) -> Result<Value> {
        let NamedTensor { name, shape, values } = tensor;
        if !self.half {
            return Ok(self.vector(graph, name, shape, values));
        }
        let halves: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
        if let Some((value, _)) = values.iter().zip(&halves).find(|(_, half)| !half.is_finite()) {
            let message = format!("tensor {name} has a value of {value}, and f16 ends at 65504");
            return Err(Error::NonFinite(message));
        }
        let raw = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let stored = graph.weight(&format!("{name}.f16"), shape, DataType::Float16, raw);
        Ok(graph.cast(name, &stored, DataType::Float))
    }
}

impl Conv {
    /// `[N, C in, H, W]` to `[N, C out, H / stride, W / stride]`, sides rounded up.
    pub fn apply(&self, graph: &mut Graph, name: &str, x: &str) -> Value {
        let (kernel, padding, stride) = (self.kernel as i64, self.kernel as i64 / 2, self.stride as i64);
        let attributes = [
            ("kernel_shape", Attribute::Ints(vec![kernel; 2])),
            ("pads", Attribute::Ints(vec![padding; 4])),
            ("strides", Attribute::Ints(vec![stride; 2])),
        ];
        let x = graph.op_with("Conv", name, &[x, &self.weight, &self.bias], &attributes);
        match &self.group_norm {
            Some(norm) => norm.apply(graph, name, &x),
            None => x,
        }
    }
}

impl GroupNorm {
    /// An instance norm whose instances are groups: ONNX's `GroupNormalization` has an affine for each
    /// channel from opset 21 only.
    fn apply(&self, graph: &mut Graph, name: &str, x: &str) -> Value {
        let (ones, zeros) = (graph.floats(&[1.0; GROUPS]), graph.floats(&[0.0; GROUPS]));
        let epsilon = [("epsilon", Attribute::Float(GROUP_NORM_EPSILON))];
        let groups = graph.reshape(&format!("{name}.groups"), x, &[0, GROUPS as i64, -1]); // [N, 32, -1]
        let normalized = graph.op_with(
            "InstanceNormalization",
            &format!("{name}.normalized"),
            &[&groups, &ones, &zeros],
            &epsilon,
        );
        let shape = graph.op("Shape", &format!("{name}.shape"), &[x]);
        // [N, C, H, W]
        let normalized = graph.op("Reshape", &format!("{name}.channels"), &[&normalized, &shape]);
        let scaled = graph.op("Mul", &format!("{name}.scaled"), &[&normalized, &self.weight]);
        graph.op("Add", &format!("{name}.shifted"), &[&scaled, &self.bias])
    }
}

impl Linear {
    /// `[K, in]` to `[K, out]`.
    pub fn apply(&self, graph: &mut Graph, name: &str, x: &str) -> Value {
        let transposed = [("transB", Attribute::Int(1))];
        graph.op_with("Gemm", name, &[x, &self.weight, &self.bias], &transposed)
    }
}
