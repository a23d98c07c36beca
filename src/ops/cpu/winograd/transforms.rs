//! The transforms, on 16 tiles (or kernels) at a time, one in each lane of a vector.

use std::array;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::ops::{Add, Mul, Sub};

/// Side of a tile of the output.
pub const TILE: usize = 4;
/// Side of what a tile sees of the input.
pub const PATCH: usize = 6;
/// Values of a transformed patch, and of a transformed kernel.
pub const POINTS: usize = PATCH * PATCH;
/// Tiles, or kernels, that are transformed at a time.
pub const LANES: usize = 16;

/// One value of each of 16 tiles or kernels.
#[derive(Clone, Copy)]
pub struct Lanes(pub [f32; LANES]);

pub const ZERO: Lanes = Lanes([0.0; LANES]);

impl Add for Lanes {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }
}

impl Sub for Lanes {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(array::from_fn(|lane| self.0[lane] - other.0[lane]))
    }
}

impl Mul<Lanes> for f32 {
    type Output = Lanes;
    #[inline(always)]
    fn mul(self, lanes: Lanes) -> Lanes {
        Lanes(array::from_fn(|lane| self * lanes.0[lane]))
    }
}

/// The points besides 0 and infinity are plus and minus these two; `A * B = 1`.
const A: f32 = FRAC_1_SQRT_2;
const B: f32 = SQRT_2;

/// `B^T d`
#[inline(always)]
pub fn input_transform([d0, d1, d2, d3, d4, d5]: [Lanes; 6]) -> [Lanes; 6] {
    let (near_even, near_odd) = (d4 - 2.0 * d2, A * d3 - B * d1);
    let (far_even, far_odd) = (d4 - 0.5 * d2, B * d3 - A * d1);
    [
        d0 - 2.5 * d2 + d4,
        near_even + near_odd,
        near_even - near_odd,
        far_even + far_odd,
        far_even - far_odd,
        d1 - 2.5 * d3 + d5,
    ]
}

/// `G g`
#[inline(always)]
pub fn weight_transform([g0, g1, g2]: [Lanes; 3]) -> [Lanes; 6] {
    let (near_even, near_odd) = ((-2.0 / 3.0) * g0 - (1.0 / 3.0) * g2, (-B / 3.0) * g1);
    let (far_even, far_odd) = ((1.0 / 6.0) * g0 + (1.0 / 3.0) * g2, (B / 6.0) * g1);
    [g0, near_even + near_odd, near_even - near_odd, far_even + far_odd, far_even - far_odd, g2]
}

/// `A^T m`
#[inline(always)]
pub fn output_transform([m0, m1, m2, m3, m4, m5]: [Lanes; 6]) -> [Lanes; 4] {
    let (near_even, near_odd) = (m1 + m2, m1 - m2);
    let (far_even, far_odd) = (m3 + m4, m3 - m4);
    [
        m0 + near_even + far_even,
        A * near_odd + B * far_odd,
        0.5 * near_even + 2.0 * far_even,
        (A / 2.0) * near_odd + (B * 2.0) * far_odd + m5,
    ]
}

/// `A y`, the transpose of [`output_transform`].
#[inline(always)]
pub fn grad_transform([y0, y1, y2, y3]: [Lanes; 4]) -> [Lanes; 6] {
    let (near_even, near_odd) = (y0 + 0.5 * y2, A * y1 + (A / 2.0) * y3);
    let (far_even, far_odd) = (y0 + 2.0 * y2, B * y1 + (B * 2.0) * y3);
    [y0, near_even + near_odd, near_even - near_odd, far_even + far_odd, far_even - far_odd, y3]
}

/// `G^T u`, the transpose of [`weight_transform`].
#[inline(always)]
pub fn weight_grad_transform([u0, u1, u2, u3, u4, u5]: [Lanes; 6]) -> [Lanes; 3] {
    let (near_even, near_odd) = (u1 + u2, u1 - u2);
    let (far_even, far_odd) = (u3 + u4, u3 - u4);
    [
        u0 - (2.0 / 3.0) * near_even + (1.0 / 6.0) * far_even,
        (B / 6.0) * far_odd - (B / 3.0) * near_odd,
        (1.0 / 3.0) * (far_even - near_even) + u5,
    ]
}

/// Applies a transform along both axes. It takes references, since moving such arrays costs as much as the
/// arithmetic.
#[inline(always)]
pub fn both_axes<const I: usize, const O: usize>(
    values: &[[Lanes; I]; I],
    transform: impl Fn([Lanes; I]) -> [Lanes; O],
    output: &mut [[Lanes; O]; O],
) {
    let mut half = [[ZERO; O]; I];
    for (row, half) in values.iter().zip(&mut half) {
        let values = transform(array::from_fn(|x| row[x]));
        half.iter_mut().zip(values).for_each(|(to, value)| *to = value);
    }
    for x in 0..O {
        let column = transform(array::from_fn(|y| half[y][x]));
        for y in 0..O {
            output[y][x] = column[y];
        }
    }
}
