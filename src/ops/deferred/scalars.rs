//! The options of a call as a list of scalars, which is all that burn's `CustomOpIr` carries beside tensors.

use burn::backend::ir::ScalarIr;
use burn::tensor::IntDType;
use burn::tensor::ops::ConvOptions;

use crate::ops::options::{NormOptions, PoolOptions, RoiAlignOptions};
use crate::ops::primitives::MapShapes;

/// An option as scalars, and back.
pub(super) trait Wire: Sized {
    fn encode(&self, scalars: &mut Vec<ScalarIr>);

    /// Takes as many scalars as [`encode`](Self::encode) has given.
    fn decode(scalars: &mut Scalars) -> Self;
}

/// The scalars of a call that are still to be read.
pub(super) struct Scalars<'a>(pub std::slice::Iter<'a, ScalarIr>);

impl Scalars<'_> {
    fn next(&mut self) -> ScalarIr {
        *self.0.next().expect("a call is noted with all of its options")
    }
}

/// A struct as its fields, in this order.
macro_rules! wire_fields {
    ($($type:ident { $($field:ident),* })*) => { $(
        impl Wire for $type {
            fn encode(&self, scalars: &mut Vec<ScalarIr>) {
                let Self { $($field),* } = self;
                $($field.encode(scalars);)*
            }

            fn decode(scalars: &mut Scalars) -> Self {
                $(let $field = Wire::decode(scalars);)*
                Self { $($field),* }
            }
        }
    )* };
}

wire_fields! {
    RoiAlignOptions { output_size, spatial_scale, sampling_ratio, aligned }
    PoolOptions { kernel, stride, padding }
    NormOptions { groups, epsilon }
}

/// A number as one scalar.
macro_rules! wire_numbers {
    ($($type:ident, $scalar:ident($as:ident);)*) => { $(
        impl Wire for $type {
            fn encode(&self, scalars: &mut Vec<ScalarIr>) {
                scalars.push(ScalarIr::$scalar(*self as $as));
            }

            fn decode(scalars: &mut Scalars) -> Self {
                scalars.next().elem::<$as>() as $type
            }
        }
    )* };
}

wire_numbers! {
    usize, UInt(u64);
    f32, Float(f64);
    f64, Float(f64);
}

impl Wire for bool {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        scalars.push(ScalarIr::Bool(*self));
    }

    fn decode(scalars: &mut Scalars) -> Self {
        scalars.next().elem()
    }
}

impl<T: Wire, const N: usize> Wire for [T; N] {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        self.iter().for_each(|value| value.encode(scalars));
    }

    fn decode(scalars: &mut Scalars) -> Self {
        std::array::from_fn(|_| T::decode(scalars))
    }
}

impl<T: Wire> Wire for (T, T) {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        self.0.encode(scalars);
        self.1.encode(scalars);
    }

    fn decode(scalars: &mut Scalars) -> Self {
        let first = T::decode(scalars);
        (first, T::decode(scalars))
    }
}

/// Whether there is a value, then the value.
impl<T: Wire> Wire for Option<T> {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        self.is_some().encode(scalars);
        self.iter().for_each(|value| value.encode(scalars));
    }

    fn decode(scalars: &mut Scalars) -> Self {
        bool::decode(scalars).then(|| T::decode(scalars))
    }
}

/// Whether there are four shapes, then the one or the four.
impl Wire for MapShapes {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        matches!(self, Self::Pyramid(_)).encode(scalars);
        self.as_slice().iter().for_each(|shape| shape.encode(scalars));
    }

    fn decode(scalars: &mut Scalars) -> Self {
        match bool::decode(scalars) {
            true => Self::Pyramid(Wire::decode(scalars)),
            false => Self::Single(Wire::decode(scalars)),
        }
    }
}

/// Its place in this list.
impl Wire for IntDType {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        let place = INT_TYPES.iter().position(|dtype| dtype == self).expect("a known type of integers");
        place.encode(scalars);
    }

    fn decode(scalars: &mut Scalars) -> Self {
        INT_TYPES[usize::decode(scalars)]
    }
}

const INT_TYPES: [IntDType; 8] = [
    IntDType::I64,
    IntDType::I32,
    IntDType::I16,
    IntDType::I8,
    IntDType::U64,
    IntDType::U32,
    IntDType::U16,
    IntDType::U8,
];

impl Wire for ConvOptions<2> {
    fn encode(&self, scalars: &mut Vec<ScalarIr>) {
        self.stride.encode(scalars);
        self.padding.encode(scalars);
        self.dilation.encode(scalars);
        self.groups.encode(scalars);
    }

    fn decode(scalars: &mut Scalars) -> Self {
        let (stride, padding) = (Wire::decode(scalars), Wire::decode(scalars));
        let (dilation, groups) = (Wire::decode(scalars), Wire::decode(scalars));
        Self::new_with_padding(stride, padding, dilation, groups)
    }
}
