//! What is in a data set: how many images and boxes, of which classes, sizes and shapes.

use serde::Serialize;

use super::dataset::{Dataset, Record, Side};
use crate::structures::{Annotation, Xyxy};

/// The parts of the values that the [quantiles](Distribution::quantiles) are above.
pub const QUANTILES: [f64; 7] = [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0];

/// The IoU from which an anchor covers a box.
pub const COVERED: f32 = 0.5;

/// What is in a data set. Printed, it is a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatasetStats {
    /// Images and boxes of the whole data set.
    #[serde(flatten)]
    pub total: SideStats,
    /// Of each side that has images; empty where no image has a side.
    pub sides: Vec<SideStats>,
    /// Classes 1, 2, ...
    pub classes: Vec<ClassStats>,
    /// Boxes that neither training nor evaluation counts: crowds and difficult ones. They are in all numbers
    /// of boxes, but not in the distributions.
    pub ignored: usize,
    /// Groups of images; 0 where no image has a group.
    pub groups: usize,
    /// Pixels of the images' heights; the distributions are `None` where there is nothing.
    pub image_height: Option<Distribution>,
    /// Pixels of the images' widths.
    pub image_width: Option<Distribution>,
    /// Pixels of the original image.
    pub box_height: Option<Distribution>,
    /// Pixels of the original image.
    pub box_width: Option<Distribution>,
    /// The square root of the area, in pixels of the original image.
    pub box_size: Option<Distribution>,
    /// Height over width.
    pub aspect_ratio: Option<Distribution>,
    /// The boxes as a detector sees them, where one is given.
    pub anchors: Option<AnchorStats>,
}

/// Images and boxes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SideStats {
    /// `None` for all images, and for those without a side.
    #[serde(serialize_with = "side_name", skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// How many images.
    pub images: usize,
    /// Those of them that have no objects.
    pub images_without_objects: usize,
    /// How many boxes.
    pub boxes: usize,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassStats {
    /// What it is called.
    pub name: String,
    /// How many boxes.
    pub boxes: usize,
    /// Images that have such a box.
    pub images: usize,
    /// Boxes on each side, in the order of [`DatasetStats::sides`].
    pub boxes_of_sides: Vec<usize>,
    /// Boxes that no anchor covers, where a detector is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncovered: Option<usize>,
}

/// The boxes against a detector's anchors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnchorStats {
    /// `(width, height)` of the anchors, in pixels of the resized image.
    pub shapes: Vec<(f32, f32)>,
    /// Boxes that no anchor covers: the best has an IoU below [`COVERED`].
    pub uncovered: usize,
    /// The highest IoU that an anchor has with a box.
    pub best_iou: Option<Distribution>,
    /// The square root of a box's area, in pixels of the resized image.
    pub resized_size: Option<Distribution>,
    /// Each box in pixels of the resized image.
    #[serde(skip)]
    pub boxes: Vec<ResizedBox>,
}

/// A box as a detector sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizedBox {
    /// `(width, height)` in pixels of the resized image.
    pub shape: (f32, f32),
    /// The highest IoU that an anchor has with it.
    pub best_iou: f32,
}

/// How values are spread.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// The values below which the parts [`QUANTILES`] lie; the first is the least, the last is the greatest.
    pub quantiles: [f32; 7],
    /// How many values lie in which range. Ranges follow each other without gaps.
    pub histogram: Vec<Bin>,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// The least value that belongs to it.
    pub from: f32,
    /// The values are below this; those of the last bin may be equal.
    pub to: f32,
    /// How many values.
    pub count: usize,
}

fn side_name<S: serde::Serializer>(side: &Option<Side>, serializer: S) -> Result<S::Ok, S::Error> {
    side.map(Side::name).serialize(serializer)
}

