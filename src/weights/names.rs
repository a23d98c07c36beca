//! The tensors of a detector under torchvision's names, in torchvision's layouts.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Tensor, TensorData};

use crate::FasterRcnn;

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

/// All weights and running statistics of a detector.
pub fn collect(model: &FasterRcnn) -> Vec<NamedTensor> {
    let mut collector = Collector::default();
    model.visit(&mut collector);
    collector.tensors
}

/// Replaces all weights and running statistics of a detector.
///
/// # Errors
///
/// A message that names the tensor which is missing, not the detector's, or of another shape.
pub fn apply(model: FasterRcnn, tensors: Vec<NamedTensor>) -> Result<FasterRcnn, String> {
    let tensors = tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
    let mut applier = Applier { path: Vec::new(), tensors, error: None };
    let model = model.map(&mut applier);
    match (applier.error, applier.tensors.keys().min()) {
        (Some(error), _) => Err(error),
        (None, Some(name)) => Err(format!("tensor {name} does not belong to this detector")),
        (None, None) => Ok(model),
    }
}

/// torchvision's name for the parameter at a path of field names.
fn torchvision_name(path: &[String]) -> String {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let mut name: Vec<&str> = match path[..] {
        ["body", ..] | ["fpn", ..] => vec!["backbone"],
        _ => Vec::new(),
    };
    for (index, &field) in path.iter().enumerate() {
        match (field, index.checked_sub(1).map(|parent| path[parent])) {
            // The variants of `Norm`.
            ("FrozenBatch" | "Batch" | "Group", _) => {}
            ("gamma", _) => name.push("weight"),
            ("beta", _) => name.push("bias"),
            ("conv", Some("downsample")) => name.push("0"),
            ("norm", Some("downsample")) => name.push("1"),
            (_, Some("inner_blocks" | "layer_blocks")) => name.extend([field, "0"]),
            ("conv", Some("rpn")) => name.extend(["head", "conv", "0", "0"]),
            (_, Some("rpn")) => name.extend(["head", field]),
            ("fc6" | "fc7", _) => name.extend(["box_head", field]),
            (_, Some("roi_heads")) => name.extend(["box_predictor", field]),
            _ => name.push(field),
        }
    }
    name.join(".")
}

/// Rank-2 tensors are the weights of linear layers, which PyTorch stores transposed.
fn to_torchvision_layout<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if D == 2 { tensor.swap_dims(0, 1) } else { tensor }
}

#[derive(Default)]
struct Collector {
    path: Vec<String>,
    tensors: Vec<NamedTensor>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = to_torchvision_layout(param.val());
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().try_into_vec().expect("weights are f32");
        self.tensors.push(NamedTensor { name: torchvision_name(&self.path), shape, values });
    }
}

struct Applier {
    path: Vec<String>,
    tensors: HashMap<String, NamedTensor>,
    error: Option<String>,
}

impl ModuleMapper for Applier {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = torchvision_name(&self.path);
        let Some(found) = self.tensors.remove(&name) else {
            self.error.get_or_insert(format!("tensor {name} is missing"));
            return param;
        };
        let expected = to_torchvision_layout(param.val()).dims();
        if found.shape != expected {
            let message = format!("tensor {name} has shape {:?}, expected {expected:?}", found.shape);
            self.error.get_or_insert(message);
            return param;
        }
        param.map(|old| {
            let values = TensorData::new(found.values, expected);
            // A new tensor is not tracked; on an autodiff device the old one's state has to be handed on.
            to_torchvision_layout(Tensor::from_data(values, &old.device()))
                .set_require_grad(old.is_require_grad())
        })
    }
}
