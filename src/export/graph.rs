//! A graph under construction: nodes, constants and the sizes that are known only when it runs.
//!
//! A value is known by its name. A node has the name of its first output.

use std::collections::{HashMap, HashSet};

use super::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, DimensionValue, GraphProto, NodeProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The name of a value.
pub type Value = String;

/// A constant of a node.
pub enum Attribute {
    /// One number.
    Int(i64),
    /// A list of numbers.
    Ints(Vec<i64>),
    /// One number.
    Float(f32),
    /// A word.
    Text(&'static str),
    /// The value of `ConstantOfShape`: a tensor of one element.
    Fill(f32),
}

/// A size: fixed, or known when the graph runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Size {
    /// Known now.
    Fixed(i64),
    /// A value of shape `[1]`, i64.
    Dynamic(Value),
}

/// Nodes, each after those whose outputs it takes, and constants.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
    names: HashSet<Value>,
    constants: HashMap<(i32, Vec<i64>, Vec<u8>), Value>,
}

impl Graph {
    /// A node with one output.
    pub fn op(&mut self, op: &str, name: &str, inputs: &[&str]) -> Value {
        self.op_with(op, name, inputs, &[])
    }

    /// A node with one output and attributes.
    pub fn op_with(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let [output] = self.node(op, [name.to_string()], inputs, attributes);
        output
    }

