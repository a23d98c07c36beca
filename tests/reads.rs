//! How often the host waits for a GPU: once a batch at inference, twice a step in training.
//!
//! Reading a buffer takes mapping it, and wgpu logs each mapping, so what is counted is what happens, whoever
//! asked for it. One test only: the log is that of the whole process.
#![cfg(feature = "wgpu")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use common::{gpu, image};
use faster_rcnn::data::deep_pcb::CLASS_NAMES;
use faster_rcnn::data::{self, SyntheticConfig, write_synthetic};
use faster_rcnn::train::{Run, RunConfig};
use faster_rcnn::{FasterRcnnConfig, Predictor};
use log::{LevelFilter, Log, Metadata, Record};

/// Counts what wgpu maps.
struct Reads(AtomicUsize);

static READS: Reads = Reads(AtomicUsize::new(0));

impl Log for Reads {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.target().starts_with("wgpu_core")
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) && record.args().to_string().starts_with("Buffer::map_async") {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn flush(&self) {}
}

fn reads(work: impl FnOnce()) -> usize {
    let before = READS.0.load(Ordering::SeqCst);
    work();
    READS.0.load(Ordering::SeqCst) - before
}

fn config() -> FasterRcnnConfig {
    FasterRcnnConfig::tiny(7).with_class_names(&CLASS_NAMES)
}

#[test]
fn the_host_reads_once_a_batch_and_twice_a_training_step() {
    let Some(device) = gpu() else { return };
    log::set_logger(&READS).unwrap();
    log::set_max_level(LevelFilter::Trace);

    let model = config().init(&device);
    let images = [image("image0", 64, 50), image("image1", 40, 64), image("image2", 64, 64)];
    for count in 1..=3 {
        assert_eq!(reads(|| drop(model.forward(&images[..count]))), 1, "a batch of {count}");
    }
    let predictor = Predictor::new(model);
    assert_eq!(
        reads(|| drop(predictor.detect(&::image::RgbImage::new(64, 64)).unwrap())),
        1,
        "with a check of all stages"
    );

    // A run reads its weights at the end of an epoch, too; a longer one differs by its steps only.
    let (short, long) = (reads_of_a_run(1, &device), reads_of_a_run(4, &device));
    println!("reads: {short} in a run of one step, {long} in one of four");
    assert_eq!(long - short, 3 * 2);
}

/// Those of an epoch of so many steps.
fn reads_of_a_run(steps: usize, device: &Device) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let boards = folder.path().join("boards");
    write_synthetic(&boards, 8, &SyntheticConfig { size: 128, seed: 3 }).unwrap();
    let mut data = data::open(&boards).unwrap().sides(0);
    data.train.records.truncate(steps);
    let mut run = RunConfig::new(config());
    run.train.epochs = 1;
    run.train.batch_size = 1;
    run.train.clip_norm = Some(5.0);
    reads(|| {
        Run::new(run, data).on(device.clone()).fit(folder.path().join("run")).unwrap();
    })
}
