//! Several workers compute what one process computes.

use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use faster_rcnn::FasterRcnn;
use faster_rcnn::Sampling;
use faster_rcnn::data::{AugmentConfig, Batch, Loader};
use faster_rcnn::train::{GradientType, Run, Team, all_reduce};
use faster_rcnn::workers::{LocalWorkers, connect};
use serde_json::Value;

use super::{PROGRAM, alike, assert_close, boards, losses, model};

/// The gradient of a batch's losses, of all parameters together.
pub fn gradient(model: &FasterRcnn, batch: &Batch) -> Tensor<1> {
    let losses = model.losses(&batch.images, &batch.annotations, &mut Sampling::seeded(batch.seeds.clone()));
    let mut gradients =
        Flat(GradientsParams::from_grads((losses.sum() * batch.share).backward(), model), Vec::new());
    model.visit(&mut gradients);
    Tensor::cat(gradients.1, 0)
}

struct Flat(GradientsParams, Vec<Tensor<1>>);

impl ModuleVisitor for Flat {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.0.remove::<D>(param.id) {
            self.1.push(gradient.flatten(0, D - 1));
        }
    }
}

pub fn values(tensor: Tensor<1>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

#[test]
fn the_gradients_of_four_workers_sum_to_those_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let train = boards(folder.path(), 5).train;
    let batch = |loader: &Loader| burn::data::dataloader::DataLoader::iter(loader).next().unwrap().unwrap();
    let loader = |batch_size| {
        Loader::in_order(&train.records, batch_size, 1).shuffled(&AugmentConfig::default(), 7, 1)
    };
    let origin = model().init(&Device::flex().autodiff());
    let whole = values(gradient(&origin, &batch(&loader(4))));

    let workers = LocalWorkers::start(Path::new(PROGRAM), 4).unwrap();
    let team = connect(workers.addresses(), Some(workers.token())).unwrap();
    let parts = team.members().iter().enumerate().map(|(index, member)| {
        let replica = origin.clone().fork(&member.device.clone().autodiff());
        gradient(&replica, &batch(&loader(1).shard(index, 4)))
    });
    let sums: Vec<Vec<f32>> = team.sum(parts.collect(), GradientType::F32).into_iter().map(values).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "every worker has the same sum, bit for bit");
    let norm =
        |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
    let difference = norm(&mut sums[0].iter().zip(&whole).map(|(a, b)| a - b));
    let relative = difference / norm(&mut whole.iter().copied());
    assert!(whole.len() == sums[0].len() && relative < 1e-5, "{relative}");

    // More elements than travel at once, and fewer than there are workers; numbers that do not divide. Small
    // whole numbers sum exactly.
    for elements in [(9 << 20) + 5, 3] {
        let tensors = || {
            let members = team.members().iter().enumerate().map(|(index, member)| {
                let values = (0..elements).map(|place| (place % 1000 + index) as f32).collect::<Vec<_>>();
                Tensor::from_data(TensorData::new(values, [elements]), &member.device)
            });
            members.collect::<Vec<_>>()
        };
        // Between the workers, and with burn's transfers, as over iroh.
        let sums = team.sum(tensors(), GradientType::F32).into_iter().chain(all_reduce(tensors()));
        for sum in sums {
            let sum = values(sum);
            assert_eq!(sum.len(), elements);
            assert!(sum.iter().enumerate().all(|(place, sum)| *sum == (4 * (place % 1000) + 6) as f32));
        }
    }
}

#[test]
fn four_workers_train_as_one_process_does_also_where_images_remain() {
    let folder = tempfile::tempdir().unwrap();
    // 18 images to train on: the last batch of an epoch has two for four workers.
    let data = boards(&folder.path().join("boards"), 20);
    assert_eq!(data.train.records.len(), 18);
    let (one, four) = (folder.path().join("one"), folder.path().join("four"));
    Run::new(alike(4, 4), data.clone()).fit(&one).unwrap();
    let workers = LocalWorkers::start(Path::new(PROGRAM), 4).unwrap();
    let team = connect(workers.addresses(), Some(workers.token())).unwrap();
    // Fails where the replicas' weights are not the same, bit for bit, at the end of an epoch.
    Run::new(alike(1, 4), data.clone()).on(team).fit(&four).unwrap();
    let (one_losses, four_losses) = (losses(&one), losses(&four));
    assert_eq!(one_losses.len(), 20);
    assert_close(&four_losses, &one_losses);
    // Devices of this process do, too.
    let two = folder.path().join("two");
    let devices = Team::new([Device::flex(), Device::flex()]);
    Run::new(alike(2, 4), data.clone()).on(devices).fit(&two).unwrap();
    assert_close(&losses(&two), &one_losses);
    // Steps twice as large are told from these.
    let mut other = alike(4, 4);
    other.train.learning_rate *= 2.0;
    let doubled = folder.path().join("doubled");
    Run::new(other, data).fit(&doubled).unwrap();
    let differs = |(one, other): (&f64, &f64)| (one - other).abs() > 1e-3 * one;
    assert!(one_losses.iter().zip(&losses(&doubled)).any(differs));
    // Validation once an epoch, and the numbers of one checkpoint.
    let text = fs::read_to_string(four.join("metrics.jsonl")).unwrap();
    let ends = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(ends.filter(|row| row["split"] == "valid" && row["step"].is_null()).count(), 4);
    let checkpoints: Vec<_> = fs::read_dir(four.join("checkpoints")).unwrap().collect();
    assert_eq!(checkpoints.len(), 3, "{checkpoints:?}");
}
