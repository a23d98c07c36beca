//! The way from files to a batch of tensors: 16 boards of 640 x 640, varied, in batches of two.

use std::hint::black_box;

use burn::tensor::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use faster_rcnn::TransformConfig;
use faster_rcnn::data::{
    self, AugmentConfig, Batch, Loader, Record, SyntheticConfig, board, write_synthetic,
};

const BOARDS: usize = 16;
const SEED: u64 = 0;

fn pipeline(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder for the boards");
    let config = SyntheticConfig { seed: SEED, ..SyntheticConfig::default() };
    write_synthetic(folder.path(), BOARDS, &config).expect("boards are written");
    let records = data::open(folder.path()).expect("boards are read").records;
    let epoch_of = |records: &[Record], threads: usize| -> Vec<Batch> {
        let loader = Loader::in_order(records, 2, threads).shuffled(&AugmentConfig::default(), SEED, 1);
        loader.next_epoch().map(|batch| batch.expect("a board is decoded")).collect()
    };

    let epoch = |threads: usize| epoch_of(&records, threads);

    let (one, two) = (epoch(1), epoch(2));
    let content = |batches: &[Batch]| -> Vec<_> {
        batches
            .iter()
            .flat_map(|batch| batch.names.iter().zip(&batch.images))
            .map(|(name, image)| (name.clone(), image.clone()))
            .collect()
    };
    let (one, two) = (content(&one), content(&two));
    assert!(one.len() == BOARDS && one == two, "what an epoch gives depends on the number of threads");

    let mut group = criterion.benchmark_group("data_640");
    group.sample_size(20);
    group.bench_function("board", |bencher| bencher.iter(|| black_box(board(&config, 0))));
    group.throughput(Throughput::Elements(BOARDS as u64));
    for threads in [1, 2] {
        group.bench_function(format!("epoch_{threads}_threads"), |bencher| {
            bencher.iter(|| black_box(epoch(threads)));
        });
    }
    #[cfg(feature = "tables")]
    {
        let tables = folder.path().join("tables");
        let split = data::open(folder.path()).expect("boards are read").sides(SEED);
        data::write_tables(split, &tables).expect("tables are written");
        let rows = data::open(&tables).expect("tables are read").records;
        group.bench_function("epoch_2_threads_from_tables", |bencher| {
            bencher.iter(|| black_box(epoch_of(&rows, 2)));
        });
        for (name, records) in [("bytes_of_files", &records), ("bytes_of_rows", &rows)] {
            let read = |record: &Record| record.image.read().expect("a board is read").len();
            group.bench_function(name, |bencher| {
                bencher.iter(|| black_box(records.iter().map(read).sum::<usize>()));
            });
        }
    }
    let images: Vec<_> = one.into_iter().map(|(_, image)| image).take(2).collect();
    group.throughput(Throughput::Elements(images.len() as u64));
    let device = Device::flex();
    group.bench_function("transform_640_to_800", |bencher| {
        bencher.iter(|| black_box(TransformConfig::default().batch(&images, &device)));
    });
    group.finish();
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