    /// A node with the named outputs.
    pub fn node<const N: usize>(
        &mut self,
        op: &str,
        outputs: [Value; N],
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> [Value; N] {
        for name in &outputs {
            self.claim(name);
        }
        // An optional input that is left out has an empty name.
        for input in inputs.iter().filter(|input| !input.is_empty()) {
            assert!(self.names.contains(*input), "{input}, an input of {}, is not there yet", outputs[0]);
        }
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_string()).collect(),
            output: outputs.to_vec(),
            name: outputs[0].clone(),
            op_type: op.to_string(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        });
        outputs
    }

    /// `Concat`.
    pub fn concat(&mut self, name: &str, parts: &[Value], axis: i64) -> Value {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.op_with("Concat", name, &parts, &[("axis", Attribute::Int(axis))])
    }

    /// `Split` of the last axis into two halves.
    pub fn halves(&mut self, names: [&str; 2], value: &str) -> [Value; 2] {
        self.node("Split", names.map(str::to_string), &[value], &[("axis", Attribute::Int(-1))])
    }

    /// `Reshape`; 0 keeps a size, -1 stands for what is left.
    pub fn reshape(&mut self, name: &str, value: &str, shape: &[i64]) -> Value {
        let shape = self.ints(shape);
        self.op("Reshape", name, &[value, &shape])
    }

    /// `Transpose`.
    pub fn transpose(&mut self, name: &str, value: &str, axes: &[i64]) -> Value {
        self.op_with("Transpose", name, &[value], &[("perm", Attribute::Ints(axes.to_vec()))])
    }

    /// `Gather`.
    pub fn gather(&mut self, name: &str, value: &str, indices: &str, axis: i64) -> Value {
        self.op_with("Gather", name, &[value, indices], &[("axis", Attribute::Int(axis))])
    }

    /// `Cast`.
    pub fn cast(&mut self, name: &str, value: &str, to: DataType) -> Value {
        self.op_with("Cast", name, &[value], &[("to", Attribute::Int(to as i64))])
    }

    /// Rows of each image: `[N, T, ...]` at `[N, K]` to `[N, K, ...]`.
    pub fn rows_of_images(&mut self, name: &str, value: &str, indices: &str) -> Value {
        let last = self.ints(&[-1]);
        let indices = self.op("Unsqueeze", &format!("{name}.indices"), &[indices, &last]);
        self.op_with("GatherND", name, &[value, &indices], &[("batch_dims", Attribute::Int(1))])
    }

    /// The `count` greatest along axis 1 of `[N, K]`, the first of equal ones first: values and indices, both
    /// `[N, count]`.
    pub fn top_k(&mut self, name: &str, value: &str, count: &Size) -> [Value; 2] {
        let count = self.size_value(count);
        let names = [format!("{name}.values"), format!("{name}.indices")];
        self.node("TopK", names, &[value, &count], &[("axis", Attribute::Int(1))])
    }

    /// A tensor full of `fill`.
    pub fn filled(&mut self, name: &str, shape: &str, fill: f32) -> Value {
        self.op_with("ConstantOfShape", name, &[shape], &[("value", Attribute::Fill(fill))])
    }

    /// A number.
    pub fn float(&mut self, value: f32) -> Value {
        self.constant(&format!("{value:?}"), &[], DataType::Float, bytes_of(&[value], f32::to_le_bytes))
    }

    /// A row of numbers.
    pub fn floats(&mut self, values: &[f32]) -> Value {
        self.float_tensor(&format!("{values:?}"), &[values.len()], values)
    }

    /// A tensor of numbers. If there is one of the same content already, that one.
    pub fn float_tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        self.constant(name, shape, DataType::Float, bytes_of(values, f32::to_le_bytes))
    }

    /// A whole number.
    pub fn int(&mut self, value: i64) -> Value {
        self.constant(&format!("{value}"), &[], DataType::Int64, bytes_of(&[value], i64::to_le_bytes))
    }

    /// A row of whole numbers.
    pub fn ints(&mut self, values: &[i64]) -> Value {
        self.int_tensor(&format!("{values:?}"), &[values.len()], values)
    }

    /// A tensor of whole numbers. If there is one of the same content already, that one.
    pub fn int_tensor(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Value {
        self.constant(name, shape, DataType::Int64, bytes_of(values, i64::to_le_bytes))
    }

    /// A tensor of flags. If there is one of the same content already, that one.
    pub fn flag_tensor(&mut self, name: &str, shape: &[usize], values: &[bool]) -> Value {
        self.constant(name, shape, DataType::Bool, values.iter().map(|value| u8::from(*value)).collect())
    }

    /// A weight under its own name.
    pub fn weight(&mut self, name: &str, shape: &[usize], data_type: DataType, raw: Vec<u8>) -> Value {
        self.claim(name);
        self.initializers.push(tensor(name, shape, data_type, raw));
        name.to_string()
    }

    fn constant(&mut self, name: &str, shape: &[usize], data_type: DataType, raw: Vec<u8>) -> Value {
        let dims: Vec<i64> = shape.iter().map(|side| *side as i64).collect();
        let key = (data_type as i32, dims, raw);
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let name = self.weight(name, shape, data_type, key.2.clone());
        self.constants.insert(key, name.clone());
        name
    }

    /// An input of the graph. A size without a number is dynamic under its name.
    pub fn input(&mut self, name: &str, data_type: DataType, shape: &[(&str, Option<usize>)], doc: &str) {
        self.claim(name);
        self.inputs.push(value_info(name, data_type, shape, doc));
    }

    /// An output of the graph: the value of that name.
    pub fn output(&mut self, name: &str, data_type: DataType, shape: &[(&str, Option<usize>)], doc: &str) {
        assert!(self.names.contains(name), "{name} is not there");
        self.outputs.push(value_info(name, data_type, shape, doc));
    }

    /// The graph.
    pub fn finish(self, name: &str) -> GraphProto {
        GraphProto {
            node: self.nodes,
            name: name.to_string(),
            initializer: self.initializers,
            input: self.inputs,
            output: self.outputs,
        }
    }

    fn claim(&mut self, name: &str) {
        assert!(self.names.insert(name.to_string()), "there are two values called {name}");
    }
}

/// Arithmetic of sizes; of fixed ones it takes no node.
impl Graph {
    /// One size of a value.
    pub fn size_of(&mut self, name: &str, value: &str, axis: i64) -> Size {
        let range = [("start", Attribute::Int(axis)), ("end", Attribute::Int(axis + 1))];
        Size::Dynamic(self.op_with("Shape", name, &[value], &range))
    }

