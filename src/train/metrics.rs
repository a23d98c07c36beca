//! What is measured in each training step: losses, learning rate and speed.

use std::sync::Arc;
use std::time::Instant;

use burn::tensor::TensorReadError;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::learning_rates::LearningRates;
use super::rows::Row;
use super::step::Step;

impl Adaptor<Self> for Step {
    fn adapt(&self) -> Self {
        self.clone()
    }
}

/// A number that each training step has; an epoch has its mean.
#[derive(Clone)]
pub(super) struct StepMetric<F> {
    name: MetricName,
    unit: Option<&'static str>,
    higher_is_better: bool,
    value: F,
    state: NumericMetricState,
    /// When the last step of this epoch ended.
    last: Option<Instant>,
}

/// One of the losses, or with `None` their sum.
pub(super) fn loss(name: &str, term: Option<usize>) -> StepMetric<impl StepValue> {
    let value = move |step: &Step, _| match term {
        Some(term) => Some(f64::from(step.losses[term])),
        None => Some(step.losses.iter().copied().map(f64::from).sum()),
    };
    StepMetric::new(name, None, false, value)
}

/// The learning rate for each batch's gradients, after `done` batches of all epochs.
pub(super) fn learning_rate(rates: LearningRates, done: usize) -> StepMetric<impl StepValue> {
    let mut batches = done..;
    let value = move |_: &Step, _| batches.next().map(|batch| rates.rate_of_batch(batch));
    StepMetric::new("learning rate", None, false, value)
}

/// Time from the end of one step to the end of the next, including loading and optimiser.
pub(super) fn step_seconds() -> StepMetric<impl StepValue> {
    StepMetric::new("step time", Some("s"), false, |_: &Step, seconds| seconds)
}

/// Images trained on in a second.
pub(super) fn images_per_second() -> StepMetric<impl StepValue> {
    let value = |step: &Step, seconds: Option<f64>| Some(step.names.len() as f64 / seconds?);
    StepMetric::new("images/s", None, true, value)
}

/// What a [`StepMetric`] computes from a step and the seconds since the step before (`None` in the first step
/// of an epoch); `None` where the number is unknown.
pub(super) trait StepValue:
    FnMut(&Step, Option<f64>) -> Option<f64> + Clone + Send + Sync + 'static
{
}
impl<F: FnMut(&Step, Option<f64>) -> Option<f64> + Clone + Send + Sync + 'static> StepValue for F {}

impl<F: StepValue> StepMetric<F> {
    fn new(name: &str, unit: Option<&'static str>, higher_is_better: bool, value: F) -> Self {
        let name = Arc::new(name.to_string());
        Self { name, unit, higher_is_better, value, state: NumericMetricState::default(), last: None }
    }

    /// Takes in steps that another process has done in this epoch: their lines, each with its number of
    /// images.
    #[must_use]
    pub fn after(mut self, steps: &[(Row, usize)]) -> Self {
        for (row, images) in steps {
            if let Some(Some(value)) = row.values.get(self.name.as_str()) {
                self.state.update(*value, *images);
            }
        }
        self
    }

    fn format(&self) -> FormatOptions {
        let format = FormatOptions::new(self.name.clone()).precision(4);
        self.unit.iter().fold(format, |format, unit| format.unit(unit))
    }
}

impl<F: StepValue> Metric for StepMetric<F> {
    type Input = Step;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let unit = self.unit.map(str::to_string);
        NumericAttributes { unit, higher_is_better: self.higher_is_better }.into()
    }

    fn update(&mut self, step: &Step, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        let now = Instant::now();
        let seconds = self.last.replace(now).map(|last| (now - last).as_secs_f64());
        match (self.value)(step, seconds) {
            Some(value) => {
                self.state.update(value, step.names.len());
                Ok(self.state.compute_update(self.format()))
            }
            None => Ok(SerializedEntry::not_available(self.unit)),
        }
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
        self.last = None;
    }
}

impl<F: StepValue> Numeric for StepMetric<F> {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value()).filter(is_number)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value()).filter(is_number)
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

/// A speed is not known before the second step.
fn is_number(entry: &NumericEntry) -> bool {
    !entry.current().is_nan()
}
