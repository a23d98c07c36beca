//! Parquet tables that are damaged, or made to do harm: each gives an error that names it, in bounded memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{DataType, Field};
use faster_rcnn::data::{Format, SyntheticConfig, open, write_synthetic, write_tables};
use faster_rcnn::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use crate::memory::{MIB, measured};
use crate::mutants::fuzz;

/// What reading the objects of a table may take beside 64 times its size: what `formats::tables` says, and
/// what the end of a file describes.
const READING: usize = 400 * MIB;

/// What reading an image may take, as `formats::tables` says.
const IMAGE: usize = 1024 * MIB;

struct Bench {
    folder: TempDir,
    /// Of one thread, that of the test, whose memory is counted.
    pool: rayon::ThreadPool,
}

impl Bench {
    fn new() -> Self {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
        Self { folder: tempfile::tempdir().unwrap(), pool }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("hostile.parquet")
    }

    /// Reads a table and its images; the first error, if there is any, has been looked at.
    fn read(&self, bytes: &[u8]) -> Result<usize> {
        let path = self.path();
        fs::write(&path, bytes).unwrap();
        let (read, peak) = measured(|| self.pool.install(|| Format::Parquet.read(&path)));
        assert!(peak < READING + 64 * bytes.len(), "reading {} bytes took {peak}", bytes.len());
        let (data, report) = read.inspect_err(|error| self.check(error))?;
        for fault in report.faults.iter().chain(&report.warnings) {
            self.check(fault);
        }
        data.validate().inspect_err(|error| self.check(error))?;
        for record in data.records.iter().take(20) {
            let (result, peak) = measured(|| record.image.read());
            assert!(peak < IMAGE + 8 * bytes.len(), "an image of {} bytes took {peak}", bytes.len());
            result.inspect_err(|error| self.check(error))?;
        }
        report.into_warnings()?;
        Ok(data.records.len())
    }

    fn check(&self, error: &Error) {
        let text = format!("{error:#}");
        match error {
            // Names of classes are of no file.
            Error::Config(message) => assert!(message.contains("class"), "{text}"),
            Error::File { path, .. } | Error::Image { path, .. } | Error::Io { path, .. } => {
                assert!(path.starts_with(self.folder.path()), "{text}");
            }
            _ => panic!("{text}"),
        }
        assert!(text.len() < 20_000, "an error of {} bytes", text.len());
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables");
    fs::read(folder.join(name)).unwrap()
}

/// Small tables of this program and of others.
fn seeds() -> Vec<Vec<u8>> {
    let names =
        ["boxes/labels.parquet", "pyarrow_index.parquet", "pyarrow.parquet", "datasets_lists.parquet"];
    let mut seeds: Vec<Vec<u8>> = names.map(fixture).into();
    seeds.extend(["datasets_structures.parquet", "pandas.parquet"].map(fixture));
    let folder = tempfile::tempdir().unwrap();
    let boards = folder.path().join("boards");
    write_synthetic(&boards, 3, &SyntheticConfig { size: 128, seed: 0 }).unwrap();
    let tables = folder.path().join("tables");
    write_tables(open(&boards).unwrap().sides(0), &tables).unwrap();
    seeds.push(fs::read(tables.join("LABELS_TRAIN.parquet")).unwrap());
    seeds.push(fs::read(tables.join("test_data.parquet")).unwrap());
    seeds
}

/// A table with these columns, of which `repeat` times the same rows are written.
fn table(columns: Vec<(&str, ArrayRef)>, repeat: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    let (batch, mut file) = (batch.unwrap(), Vec::new());
    let properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(Default::default())).build();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
    for _ in 0..repeat {
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
    file
}

/// Objects without any, for `rows` rows.
fn no_objects(rows: usize) -> ArrayRef {
    let element = |kind| Arc::new(Field::new("element", kind, true));
    let numbers = DataType::List(element(DataType::Float64));
    let fields =
        [("bbox", DataType::List(element(numbers))), ("category", DataType::List(element(DataType::Int64)))];
    let fields = fields.map(|(name, kind)| Field::new(name, kind, true));
    new_null_array(&DataType::Struct(fields.into_iter().collect()), rows)
}

/// A column of images with these bytes, or none, and paths.
fn images(bytes: Option<&[u8]>, path: &str, rows: usize) -> ArrayRef {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![bytes; rows]));
    let paths: ArrayRef = Arc::new(StringArray::from(vec![path; rows]));
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    Arc::new(StructArray::from(vec![(field("bytes", &bytes), bytes), (field("path", &paths), paths)]))
}

