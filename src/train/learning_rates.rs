//! The learning rate of each step: a linear warm-up times a schedule.
//!
//! Source: torchvision's detection reference (`references/detection/train.py`, `engine.py`).

use std::f64::consts::PI;

use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

use super::config::TrainConfig;
use super::schedule::Schedule;

/// Key of the step in the record.
pub(super) const STEP: &str = "step";

/// The learning rates of a run, one for each step of the optimiser.
#[derive(Debug, Clone)]
pub(super) struct LearningRates {
    config: TrainConfig,
    batches_per_epoch: usize,
    steps_per_epoch: usize,
    /// Steps done.
    step: usize,
}

impl LearningRates {
    pub(super) fn new(config: &TrainConfig, batches_per_epoch: usize) -> Self {
        let steps_per_epoch = batches_per_epoch.div_ceil(config.accumulation);
        Self { config: config.clone(), batches_per_epoch, steps_per_epoch, step: 0 }
    }

    /// The learning rate for the gradients of a batch. Batches are counted from 0 over all epochs.
    pub(super) fn rate_of_batch(&self, batch: usize) -> f64 {
        let (epoch, batch) = (batch / self.batches_per_epoch, batch % self.batches_per_epoch);
        self.rate(epoch * self.steps_per_epoch + batch / self.config.accumulation)
    }

    /// The rate of a step, counted from 0.
    fn rate(&self, step: usize) -> f64 {
        let TrainConfig { learning_rate, warmup_steps, warmup_factor, epochs, .. } = self.config;
        let warmup_steps = warmup_steps.min(self.steps_per_epoch - 1);
        let warmup = if step < warmup_steps {
            let done = step as f64 / warmup_steps as f64;
            warmup_factor + (1.0 - warmup_factor) * done
        } else {
            1.0
        };
        let schedule = match &self.config.schedule {
            Schedule::MultiStep { milestones, gamma } => {
                let epochs_done = step / self.steps_per_epoch;
                let passed = milestones.iter().filter(|milestone| epochs_done >= **milestone).count();
                gamma.powi(passed as i32)
            }
            Schedule::Cosine => {
                let done = step as f64 / (epochs * self.steps_per_epoch) as f64;
                0.5 * (1.0 + (PI * done).cos())
            }
        };
        learning_rate * warmup * schedule
    }
}

impl LrScheduler for LearningRates {
    fn step(&mut self) -> f64 {
        self.step += 1;
        self.rate(self.step - 1)
    }

    fn to_record(&self) -> LrSchedulerRecord {
        LrSchedulerRecord::new().with_scalar(STEP, self.step as u64)
    }

    fn load_record(&mut self, record: LrSchedulerRecord) {
        self.step = record.scalar::<u64>(STEP).unwrap_or(0) as usize;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_and_milestones_are_torchvisions() {
        // torch: LinearLR(start_factor=0.001, total_iters=9) stepped by iteration in the first epoch of
        // 10 steps, MultiStepLR([1, 2]) stepped by epoch, SGD with a rate of 0.02.
        let config = TrainConfig {
            learning_rate: 0.02,
            schedule: Schedule::MultiStep { milestones: vec![1, 2], gamma: 0.1 },
            ..TrainConfig::default()
        };
        let mut rates = LearningRates::new(&config, 10);
        let all: Vec<f64> = (0..30).map(|_| rates.step()).collect();
        let expected = [(0, 2e-5), (1, 0.00224), (8, 0.01778), (9, 0.02), (10, 2e-3), (19, 2e-3), (20, 2e-4)];
        for (step, rate) in expected {
            assert!((all[step] - rate).abs() < 1e-12, "step {step}: {} is not {rate}", all[step]);
        }
    }

    #[test]
    fn a_cosine_ends_at_zero_and_a_record_continues() {
        let config = TrainConfig {
            epochs: 4,
            warmup_steps: 0,
            learning_rate: 1.0,
            schedule: Schedule::Cosine,
            ..TrainConfig::default()
        };
        let mut rates = LearningRates::new(&config, 5);
        let all: Vec<f64> = (0..20).map(|_| rates.step()).collect();
        assert!(all[0] == 1.0 && (all[10] - 0.5).abs() < 1e-12 && all[19] < 0.01);
        assert!(all.is_sorted_by(|a, b| a > b));
        let mut first = LearningRates::new(&config, 5);
        (0..7).for_each(|_| {
            first.step();
        });
        let mut second = LearningRates::new(&config, 5);
        second.load_record(first.to_record());
        assert_eq!(second.step(), all[7]);
    }
}
