//! The charts of a data set's statistics.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{Canvas, Drawn, FAINT, INK, OVERSAMPLING, font, picture};
use super::style::colour;
use crate::data::{AnchorStats, COVERED, DatasetStats, Distribution, ResizedBox};
use crate::error::Result;

/// Pixels of a row of a bar chart.
const ROW: i32 = 24;
/// Pixels of the longest bar.
const BAR: i32 = 420;
const TEXT: i32 = 14;
/// Side of the picture of the boxes' shapes, in pixels.
const SQUARE: u32 = 720;
/// The most boxes that are drawn; more would hide each other.
const MOST_DOTS: usize = 20_000;

/// One bar: its name, and the lengths of its parts.
struct Bar {
    name: String,
    parts: Vec<usize>,
}

/// Writes charts into the existing folder `output`: `classes.png`, `box_sizes.png`, `aspect_ratios.png`, and,
/// where the statistics have anchors, `anchor_iou.png` and `box_shapes.png`.
///
/// In `box_shapes.png` every box is a dot at its width and height as the detector sees it, and every anchor a
/// cross. Of a large data set it shows 20,000 boxes, evenly chosen.
///
/// # Errors
///
/// If a file cannot be written.
pub fn plot_stats(output: impl AsRef<Path>, stats: &DatasetStats) -> Result<()> {
    let output = output.as_ref();
    let sides = stats.sides.iter().map(|side| side.side.map_or("no side", |side| side.name()));
    let sides: Vec<&str> = sides.collect();
    let class = |class: &crate::data::ClassStats| Bar {
        name: class.name.clone(),
        parts: if sides.is_empty() { vec![class.boxes] } else { class.boxes_of_sides.clone() },
    };
    let classes: Vec<Bar> = stats.classes.iter().map(class).collect();
    bars(&output.join("classes.png"), "boxes by class", &sides, &classes)?;
    let histogram = |file: &str, title: &str, values: &Option<Distribution>| {
        let bins = values.iter().flat_map(|values| &values.histogram);
        let rows: Vec<Bar> = bins.map(|bin| Bar { name: bin.to_string(), parts: vec![bin.count] }).collect();
        bars(&output.join(file), title, &[], &rows)
    };
    histogram("box_sizes.png", "boxes by size: root of the area in pixels", &stats.box_size)?;
    histogram("aspect_ratios.png", "boxes by aspect ratio: height over width", &stats.aspect_ratio)?;
    let Some(anchors) = &stats.anchors else { return Ok(()) };
    histogram("anchor_iou.png", "boxes by the best IoU with an anchor", &anchors.best_iou)?;
    let path = output.join("box_shapes.png");
    picture(&path, (SQUARE, SQUARE), |canvas| shapes(canvas, anchors))
}

/// A bar a row. `legend` names the parts of the bars, if they have several.
fn bars(path: &Path, title: &str, legend: &[&str], rows: &[Bar]) -> Result<()> {
    let longest = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0) as i32;
    let margin = longest * TEXT * 5 / 8 + 24;
    let head = if legend.is_empty() { 44 } else { 68 };
    let height = head + ROW * rows.len().max(1) as i32 + 16;
    let most = rows.iter().map(|row| row.parts.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let size = ((margin + BAR + 100) as u32, height as u32);
    picture(path, size, |canvas| {
        let px = |v: i32| v * OVERSAMPLING;
        let write = |what: &str, (x, y): (i32, i32), size: i32, colour: RGBColor, h: HPos| {
            let style = font(px(size)).color(&colour).pos(Pos::new(h, VPos::Center));
            canvas.draw(&Text::new(what, (px(x), px(y)), style))
        };
        let fill = |(x, y): (i32, i32), (width, height): (i32, i32), part: usize| {
            let [r, g, b] = colour(part + 1);
            let corners = [(px(x), px(y)), (px(x + width), px(y + height))];
            canvas.draw(&Rectangle::new(corners, RGBColor(r, g, b).filled()))
        };
        write(title, (16, 22), 20, INK, HPos::Left)?;
        let mut x = 16;
        for (part, name) in legend.iter().enumerate() {
            fill((x, 44), (12, 12), part)?;
            write(name, (x + 18, 50), TEXT, INK, HPos::Left)?;
            x += 36 + name.chars().count() as i32 * TEXT * 5 / 8;
        }
        for (index, row) in rows.iter().enumerate() {
            let middle = head + ROW * index as i32 + ROW / 2;
            write(&row.name, (margin - 8, middle), TEXT, INK, HPos::Right)?;
            let (mut sum, mut start) = (0, 0);
            for (part, count) in row.parts.iter().enumerate() {
                sum += count;
                let end = (BAR as i64 * sum as i64 / most as i64) as i32;
                fill((margin + start, middle - ROW / 3), (end - start, 2 * ROW / 3), part)?;
                start = end;
            }
            write(&sum.to_string(), (margin + start + 8, middle), TEXT, INK, HPos::Left)?;
        }
        if rows.is_empty() {
            write("no data", (margin + BAR / 2, head + ROW / 2), TEXT, FAINT, HPos::Center)?;
        }
        Ok(())
    })
}

