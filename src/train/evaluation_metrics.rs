//! What is measured on the validation images after each epoch: average precisions, all from one evaluation,
//! and the mean losses of an image.

use std::mem;
use std::sync::{Arc, Mutex};

use burn::tensor::TensorReadError;
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

use super::best::BEST_METRIC;
use super::step::{Validated, ValidatedImage};
use crate::eval::{Evaluation, ImageResult, evaluate};
use crate::model::Losses;

impl Adaptor<Self> for Validated {
    fn adapt(&self) -> Self {
        self.clone()
    }
}

/// A number that all validation images together have. An epoch is evaluated once.
#[derive(Clone)]
pub(super) struct EvaluationMetric {
    name: MetricName,
    value: Value,
    /// Whether this metric collects the results for all of them. Exactly one does.
    collects: bool,
    shared: Arc<Mutex<Shared>>,
    current: Option<f64>,
}

/// What a metric gives of an epoch.
#[derive(Clone, Copy)]
enum Value {
    Precision(fn(&Evaluation) -> Option<f64>),
    /// Of a term, or with `None` of their sum.
    Loss(Option<usize>),
}

/// Shared by the metrics of a run: the results of an epoch, then what they say together.
struct Shared {
    class_names: Vec<String>,
    results: Vec<ImageResult>,
    losses: Vec<[f32; 4]>,
    epoch: Option<Epoch>,
}

struct Epoch {
    evaluation: Evaluation,
    /// Of each term the mean of all images.
    losses: [f64; 4],
}

impl Epoch {
    fn of(results: Vec<ImageResult>, losses: &[[f32; 4]], class_names: &[String]) -> Self {
        let mean = |term: usize| {
            losses.iter().map(|losses| f64::from(losses[term])).sum::<f64>() / losses.len() as f64
        };
        Self { evaluation: evaluate(&results, class_names), losses: [0, 1, 2, 3].map(mean) }
    }

    /// `None` where it is unknown: without ground truth, without images.
    fn value(&self, value: Value) -> Option<f64> {
        match value {
            Value::Precision(precision) => precision(&self.evaluation),
            Value::Loss(Some(term)) => Some(self.losses[term]),
            Value::Loss(None) => Some(self.losses.iter().sum()),
        }
        .filter(|value| value.is_finite())
    }
}

/// The metrics of a run.
pub(super) fn evaluation_metrics(class_names: &[String]) -> Vec<EvaluationMetric> {
    let (class_names, results, losses) = (class_names.to_vec(), Vec::new(), Vec::new());
    let shared = Arc::new(Mutex::new(Shared { class_names, results, losses, epoch: None }));
    let metric = |name: &str, collects, value| EvaluationMetric {
        name: Arc::new(name.to_string()),
        value,
        collects,
        shared: shared.clone(),
        current: None,
    };
    let mut metrics = vec![
        metric(BEST_METRIC, true, Value::Precision(|all| all.coco.overall.ap)),
        metric("ap50", false, Value::Precision(|all| all.coco.overall.ap50)),
        metric("map33", false, Value::Precision(|all| all.deep_pcb.map)),
        metric("loss", false, Value::Loss(None)),
    ];
    let terms = Losses::NAMES.iter().enumerate();
    metrics.extend(terms.map(|(term, name)| metric(name, false, Value::Loss(Some(term)))));
    metrics
}

impl Metric for EvaluationMetric {
    type Input = Validated;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        let higher_is_better = matches!(self.value, Value::Precision(_));
        NumericAttributes { unit: None, higher_is_better }.into()
    }

    fn update(&mut self, step: &Validated, _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        if self.collects {
            let mut shared = self.shared.lock().expect("no metric panics");
            // New results discard the previous epoch's.
            shared.epoch = None;
            for ValidatedImage { result, losses } in step.images() {
                shared.results.push(result.clone());
                shared.losses.push(*losses);
            }
        }
        Ok(SerializedEntry::not_available(None))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        let Shared { class_names, results, losses, epoch } =
            &mut *self.shared.lock().expect("no metric panics");
        let epoch =
            epoch.get_or_insert_with(|| Epoch::of(mem::take(results), &mem::take(losses), class_names));
        self.current = epoch.value(self.value);
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
