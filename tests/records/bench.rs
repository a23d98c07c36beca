//! What the tests share.

use std::fs;
use std::future::Future;
use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use faster_rcnn::Error;
use faster_rcnn::records::{
    Fields, Filter, Found, Inspection, Judged, Milliseconds, Model, NewImage, NewInspection, Records, Verdict,
};
use image::{ImageFormat, RgbImage};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::postgres::Postgres;

pub const CLASSES: [&str; 3] = ["open", "short", "Mäusebiß"];

/// A folder for a test's files.
pub struct Bench {
    folder: TempDir,
    pub records: Records,
    pub runtime: Runtime,
    /// Ends last.
    pub postgres: Option<Postgres>,
}

impl Bench {
    pub fn new(postgres: Option<Postgres>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let url = match &postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite:{}", folder.path().join("a %3F?#.db").display()),
        };
        let records = runtime.block_on(Records::open(&url, folder.path().join("images"))).unwrap();
        Self { folder, records, runtime, postgres }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn run<T, F: Future<Output = T>>(&self, work: impl FnOnce(Records) -> F) -> T {
        self.runtime.block_on(work(self.records.clone()))
    }

    pub fn add(&self, new: NewInspection) -> Inspection {
        let added = self.run(async |records| records.add(new).await).unwrap();
        // Ids of the same millisecond sort, too; filters by time need another one.
        std::thread::sleep(Duration::from_millis(3));
        added
    }

    pub fn list(&self, filter: &Filter) -> Vec<Inspection> {
        self.run(async |records| records.list(filter, None, 1000).await).unwrap().items
    }

    pub fn judge(&self, id: uuid::Uuid, verdict: &Verdict) -> Result<Judged, Error> {
        self.run(async |records| records.set_verdict(id, verdict).await)
    }

    /// The inspection with a verdict that is stored.
    pub fn judged(&self, id: uuid::Uuid, verdict: &Verdict) -> Inspection {
        match self.judge(id, verdict).unwrap() {
            Judged::Stored(inspection) => inspection,
            other => panic!("{other:?}"),
        }
    }

    /// The images in the folder.
    pub fn stored(&self) -> usize {
        let parts = fs::read_dir(self.path("images")).unwrap().map(|part| part.unwrap().path());
        parts.filter(|part| part.is_dir()).map(|part| fs::read_dir(part).unwrap().count()).sum()
    }
}

pub fn over_both(test: impl Fn(Bench)) {
    test(Bench::new(None));
    test(Bench::new(Some(Postgres::start())));
}

/// A picture of one colour as a PNG.
pub fn png(colour: u32) -> Vec<u8> {
    let [_, r, g, b] = colour.to_be_bytes();
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(40, 30, image::Rgb([r, g, b])).write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

pub fn new_image(colour: u32) -> NewImage {
    let (bytes, name) = (png(colour).into(), Some(format!("{colour}.png")));
    NewImage { bytes, name, width: 40, height: 30, media_type: "image/png".to_string() }
}

pub fn found(label: usize, score: f32) -> Found {
    let name = Some(CLASSES[label - 1].to_string());
    Found { xyxy: [1.5, 2.25, 20.1, 29.9], label, name, score, verdict: None }
}

pub fn new(colour: u32, line: &str, detections: Vec<Found>) -> NewInspection {
    NewInspection {
        model: Model { name: Some("pcb".to_string()), version: Some(3), sha256: "ab".repeat(32) },
        class_names: CLASSES.map(str::to_string).to_vec(),
        image: new_image(colour),
        reference: None,
        fields: Fields { line: Some(line.to_string()), product: None, board: None },
        score_threshold: 0.05,
        detections,
        milliseconds: Milliseconds { total: colour.into(), ..Milliseconds::default() },
        key: None,
    }
}