impl Side {
    /// `train`, `validation` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl DatasetStats {
    /// Counts what is in `data`, which [is valid](Dataset::validate).
    ///
    /// # Panics
    ///
    /// If a label lies outside `1..=class_names.len()`.
    pub fn new(data: &Dataset) -> Self {
        let records = || data.records.iter();
        let mut sides = Vec::new();
        if records().any(|record| record.side.is_some()) {
            for side in [Some(Side::Train), Some(Side::Validation), Some(Side::Test), None] {
                sides.extend(SideStats::of(side, records().filter(|record| record.side == side)));
            }
        }
        let counted: Vec<&Annotation> =
            records().flat_map(|record| &record.annotations).filter(|object| !object.is_ignored()).collect();
        let boxes = |value: fn(f32, f32) -> f32| {
            let values = counted.iter().map(|object| {
                let [x1, y1, x2, y2] = object.xyxy;
                value(x2 - x1, y2 - y1)
            });
            Distribution::logarithmic(values.collect())
        };
        let groups: std::collections::HashSet<_> =
            records().filter_map(|record| record.group.as_ref()).collect();
        let total = SideStats::of(None, records());
        let total = total.unwrap_or(SideStats { side: None, images: 0, images_without_objects: 0, boxes: 0 });
        Self {
            classes: classes(data, &sides),
            ignored: total.boxes - counted.len(),
            total,
            sides,
            groups: groups.len(),
            image_height: Distribution::logarithmic(records().map(|record| record.size.0 as f32).collect()),
            image_width: Distribution::logarithmic(records().map(|record| record.size.1 as f32).collect()),
            box_height: boxes(|_, height| height),
            box_width: boxes(|width, _| width),
            box_size: boxes(|width, height| (width * height).sqrt()),
            aspect_ratio: boxes(|width, height| height / width),
            anchors: None,
        }
    }

    /// With how well a detector's anchors fit the boxes of `data`, the data set that the numbers are of.
    ///
    /// `shapes` are `(width, height)` of the anchors. `resize` is given a box and `(height, width)` of its
    /// image, and says how the detector sees it.
    #[must_use]
    pub fn with_anchors(
        mut self,
        data: &Dataset,
        shapes: Vec<(f32, f32)>,
        resize: impl Fn(&Xyxy, (usize, usize)) -> ResizedBox,
    ) -> Self {
        let (mut boxes, mut uncovered) = (Vec::new(), vec![0; self.classes.len()]);
        for record in &data.records {
            for object in record.annotations.iter().filter(|object| !object.is_ignored()) {
                let seen = resize(&object.xyxy, record.size);
                uncovered[object.label - 1] += usize::from(seen.best_iou < COVERED);
                boxes.push(seen);
            }
        }
        let size = |seen: &ResizedBox| (seen.shape.0 * seen.shape.1).sqrt();
        for (class, uncovered) in self.classes.iter_mut().zip(&uncovered) {
            class.uncovered = Some(*uncovered);
        }
        self.anchors = Some(AnchorStats {
            shapes,
            uncovered: uncovered.iter().sum(),
            best_iou: Distribution::of_parts(boxes.iter().map(|seen| seen.best_iou).collect()),
            resized_size: Distribution::logarithmic(boxes.iter().map(size).collect()),
            boxes,
        });
        self
    }
}

impl SideStats {
    /// None where there are no images.
    fn of<'a>(side: Option<Side>, records: impl Iterator<Item = &'a Record>) -> Option<Self> {
        let mut stats = Self { side, images: 0, images_without_objects: 0, boxes: 0 };
        for record in records {
            stats.images += 1;
            stats.images_without_objects += usize::from(record.annotations.is_empty());
            stats.boxes += record.annotations.len();
        }
        (stats.images > 0).then_some(stats)
    }
}

fn classes(data: &Dataset, sides: &[SideStats]) -> Vec<ClassStats> {
    let class = |name: &String| ClassStats {
        name: name.clone(),
        boxes: 0,
        images: 0,
        boxes_of_sides: vec![0; sides.len()],
        uncovered: None,
    };
    let mut classes: Vec<ClassStats> = data.class_names.iter().map(class).collect();
    for record in &data.records {
        let side = sides.iter().position(|side| side.side == record.side);
        let mut labels: Vec<usize> = record.annotations.iter().map(|object| object.label).collect();
        for label in &labels {
            let class = &mut classes[label - 1];
            class.boxes += 1;
            if let Some(side) = side {
                class.boxes_of_sides[side] += 1;
            }
        }
        labels.sort_unstable();
        labels.dedup();
        labels.iter().for_each(|label| classes[label - 1].images += 1);
    }
    classes
}

impl Distribution {
    /// With a histogram of two bins to a doubling.
    fn logarithmic(values: Vec<f32>) -> Option<Self> {
        let edge =
            |bin: i32| f64::from(bin).div_euclid(2.0).exp2() * if bin % 2 == 0 { 1.0 } else { 2_f64.sqrt() };
        Self::new(values, |value| (2.0 * f64::from(value).log2()).floor() as i32, edge)
    }

    /// Of values in `0..=1`, with a histogram of bins of a tenth.
    fn of_parts(values: Vec<f32>) -> Option<Self> {
        Self::new(values, |value| ((value * 10.0) as i32).min(9), |bin| f64::from(bin) / 10.0)
    }

