//! Images on their way to a worker: they travel as bytes, and become the numbers that they are here.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use faster_rcnn::data::Batch;
use faster_rcnn::image::RgbImage;
use faster_rcnn::workers::connect;
use faster_rcnn::{Image, TransformConfig};

use super::bench::Bench;
use super::model;
use super::training::{gradient, values};

/// Passes on what a trainer and a worker say to each other. Gives where it listens, and counts the trainer's
/// bytes.
fn counted(worker: &str) -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("ws://{}", listener.local_addr().unwrap());
    let (worker, count) = (worker.strip_prefix("ws://").unwrap().to_string(), Arc::new(AtomicU64::new(0)));
    let counter = count.clone();
    let pass = |mut from: TcpStream, mut to: TcpStream, counter: Option<Arc<AtomicU64>>| {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if let Some(counter) = &counter {
                counter.fetch_add(length as u64, Ordering::Relaxed);
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::spawn(move || {
        for trainer in listener.incoming() {
            let (trainer, worker) = (trainer.unwrap(), TcpStream::connect(&worker).unwrap());
            let (back, to_trainer) = (worker.try_clone().unwrap(), trainer.try_clone().unwrap());
            let counter = counter.clone();
            thread::spawn(move || pass(trainer, worker, Some(counter)));
            thread::spawn(move || pass(back, to_trainer, None));
        }
    });
    (address, count)
}

/// `(width, height)` pixels of all values.
fn picture((width, height): (u32, u32)) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        [(x + y) as u8, (7 * x + y * y) as u8, (x * y / 3 + 11 * y) as u8].into()
    })
}

/// The same image as floating point numbers, which travel as they are.
fn as_floats(image: &Image) -> Image {
    Image::new(image.data().into_owned(), image.size())
}

#[test]
fn images_reach_a_worker_as_bytes_and_become_the_same_numbers_there() {
    let bench = Bench::new();
    let worker = bench.worker();
    let (address, sent) = counted(&worker.address);
    let team = connect(&[address.parse().unwrap()], Some("secret")).unwrap();
    let device = &team.members()[0].device;
    // What the trainer has sent when the worker has answered.
    let bytes_of = |work: &mut dyn FnMut() -> Vec<f32>| {
        let before = sent.load(Ordering::Relaxed);
        let values = work();
        let start = Instant::now();
        while sent.load(Ordering::Relaxed) == before {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        (values, sent.load(Ordering::Relaxed) - before)
    };

    let transform = TransformConfig { min_size: 128, max_size: 160, ..TransformConfig::default() };
    // As they are, also of a size that is no multiple of 4; larger and smaller; much smaller than half.
    for sizes in
        [vec![(128, 128)], vec![(129, 131), (160, 128)], vec![(99, 70), (150, 201)], vec![(400, 420)]]
    {
        let images: Vec<Image> = sizes.iter().map(|size| Image::from(picture(*size))).collect();
        let batch = |device: &Device| transform.batch(&images, device).tensor;
        let (found, count) = bytes_of(&mut || values(batch(device).flatten(0, 3)));
        let expected = values(batch(&Device::flex()).flatten(0, 3));
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found) == bits(&expected), "{sizes:?}");
        let whole: usize = images.iter().map(|image| 3 * image.size().0 * image.size().1).sum();
        let least = whole.min(4 * expected.len()) as u64;
        assert!(count < least + least / 10 + 8_000, "{sizes:?}: {count} bytes for {least}");
    }

    // A step: the images are nearly all that a trainer sends.
    let origin = model().with_image_size(640, 640).init(&Device::flex().autodiff());
    let replica = origin.fork(&device.clone().autodiff());
    let mut batch = Batch {
        names: vec![String::new(); 4],
        images: vec![Image::from(picture((640, 640))); 4],
        annotations: vec![Vec::new(); 4],
        seeds: (0..4).collect(),
        share: 1.0,
    };
    let first = |tensor: Tensor<1>| values(tensor.slice(burn::tensor::s![0..1000]));
    let step = |batch: &Batch| bytes_of(&mut || first(gradient(&replica, batch)));
    // The weights travel with the first one.
    step(&batch);
    let (gradients, bytes) = step(&batch);
    batch.images = batch.images.iter().map(as_floats).collect();
    let (expected, floats) = step(&batch);
    assert_eq!(gradients, expected);
    println!("a step of four images of 640 pixels: the trainer sends {bytes} bytes, as f32 {floats}");
    assert!(bytes < floats / 3, "{bytes} bytes, as f32 {floats}");
}