/// Width and height of boxes and anchors, on logarithmic axes.
fn shapes(canvas: &Canvas, anchors: &AnchorStats) -> Drawn {
    let px = |v: i32| v * OVERSAMPLING;
    let sides = anchors.shapes.iter().chain(anchors.boxes.iter().map(|seen| &seen.shape));
    let sides = sides.flat_map(|(width, height)| [*width, *height]).filter(|side| *side > 0.0);
    let (least, most) = sides.fold((f32::MAX, 1.0_f32), |(low, high), side| (low.min(side), high.max(side)));
    let range = || (least.min(most) / 1.2..most * 1.2).log_scale();

    let area = canvas.margin(px(12), px(10), px(12), px(18));
    let style = |size: i32| font(px(size)).color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
    area.draw(&Text::new("boxes and anchors, in pixels of the resized image", (px(8), 0), style(20)))?;
    let (blue, red) = (dot_colour(true), dot_colour(false));
    let (covered, uncovered): (Vec<&ResizedBox>, Vec<&ResizedBox>) =
        drawn(&anchors.boxes).partition(|seen| seen.best_iou >= COVERED);
    let mut x = px(8);
    for (name, ink) in [
        (format!("box, best IoU {COVERED} or more"), blue),
        (format!("box, below {COVERED}"), red),
        ("x anchor".to_string(), INK),
    ] {
        let style = style(TEXT).color(&ink);
        area.draw(&Text::new(name.as_str(), (x, px(30)), style.clone()))?;
        x += area.estimate_text_size(&name, &style)?.0 as i32 + px(20);
    }
    let (_, plot) = area.split_vertically(px(54));
    let mut chart = ChartBuilder::on(&plot)
        .x_label_area_size(px(48))
        .y_label_area_size(px(64))
        .margin_right(px(6))
        .build_cartesian_2d(range(), range())?;
    let label = |side: &f32| if *side < 10.0 { format!("{side:.1}") } else { format!("{side:.0}") };
    chart
        .configure_mesh()
        .max_light_lines(0)
        .bold_line_style(RGBColor(228, 228, 232).stroke_width(OVERSAMPLING as u32))
        .axis_style(FAINT.stroke_width(OVERSAMPLING as u32))
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .label_style(font(px(TEXT)).color(&INK))
        .axis_desc_style(font(px(15)).color(&INK))
        .x_desc("width")
        .y_desc("height")
        .draw()?;
    // What no anchor covers is drawn over the others.
    for (boxes, ink) in [(covered, blue), (uncovered, red)] {
        let boxes = boxes.into_iter().filter(|seen| seen.shape.0 > 0.0 && seen.shape.1 > 0.0);
        chart.draw_series(boxes.map(|seen| Circle::new(seen.shape, px(2), ink.mix(0.45).filled())))?;
    }
    let cross = |shape: &(f32, f32)| Cross::new(*shape, px(6), INK.stroke_width(2 * OVERSAMPLING as u32));
    chart.draw_series(anchors.shapes.iter().filter(|shape| shape.0 > 0.0 && shape.1 > 0.0).map(cross))?;
    Ok(())
}

fn dot_colour(is_covered: bool) -> RGBColor {
    let [r, g, b] = colour(usize::from(is_covered));
    RGBColor(r, g, b)
}

/// All boxes, or so many of them, evenly chosen.
fn drawn(boxes: &[ResizedBox]) -> impl Iterator<Item = &ResizedBox> {
    boxes.iter().step_by(boxes.len().div_ceil(MOST_DOTS).max(1))
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::data::{Dataset, Record, Side};
    use crate::structures::Annotation;

    fn count(picture: &RgbImage, colour: [u8; 3]) -> usize {
        picture.pixels().filter(|pixel| pixel.0 == colour).count()
    }

    /// Class `b` has three times the boxes of class `a`, a third of them for the test.
    #[test]
    fn bars_are_as_long_as_the_counts() {
        let folder = tempfile::tempdir().unwrap();
        let object = |label| Annotation::new([0.0, 0.0, 30.0, 20.0], label);
        let record = |objects: Vec<Annotation>, side| Record::new("a.png", (64, 64), objects).with_side(side);
        let data = Dataset::new(
            vec![
                record(vec![object(1), object(2), object(2)], Side::Train),
                record(vec![object(2)], Side::Test),
            ],
            ["a", "b"],
        );
        let seen =
            |xyxy: &crate::structures::Xyxy, _| ResizedBox { shape: (xyxy[2], xyxy[3]), best_iou: 0.3 };
        let stats = DatasetStats::new(&data).with_anchors(&data, vec![(32.0, 32.0)], seen);
        plot_stats(folder.path(), &stats).unwrap();
        let open = |file: &str| image::open(folder.path().join(file)).unwrap().into_rgb8();
        let classes = open("classes.png");
        let [train, test] = [1, 2].map(|part| count(&classes, colour(part)) - 10 * 10);
        assert!((2.5..3.5).contains(&(train as f64 / test as f64)), "{train} {test}");
        for file in ["box_sizes.png", "aspect_ratios.png", "anchor_iou.png"] {
            let pixels = count(&open(file), colour(1)) as i32;
            assert!((pixels - BAR * 2 * ROW / 3).abs() < 2 * BAR, "{file}: one bar of full length: {pixels}");
        }
        // Dots are translucent: red, and not blue.
        let mut shapes = open("box_shapes.png");
        // Below the legend, whose words have the colours of the dots.
        let shapes = image::imageops::crop(&mut shapes, 0, 70, SQUARE, SQUARE - 70).to_image();
        let dots = |ink: fn(&[u8; 3]) -> bool| shapes.pixels().filter(|pixel| ink(&pixel.0)).count();
        assert!(dots(|[r, _, b]| *r > b.saturating_add(60)) > 5);
        assert_eq!(dots(|[r, _, b]| *b > r.saturating_add(120)), 0);
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let data = Dataset::default();
        let stats = DatasetStats::new(&data);
        let none = |_: &crate::structures::Xyxy, _| ResizedBox { shape: (1.0, 1.0), best_iou: 0.0 };
        plot_stats(folder.path(), &stats.with_anchors(&data, vec![], none)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 5);
    }
}