    /// `bin` is the number of a value's bin, and `edge` where a bin begins. None without values.
    fn new(mut values: Vec<f32>, bin: impl Fn(f32) -> i32, edge: impl Fn(i32) -> f64) -> Option<Self> {
        values.sort_by(f32::total_cmp);
        let (first, last) = (bin(*values.first()?), bin(*values.last()?));
        let mut histogram: Vec<Bin> = (first..=last)
            .map(|bin| Bin { from: edge(bin) as f32, to: edge(bin + 1) as f32, count: 0 })
            .collect();
        values.iter().for_each(|value| histogram[(bin(*value) - first) as usize].count += 1);
        let quantile = |part: f64| {
            // As numpy's default, between the two nearest values.
            let place = part * (values.len() - 1) as f64;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            low + (high - low) * place.fract() as f32
        };
        Some(Self { quantiles: QUANTILES.map(quantile), histogram })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys_and_every_value_is_in_its_bin() {
        let values = || vec![8.0, 4.0, 6.0, 5.7, 1.0];
        let log = Distribution::logarithmic(values()).unwrap();
        // numpy.quantile([1, 4, 5.7, 6, 8], [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        let expected = [1.0, 1.6, 4.0, 5.7, 6.0, 7.6, 8.0];
        assert!(log.quantiles.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{log:?}");
        let counts: Vec<usize> = log.histogram.iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [1, 0, 0, 0, 1, 2, 1]);
        assert_eq!(
            (log.histogram[0].from, log.histogram[6].from, log.histogram[6].to),
            (1.0, 8.0, 128_f32.sqrt())
        );
        assert!(log.histogram.windows(2).all(|bins| bins[0].to == bins[1].from));
        let small = Distribution::logarithmic(vec![0.3, 0.5]).unwrap().histogram;
        assert_eq!((small[0].from, small.last().unwrap().from), (0.25, 0.5));

        let parts = Distribution::of_parts(vec![0.05, 0.45, 1.0]).unwrap().histogram;
        assert_eq!((parts.len(), parts[4].count, parts[9].count, parts[9].to), (10, 1, 1, 1.0));
        assert_eq!(Distribution::of_parts(vec![]), None);
    }

    #[test]
    fn sides_classes_and_ignored_boxes_are_counted() {
        let object = |label| Annotation::new([0.0, 0.0, 10.0, 20.0], label);
        let record = |objects: Vec<Annotation>, side| Record::new("a.png", (40, 60), objects).with_side(side);
        let crowd = Annotation { crowd: true, ..object(1) };
        let records = vec![
            record(vec![object(1), object(1), crowd], Side::Train).with_group("a"),
            record(vec![object(1), object(3)], Side::Test).with_group("a"),
            record(vec![], Side::Test),
        ];
        let data = Dataset::new(records, ["a", "b", "c"]);
        let seen = |xyxy: &Xyxy, size: (usize, usize)| ResizedBox {
            shape: (xyxy[2] * 2.0, xyxy[3] * size.0 as f32 / 20.0),
            best_iou: 0.6,
        };
        let stats = DatasetStats::new(&data).with_anchors(&data, vec![(20.0, 40.0)], seen);
        let counts = |stats: &SideStats| (stats.images, stats.images_without_objects, stats.boxes);
        assert_eq!(counts(&stats.total), (3, 1, 5));
        assert_eq!(stats.sides.iter().map(counts).collect::<Vec<_>>(), [(1, 0, 3), (2, 1, 2)]);
        let classes: Vec<_> = stats
            .classes
            .iter()
            .map(|class| (class.boxes, class.images, class.boxes_of_sides.clone()))
            .collect();
        assert_eq!(classes, [(4, 2, vec![3, 1]), (0, 0, vec![0, 0]), (1, 1, vec![0, 1])]);
        assert_eq!((stats.ignored, stats.groups), (1, 1));
        assert_eq!(stats.aspect_ratio.as_ref().unwrap().quantiles, [2.0; 7]);
        let anchors = stats.anchors.as_ref().unwrap();
        assert_eq!((anchors.uncovered, anchors.boxes.len(), anchors.boxes[0].shape), (0, 4, (20.0, 40.0)));

        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!((&json["images"], &json["sides"][1]["side"]), (&3.into(), &"test".into()));
        let none = DatasetStats::new(&Dataset::default());
        assert_eq!((none.total.images, none.box_size.is_none(), none.sides.len()), (0, true, 0));
        assert!(none.to_string().contains("\nall"), "{none}");
    }
}
