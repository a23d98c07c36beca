//! What is measured on the validation images after each epoch: average precisions, all from one evaluation.

use std::mem;
use std::sync::{Arc, Mutex};

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::best::BEST_METRIC;
use super::step::Validated;
use crate::eval::{Evaluation, ImageResult, evaluate};

impl Adaptor<Self> for Validated {
    fn adapt(&self) -> Self {
        self.clone()
    }
}

/// A number from the [`Evaluation`] of all validation images. An epoch is evaluated once.
#[derive(Clone)]
pub(super) struct EvaluationMetric {
    name: MetricName,
    value: fn(&Evaluation) -> Option<f64>,
    /// Whether this metric collects the results for all of them. Exactly one does.
    collects: bool,
    shared: Arc<Mutex<Shared>>,
    current: Option<f64>,
}

/// Shared by the metrics of a run: the results of an epoch, then their evaluation.
struct Shared {
    class_names: Vec<String>,
    results: Vec<ImageResult>,
    evaluation: Option<Evaluation>,
}

/// The metrics of a run.
pub(super) fn evaluation_metrics(class_names: &[String]) -> [EvaluationMetric; 3] {
    let class_names = class_names.to_vec();
    let shared = Arc::new(Mutex::new(Shared { class_names, results: Vec::new(), evaluation: None }));
    let metric = |name: &str, collects, value| EvaluationMetric {
        name: Arc::new(name.to_string()),
        value,
        collects,
        shared: shared.clone(),
        current: None,
    };
    [
        metric(BEST_METRIC, true, |all| all.coco.overall.ap),
        metric("ap50", false, |all| all.coco.overall.ap50),
        metric("map33", false, |all| all.deep_pcb.map),
    ]
}

impl Metric for EvaluationMetric {
    type Input = Validated;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: None, higher_is_better: true }.into()
    }

    fn update(&mut self, step: &Validated, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        if self.collects {
            let mut shared = self.shared.lock().expect("no metric panics");
            // New results discard the previous epoch's evaluation.
            shared.evaluation = None;
            shared.results.extend_from_slice(step.results());
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let Shared { class_names, results, evaluation } = &mut *self.shared.lock().expect("no metric panics");
        let evaluation = evaluation.get_or_insert_with(|| evaluate(&mem::take(results), class_names));
        self.current = (self.value)(evaluation);
        let shown = self.current.map_or("unknown".to_string(), |value| format!("epoch {value:.4}"));
        Ok(SerializedEntry::new(shown, self.final_value().serialize()))
    }

    fn clear(&mut self) {
        self.current = None;
    }
}

impl Numeric for EvaluationMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.current.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.value()
    }

    /// NaN where the number is unknown, because there is no ground truth.
    fn final_value(&self) -> NumericEntry {
        NumericEntry::Final(self.current.unwrap_or(f64::NAN))
    }
}