#[test]
fn bombs_are_errors() {
    const ROWS: usize = 10_000;
    let bench = Bench::new();
    let size = |rows: usize| -> ArrayRef { Arc::new(Int32Array::from(vec![8; rows])) };
    let whole = |image: ArrayRef, rows: usize, repeat: usize| {
        let columns = vec![
            ("image", image),
            ("objects", no_objects(rows)),
            ("width", size(rows)),
            ("height", size(rows)),
        ];
        table(columns, repeat)
    };
    assert_eq!(bench.read(&whole(images(Some(b"image"), "a.png", 3), 3, 1)).unwrap(), 3);

    let rows = whole(images(Some(b""), "a.png", ROWS), ROWS, 200);
    assert!(rows.len() < MIB, "{}", rows.len());
    // One row with a list of 30 million numbers.
    let numbers: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![1.0; 30_000_000]));
    let list = |values: ArrayRef, length: usize| -> ArrayRef {
        let element = Arc::new(Field::new("element", values.data_type().clone(), true));
        Arc::new(ListArray::new(element, OffsetBuffer::from_lengths([length]), values, None))
    };
    let numbers = list(list(numbers, 30_000_000), 1);
    let categories = list(Arc::new(Int32Array::from(vec![1])), 1);
    let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let objects = StructArray::from(vec![
        (field("bbox", &numbers), numbers),
        (field("category", &categories), categories),
    ]);
    let long_list = table(vec![("image", images(Some(b""), "a.png", 1)), ("objects", Arc::new(objects))], 1);
    assert!(long_list.len() < MIB, "{}", long_list.len());
    let long_name = whole(images(Some(b""), &"a".repeat(5000), 1), 1, 1);
    let long_names = whole(images(Some(b""), &"a".repeat(4000), ROWS), ROWS, 10);
    for (name, bytes, expected) in [
        ("rows", rows, "unpacks to more than"),
        ("a list", long_list, "unpacks to more than"),
        ("a long name", long_name, "row 1: a text of 5000 bytes"),
        ("long names", long_names, "unpacks to more than"),
        (
            "a path out of the folder",
            whole(images(None, "../a.png", 1), 1, 1),
            "row 1: the path `../a.png` leaves",
        ),
        (
            "an absolute path",
            whole(images(None, "/etc/passwd", 1), 1, 1),
            "row 1: the path `/etc/passwd` leaves",
        ),
        ("a path to nothing", whole(images(None, "nothing.png", 1), 1, 1), "row 1: there is no file"),
        ("nothing", vec![], "shorter than a Parquet file"),
        ("text", b"these are not tables".to_vec(), "does not end as a Parquet file"),
        ("a long end", b"PAR1\xff\xff\xff\xffPAR1".to_vec(), "its end claims 4294967295 bytes"),
    ] {
        let error = format!("{:#}", bench.read(&bytes).expect_err(name));
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_table_that_ends_early_is_an_error_wherever_it_ends() {
    let bench = Bench::new();
    for bytes in seeds() {
        for length in (0..bytes.len()).step_by(bytes.len() / 100 + 1) {
            bench.read(&bytes[..length]).unwrap_err();
        }
    }
}

#[test]
fn mutants_of_tables() {
    let bench = Bench::new();
    fuzz(3_000, &seeds(), |_, bytes| drop(bench.read(bytes)));
}
