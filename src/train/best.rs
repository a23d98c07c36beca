//! Which epoch of a run has the best weights, and when a run stops because the weights no longer improve.

use std::fmt;

use burn::train::EarlyStoppingStrategy;
use burn::train::metric::store::{Aggregate, EventStoreClient, Split};
use serde::{Deserialize, Serialize};

/// Name of the metric that says which epoch is the best: COCO's AP on the validation images.
pub(super) const BEST_METRIC: &str = "ap";

/// The epoch whose weights are in `best.safetensors`.
///
/// It is the first one with the highest AP on the validation images. If these have no objects, the AP is
/// unknown, and the last epoch is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BestEpoch {
    /// Counted from 1; 0 where none is known.
    pub epoch: usize,
    /// Its AP, as the evaluation of its weights gives it; `None` where it is unknown.
    pub ap: Option<f64>,
}

impl BestEpoch {
    /// The best of the epochs 1 to `last`, whose AP `ap` gives.
    pub(super) fn of(last: usize, ap: impl Fn(usize) -> Option<f64>) -> Self {
        let known = (1..=last).filter_map(|epoch| Some((epoch, ap(epoch)?)));
        let best = known.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(Self { epoch: last, ap: None }, |(epoch, ap)| Self { epoch, ap: Some(ap) })
    }

    /// The best of the epochs 1 to `last` in burn-train's store. In a resumed run, this includes the epochs
    /// before it resumed.
    pub(super) fn in_store(last: usize, store: &EventStoreClient) -> Self {
        Self::of(last, |epoch| store.find_metric(BEST_METRIC, epoch, Aggregate::Mean, &Split::Valid))
    }
}

impl fmt::Display for BestEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ap {
            Some(ap) => write!(f, "epoch {}, AP {ap:.4} on the validation images", self.epoch),
            None => write!(
                f,
                "epoch {}, the last one: the AP is unknown, because the validation images have no objects",
                self.epoch
            ),
        }
    }
}

/// Stops a run after `patience` epochs without a better one.
#[derive(Clone)]
pub(super) struct EarlyStopping {
    pub patience: usize,
}

impl EarlyStopping {
    /// Whether a run ends after the epoch `last`.
    pub fn ends(&self, last: usize, best: BestEpoch) -> bool {
        last - best.epoch >= self.patience
    }
}

impl EarlyStoppingStrategy for EarlyStopping {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        self.ends(epoch, BestEpoch::in_store(epoch, store))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_highest_is_the_best_and_the_last_one_where_nothing_is_known() {
        let of = |aps: &[Option<f64>]| BestEpoch::of(aps.len(), |epoch| aps[epoch - 1]);
        assert_eq!(of(&[Some(0.1), Some(0.3), Some(0.3)]), BestEpoch { epoch: 2, ap: Some(0.3) });
        assert_eq!(of(&[Some(0.0), Some(0.0)]), BestEpoch { epoch: 1, ap: Some(0.0) });
        assert_eq!(of(&[None, None, None]), BestEpoch { epoch: 3, ap: None });
        let stopping = EarlyStopping { patience: 2 };
        assert!(stopping.ends(3, of(&[Some(0.2), Some(0.1), Some(0.1)])));
        assert!(!stopping.ends(3, of(&[None, None, None])));
    }
}
