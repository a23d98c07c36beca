//! The tensors of a detector under torchvision's names, in torchvision's layouts.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::model::FasterRcnn;

/// One tensor as torchvision's `state_dict` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// For example `backbone.body.layer1.0.conv1.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// A tensor without its counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// torchvision's name of the tensor.
    pub tensor: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor {} {}", self.tensor, self.message)
    }
}

impl Error for Mismatch {}

/// All weights and running statistics of a detector, in the order of its layers.
pub fn collect(model: &FasterRcnn) -> Vec<NamedTensor> {
    let mut tensors = Vec::new();
    for_each(model, |name, shape, values| tensors.push(NamedTensor { name, shape, values: values() }));
    tensors
}

/// Replaces all weights and running statistics of a detector.
///
/// # Errors
///
/// Names the tensor that is missing, not the detector's, or of another shape.
pub fn apply(model: FasterRcnn, tensors: Vec<NamedTensor>) -> Result<FasterRcnn, Mismatch> {
    let fail = |tensor: &str, message: String| Mismatch { tensor: tensor.to_string(), message };
    let mut found: HashMap<String, TensorData> = tensors
        .into_iter()
        .map(|tensor| (tensor.name, TensorData::new(tensor.values, tensor.shape)))
        .collect();
    let mut used = HashMap::new();
    for (name, expected) in shapes(&model) {
        let data = found.remove(&name).ok_or_else(|| fail(&name, "is missing".to_string()))?;
        if data.shape()[..] != expected {
            return Err(fail(&name, format!("has shape {:?}, expected {expected:?}", &data.shape()[..])));
        }
        used.insert(name, data);
    }
    match found.keys().min() {
        Some(name) => Err(fail(name, "does not belong to this detector".to_string())),
        None => Ok(replace(model, used)),
    }
}

/// Name and shape of all weights and running statistics, in the order of the layers. Weights that are not
/// allocated yet are not allocated by this.
pub(super) fn shapes(model: &FasterRcnn) -> Vec<(String, Vec<usize>)> {
    let mut shapes = Vec::new();
    for_each(model, |name, shape, _| shapes.push((name, shape)));
    shapes
}

/// Replaces the weights and running statistics that `tensors` has, by name.
///
/// # Panics
///
/// If a tensor is not f32 or has another shape than the detector's.
pub(super) fn replace(model: FasterRcnn, tensors: HashMap<String, TensorData>) -> FasterRcnn {
    model.map(&mut Replacer { path: Vec::new(), tensors })
}

/// torchvision's name for the parameter at a path of field names.
fn torchvision_name(path: &[String]) -> String {
    let path: Vec<&str> = path.iter().map(String::as_str).skip_while(|field| *field == "network").collect();
    let mut name: Vec<&str> = match path[..] {
        ["body", ..] | ["fpn", ..] => vec!["backbone"],
        _ => Vec::new(),
    };
    for (index, &field) in path.iter().enumerate() {
        match (field, index.checked_sub(1).map(|parent| path[parent])) {
            // The variants of `Norm`.
            ("FrozenBatch" | "Batch" | "Group", _) => {}
            // Those of `BoxHead`, and the convolutions of its second one.
            ("TwoMlp" | "FourConv" | "convs", _) => {}
            // The activations and the flattening before it count as layers there.
            ("fc", _) => name.push("5"),
            ("gamma", _) => name.push("weight"),
            ("beta", _) => name.push("bias"),
            (_, Some("rpn")) => name.extend(["head", field]),
            // torchvision's ResNets have `conv1` and `bn1` in place of a `ConvNorm`.
            ("conv", Some("conv1" | "conv2" | "conv3")) => {}
            ("norm", Some(parent @ ("conv1" | "conv2" | "conv3"))) => {
                name.pop();
                name.push(match parent {
                    "conv1" => "bn1",
                    "conv2" => "bn2",
                    _ => "bn3",
                });
            }
            // Its other parts have a sequence of two.
            ("conv", _) => name.push("0"),
            ("norm", _) => name.push("1"),
            ("cls_score" | "bbox_pred", Some("roi_heads")) => name.extend(["box_predictor", field]),
            _ => name.push(field),
        }
    }
    name.join(".")
}

/// Rank-2 tensors are the weights of linear layers, which PyTorch stores transposed.
fn to_torchvision_layout<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if D == 2 { tensor.swap_dims(0, 1) } else { tensor }
}

/// Calls `use_tensor` with the name, the shape and a function that reads the values of each tensor. A tensor
/// whose values are not read need not be there yet.
fn for_each(model: &FasterRcnn, use_tensor: impl FnMut(String, Vec<usize>, &dyn Fn() -> Vec<f32>)) {
    model.visit(&mut Visitor { path: Vec::new(), use_tensor });
}

struct Visitor<F> {
    path: Vec<String>,
    use_tensor: F,
}

impl<F: FnMut(String, Vec<usize>, &dyn Fn() -> Vec<f32>)> ModuleVisitor for Visitor<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let mut shape = param.lazy_shape().to_vec();
        if D == 2 {
            shape.reverse();
        }
        (self.use_tensor)(torchvision_name(&self.path), shape, &|| {
            to_torchvision_layout(param.val()).into_data().try_into_vec().expect("weights are f32")
        });
    }
}

struct Replacer {
    path: Vec<String>,
    tensors: HashMap<String, TensorData>,
}

impl ModuleMapper for Replacer {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(data) = self.tensors.remove(&torchvision_name(&self.path)) else {
            return param;
        };
        let tensor = to_torchvision_layout(Tensor::<D>::from_data(data, &param.lazy_device()));
        assert_eq!(tensor.shape(), param.lazy_shape(), "the shape of a replaced weight");
        // Keeps whether the weight is trained, because a new tensor is not tracked.
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
