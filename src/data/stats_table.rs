//! The statistics of a data set as a table for a terminal.

use std::fmt;

use super::stats::{Bin, COVERED, DatasetStats, Distribution, SideStats};

/// Characters of the longest bar.
const BAR: usize = 40;

/// Cells of the head of each column of quantiles; see [`QUANTILES`](super::stats::QUANTILES).
const QUANTILE_NAMES: [&str; 7] = ["least", "5 %", "25 %", "median", "75 %", "95 %", "most"];

/// Lines that begin with a name, and have their cells right-aligned in columns.
struct Table(Vec<(String, Vec<String>)>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |texts: &mut dyn Iterator<Item = &String>| texts.map(|text| text.chars().count()).max();
        let name_width = width(&mut self.0.iter().map(|(name, _)| name)).unwrap_or(0);
        let columns = self.0.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        let column = |index: usize| self.0.iter().filter_map(move |(_, cells)| cells.get(index));
        let widths: Vec<usize> = (0..columns).map(|index| width(&mut column(index)).unwrap_or(0)).collect();
        for (name, cells) in &self.0 {
            write!(f, "{name:name_width$}")?;
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Counts by side and class, quantiles, and histograms.
impl fmt::Display for DatasetStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.counts())?;
        if self.ignored > 0 {
            writeln!(f, "{} of the boxes are crowds or difficult, and are left out below.", self.ignored)?;
        }
        write!(f, "\n{}\n{}", self.class_table(), self.quantiles())?;
        histogram(f, "Boxes by size (root of the area)", &self.box_size)?;
        histogram(f, "Boxes by aspect ratio (height / width)", &self.aspect_ratio)?;
        let Some(anchors) = &self.anchors else { return Ok(()) };
        histogram(f, "Boxes by the best IoU with an anchor", &anchors.best_iou)?;
        let (boxes, uncovered) = (anchors.boxes.len(), anchors.uncovered);
        let part = 100.0 * uncovered as f64 / boxes.max(1) as f64;
        write!(
            f,
            "\nNo anchor has an IoU of {COVERED} or more with {uncovered} of {boxes} boxes ({part:.1} %)."
        )
    }
}

impl DatasetStats {
    fn counts(&self) -> Table {
        let row = |name: &str, stats: &SideStats| {
            let counts = [stats.images, stats.boxes, stats.images_without_objects];
            (name.to_string(), counts.map(|count| count.to_string()).to_vec())
        };
        let head = ["images", "boxes", "images without boxes"].map(str::to_string).to_vec();
        let mut rows = vec![(String::new(), head), row("all", &self.total)];
        if self.groups > 0 {
            rows[0].1.push("groups".to_string());
            rows[1].1.push(self.groups.to_string());
        }
        let side = |stats: &SideStats| row(stats.side.map_or("no side", |side| side.name()), stats);
        rows.extend(self.sides.iter().map(side));
        Table(rows)
    }

    fn class_table(&self) -> Table {
        let mut head = vec!["boxes".to_string(), "images".to_string()];
        head.extend(
            self.sides.iter().map(|side| side.side.map_or("no side", |side| side.name()).to_string()),
        );
        if self.anchors.is_some() {
            head.push("no anchor".to_string());
        }
        let mut rows = vec![("class".to_string(), head)];
        for class in &self.classes {
            let counts = [class.boxes, class.images].into_iter().chain(class.boxes_of_sides.iter().copied());
            let counts = counts.chain(class.uncovered);
            rows.push((class.name.clone(), counts.map(|count| count.to_string()).collect()));
        }
        Table(rows)
    }

    fn quantiles(&self) -> Table {
        let mut rows = vec![("pixels".to_string(), QUANTILE_NAMES.map(str::to_string).to_vec())];
        let anchors = self.anchors.as_ref();
        for (name, values) in [
            ("image height", &self.image_height),
            ("image width", &self.image_width),
            ("box height", &self.box_height),
            ("box width", &self.box_width),
            ("box size", &self.box_size),
            ("box size, resized", &anchors.and_then(|anchors| anchors.resized_size.clone())),
            ("aspect ratio", &self.aspect_ratio),
            ("best IoU", &anchors.and_then(|anchors| anchors.best_iou.clone())),
        ] {
            let Some(Distribution { quantiles, .. }) = values else { continue };
            rows.push((name.to_string(), quantiles.map(number).to_vec()));
        }
        Table(rows)
    }
}

/// Three digits, or all that are before the point.
fn number(value: f32) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// The range of its values.
impl fmt::Display for Bin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", number(self.from), number(self.to))
    }
}

fn histogram(f: &mut fmt::Formatter<'_>, title: &str, values: &Option<Distribution>) -> fmt::Result {
    let Some(Distribution { histogram, .. }) = values else { return Ok(()) };
    let most = histogram.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let row = |bin: &Bin| {
        // Something is seen of every bin that is not empty.
        let length = (bin.count * BAR).div_ceil(most);
        (bin.to_string(), vec![bin.count.to_string(), format!("{:BAR$}", "#".repeat(length))])
    };
    let table = Table(histogram.iter().map(row).collect()).to_string();
    writeln!(f, "\n{title}")?;
    table.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::{Dataset, Record, Side};
    use crate::structures::Annotation;

    #[test]
    fn the_table_is_aligned() {
        let record = |side: f32, label: usize| {
            let object = Annotation::new([0.0, 0.0, side, 2.0 * side], label);
            Record::new("a.png", (480, 640), vec![object; 2]).with_side(Side::Train).with_group("g")
        };
        let data = Dataset::new(vec![record(10.0, 1), record(20.0, 2)], ["open", "pin-hole"]);
        let expected = "       images  boxes  images without boxes  groups
all         2      4                     0       1
train       2      4                     0

class     boxes  images  train
open          2       1      2
pin-hole      2       1      2

pixels        least   5 %  25 %  median  75 %  95 %  most
image height    480   480   480     480   480   480   480
image width     640   640   640     640   640   640   640
box height       20    20    20      30    40    40    40
box width        10    10    10      15    20    20    20
box size       14.1  14.1  14.1    21.2  28.3  28.3  28.3
aspect ratio      2     2     2       2     2     2     2

Boxes by size (root of the area)
11.3 - 16  2  ########################################
16 - 22.6  0
22.6 - 32  2  ########################################

Boxes by aspect ratio (height / width)
2 - 2.83  4  ########################################
";
        assert_eq!(DatasetStats::new(&data).to_string(), expected);
    }
}
