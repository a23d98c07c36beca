//! The end of a convolution or a norm, in the same pass over the map.

/// Bias, residual and ReLU: what is done with a sum before it is stored.
#[derive(Clone, Copy, Default)]
pub(super) struct Epilogue<'a> {
    /// `[C]`
    pub bias: Option<&'a [f32]>,
    /// Of the output's shape.
    pub residual: Option<&'a [f32]>,
    /// Whether negative values become 0 in the end.
    pub relu: bool,
}

impl Epilogue<'_> {
    /// Finishes some outputs of one channel. The first of them is at `position` of the whole output.
    #[inline(always)]
    pub fn apply(&self, output: &mut [f32], position: usize, channel: usize) {
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        // NaN stays, as in torch.
        let relu = |x: f32| if self.relu && x < 0.0 { 0.0 } else { x };
        match self.residual {
            Some(residual) => {
                let residual = &residual[position..][..output.len()];
                output.iter_mut().zip(residual).for_each(|(x, residual)| *x = relu(*x + bias + residual));
            }
            None => output.iter_mut().for_each(|x| *x = relu(*x + bias)),
        }
    }
}