    /// The size as a value, `[1]`.
    pub fn size_value(&mut self, size: &Size) -> Value {
        match size {
            Size::Fixed(size) => self.ints(&[*size]),
            Size::Dynamic(value) => value.clone(),
        }
    }

    /// The sizes as a shape.
    pub fn shape(&mut self, name: &str, sizes: &[Size]) -> Value {
        let fixed: Option<Vec<i64>> = sizes.iter().map(Size::fixed).collect();
        match fixed {
            Some(sizes) => self.ints(&sizes),
            None => {
                let parts: Vec<Value> = sizes.iter().map(|size| self.size_value(size)).collect();
                self.concat(name, &parts, 0)
            }
        }
    }

    /// The sum.
    pub fn size_add(&mut self, name: &str, one: &Size, other: &Size) -> Size {
        self.size_op("Add", |one, other| one + other, name, one, other)
    }

    /// The product.
    pub fn size_mul(&mut self, name: &str, one: &Size, other: &Size) -> Size {
        self.size_op("Mul", |one, other| one * other, name, one, other)
    }

    /// The quotient, rounded down.
    pub fn size_div(&mut self, name: &str, one: &Size, other: &Size) -> Size {
        self.size_op("Div", |one, other| one / other, name, one, other)
    }

    /// The smaller one.
    pub fn size_min(&mut self, name: &str, one: &Size, other: &Size) -> Size {
        self.size_op("Min", i64::min, name, one, other)
    }

    fn size_op(
        &mut self,
        op: &str,
        compute: impl Fn(i64, i64) -> i64,
        name: &str,
        one: &Size,
        other: &Size,
    ) -> Size {
        if let (Size::Fixed(one), Size::Fixed(other)) = (one, other) {
            return Size::Fixed(compute(*one, *other));
        }
        let (one, other) = (self.size_value(one), self.size_value(other));
        Size::Dynamic(self.op(op, name, &[&one, &other]))
    }
}

impl Size {
    /// The number, where it is known.
    pub fn fixed(&self) -> Option<i64> {
        match self {
            Self::Fixed(size) => Some(*size),
            Self::Dynamic(_) => None,
        }
    }
}

fn bytes_of<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| bytes(*value)).collect()
}

fn tensor(name: &str, shape: &[usize], data_type: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: shape.iter().map(|side| *side as i64).collect(),
        data_type: data_type as i32,
        name: name.to_string(),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let mut attribute = AttributeProto { name: name.to_string(), ..AttributeProto::default() };
    let kind = match value {
        Attribute::Int(value) => {
            attribute.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            attribute.ints.clone_from(values);
            AttributeType::Ints
        }
        Attribute::Float(value) => {
            attribute.f = Some(*value);
            AttributeType::Float
        }
        Attribute::Text(value) => {
            attribute.s = Some(value.as_bytes().to_vec());
            AttributeType::String
        }
        Attribute::Fill(value) => {
            attribute.t = Some(tensor("", &[1], DataType::Float, value.to_le_bytes().to_vec()));
            AttributeType::Tensor
        }
    };
    attribute.r#type = kind as i32;
    attribute
}

fn value_info(name: &str, data_type: DataType, shape: &[(&str, Option<usize>)], doc: &str) -> ValueInfoProto {
    let dim = |(name, size): &(&str, Option<usize>)| {
        let value = match size {
            Some(size) => DimensionValue::DimValue(*size as i64),
            None => DimensionValue::DimParam((*name).to_string()),
        };
        DimensionProto { value: Some(value) }
    };
    let shape = TensorShapeProto { dim: shape.iter().map(dim).collect() };
    let tensor_type = TensorTypeProto { elem_type: data_type as i32, shape: Some(shape) };
    ValueInfoProto {
        name: name.to_string(),
        r#type: Some(TypeProto { tensor_type: Some(tensor_type) }),
        doc_string: doc.to_string(),
    }
}
