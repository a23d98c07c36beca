//! Line charts, such as losses over epochs or precision over recall, as PNG files.

use std::{ops::Range, path::Path};

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::canvas::{Canvas, Drawn, FAINT, INK, OVERSAMPLING, font, picture};
use super::style::colour;
use crate::error::Result;

/// Size of one panel of a line chart in pixels, (width, height).
const PANEL: (u32, u32) = (640, 440);
/// Panels that stand in one row.
const COLUMNS: usize = 3;

const GRID: RGBColor = RGBColor(228, 228, 232);

/// One line of a chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// Its name in the legend, which leaves out an empty one.
    pub name: String,
    /// `(x, y)` from left to right. Points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// One chart among others in the same image.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// Printed on top.
    pub title: &'a str,
    /// What x is.
    pub x_label: &'a str,
    /// What y is.
    pub y_label: &'a str,
    /// The lines.
    pub series: &'a [Series],
}

/// Writes a chart of one or more lines as a PNG file of 640 x 440 pixels.
///
/// # Errors
///
/// If the file cannot be written.
pub fn line_chart(
    path: impl AsRef<Path>,
    title: &str,
    x_label: &str,
    y_label: &str,
    series: &[Series],
) -> Result<()> {
    line_charts(path, &[Panel { title, x_label, y_label, series }])
}

/// Writes several charts into one PNG file, three in a row, 640 x 440 pixels each.
///
/// The y axis begins at zero unless there are negative values.
///
/// # Errors
///
/// If the file cannot be written.
pub fn line_charts(path: impl AsRef<Path>, panels: &[Panel]) -> Result<()> {
    let columns = panels.len().clamp(1, COLUMNS);
    let rows = panels.len().div_ceil(columns).max(1);
    picture(path.as_ref(), (PANEL.0 * columns as u32, PANEL.1 * rows as u32), |canvas| {
        let areas = canvas.split_evenly((rows, columns));
        areas.iter().zip(panels).try_for_each(|(area, panel)| panel.draw(area))
    })
}

impl Panel<'_> {
    fn draw(&self, area: &Canvas) -> Drawn {
        let px = |v: i32| v * OVERSAMPLING;
        let lines: Vec<Vec<(f64, f64)>> = self.series.iter().map(|s| drawable(&s.points)).collect();
        let points = || lines.iter().flatten();

        let area = area.margin(px(12), px(10), px(12), px(18));
        let title = font(px(20)).color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
        area.draw(&Text::new(self.title, (px(8), 0), title))?;
        let legend_end = self.legend(&area, px(34))?;
        let (_, plot) = area.split_vertically(legend_end);

        let x_range = range(points().map(|p| p.0), false);
        let y_range = range(points().map(|p| p.1), true);
        let tick = |span: &Range<f64>| {
            let span = span.end - span.start;
            move |v: &f64| tick_label(*v, span)
        };
        let mut chart = ChartBuilder::on(&plot)
            .x_label_area_size(px(48))
            .y_label_area_size(px(64))
            .margin_right(px(6))
            .build_cartesian_2d(x_range.clone(), y_range.clone())?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID.stroke_width(OVERSAMPLING as u32))
            .axis_style(FAINT.stroke_width(OVERSAMPLING as u32))
            .x_labels(8)
            .y_labels(7)
            .x_label_formatter(&tick(&x_range))
            .y_label_formatter(&tick(&y_range))
            .label_style(font(px(14)).color(&INK))
            .axis_desc_style(font(px(15)).color(&INK))
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .draw()?;

        for (index, line) in lines.iter().enumerate() {
            chart.draw_series(LineSeries::new(line.iter().copied(), stroke(index)))?;
            // Dots show where the points are if there are few. A single point has no line.
            if line.len() <= 30 {
                let dot = |&point| Circle::new(point, px(3), ink(index).filled());
                chart.draw_series(line.iter().map(dot))?;
            }
        }
        if points().next().is_none() {
            let inside = chart.plotting_area().strip_coord_spec();
            let (width, height) = inside.dim_in_pixel();
            let style = font(px(16)).color(&FAINT).pos(Pos::new(HPos::Center, VPos::Center));
            inside.draw(&Text::new("no data", (width as i32 / 2, height as i32 / 2), style))?;
        }
        Ok(())
    }

    /// Draws the names beside samples of their lines, from `y` down in as many rows as needed. Returns where
    /// it ends.
    fn legend(&self, area: &Canvas, mut y: i32) -> Drawn<i32> {
        let px = |v: i32| v * OVERSAMPLING;
        let (start, row, sample, gap) = (px(8), px(20), px(20), px(16));
        let width = area.dim_in_pixel().0 as i32;
        let mut x = start;
        let named = self.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
        for (index, series) in named {
            let style = font(px(14)).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            let text = area.estimate_text_size(&series.name, &style)?.0 as i32;
            if x > start && x + sample + px(6) + text > width {
                (x, y) = (start, y + row);
            }
            let middle = y + row / 2;
            area.draw(&PathElement::new([(x, middle), (x + sample, middle)], stroke(index)))?;
            area.draw(&Text::new(series.name.as_str(), (x + sample + px(6), middle), style))?;
            x += sample + px(6) + text + gap;
        }
        Ok(if x > start { y + row + px(8) } else { y })
    }
}

fn ink(index: usize) -> RGBColor {
    let [r, g, b] = colour(index);
    RGBColor(r, g, b)
}

fn stroke(index: usize) -> ShapeStyle {
    ink(index).stroke_width(2 * OVERSAMPLING as u32)
}

/// The points that can be drawn. Numbers beyond 1e100 are left out like infinities: an axis could not show
/// them.
fn drawable(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.abs() < 1e100 && y.abs() < 1e100).collect()
}

/// The range of an axis that shows all values. It is never empty, and has some room at ends other than zero.
fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let zero_based = from_zero && low >= 0.0;
    let low = if zero_based { 0.0 } else { low };
    let (length, size) = (high - low, low.abs().max(high.abs()));
    // Nearly equal values count as one value: the ticks of an axis could not show their difference.
    let room = match length > 1e-9 * size.max(1e-9) {
        true if from_zero => 0.05 * length,
        true => 0.0,
        false if high.fract() == 0.0 || size < 1e-9 => f64::max(1.0, 0.1 * size),
        false => 0.1 * size,
    };
    if zero_based { 0.0..high + room } else { low - room..high + room }
}

/// As many digits as an axis of this length needs.
fn tick_label(value: f64, span: f64) -> String {
    if value != 0.0 && !(1e-3..1e5).contains(&span) {
        return format!("{value:.1e}");
    }
    let decimals = (2.0 - span.log10().floor()).max(0.0) as usize;
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(points: &[(f64, f64)]) -> Series {
        Series { name: "loss".to_string(), points: points.to_vec() }
    }

    /// Draws a chart without a legend and returns the columns of the pixels that have the first line's
    /// colour, and whether there is text in the middle.
    fn line_and_text(points: &[(f64, f64)]) -> (Vec<u32>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        let series = [Series { name: String::new(), points: points.to_vec() }];
        let panel = Panel { title: "t", x_label: "x", y_label: "y", series: &series };
        picture(&path, (240, 200), |canvas| panel.draw(canvas)).unwrap();
        let chart = image::open(&path).unwrap().into_rgb8();
        let line = chart.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == colour(0)).map(|(x, _, _)| x);
        // Grid lines are lighter than that.
        let text = image::imageops::crop_imm(&chart, 110, 70, 80, 60)
            .to_image()
            .pixels()
            .any(|pixel| pixel.0[0] < 200);
        (line.collect(), text)
    }

    #[test]
    fn every_point_that_can_be_drawn_is_drawn() {
        let nan = f64::NAN;
        for points in [vec![], vec![(nan, 1.0), (1.0, nan), (2.0, f64::INFINITY), (3.0, 1e300)]] {
            let (line, text) = line_and_text(&points);
            assert!(line.is_empty() && text, "{points:?} should give `no data`");
        }
        for (points, wide) in [
            (vec![(1.0, 0.5)], false),
            (vec![(0.0, 0.7), (1.0, nan), (2.0, 0.7)], true),
            (vec![(5.0, 0.0), (5.0, 0.0)], false),
            (vec![(0.0, -3.0), (1.0, -3.0)], true),
            (vec![(0.0, 1e30), (1e-6, -1e30)], true),
            // Values that differ by less than an axis can show lie on one place.
            (vec![(1e9, 1e30), (1e9 + 1e-6, -1e30)], false),
            (vec![(0.0, 1e-320), (1e-320, 0.0)], false),
        ] {
            let (line, _) = line_and_text(&points);
            let width = line.iter().max().unwrap() - line.iter().min().unwrap();
            assert!(if wide { width > 100 } else { width < 10 }, "{points:?}: {width} pixels wide");
        }
    }

    #[test]
    fn panels_stand_in_rows_of_three() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        line_chart(&path, "t", "x", "y", &[series(&[(0.0, 1.0), (1.0, 0.0)])]).unwrap();
        assert_eq!(image::image_dimensions(&path).unwrap(), PANEL);
        let panel = Panel { title: "t", x_label: "x", y_label: "y", series: &[] };
        line_charts(&path, &[panel; 4]).unwrap();
        assert_eq!(image::image_dimensions(&path).unwrap(), (3 * PANEL.0, 2 * PANEL.1));
        line_charts(&path, &[]).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = line_chart("/nowhere/chart.png", "t", "x", "y", &[]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/chart.png"), "{error}");
    }

    #[test]
    fn ranges_hold_their_values_and_ticks_have_no_idle_digits() {
        assert_eq!(range([].into_iter(), true), 0.0..1.0);
        assert_eq!(range([1.0, 5.0].into_iter(), false), 1.0..5.0);
        assert_eq!(range([0.0, 2.0].into_iter(), true), 0.0..2.1);
        assert_eq!(range([3.0].into_iter(), false), 2.0..4.0);
        assert_eq!(range([0.0].into_iter(), true), 0.0..1.0);
        assert_eq!(range([-0.5, -0.5].into_iter(), true), -0.55..-0.45);
        assert_eq!(tick_label(0.30000000000000004, 1.0), "0.3");
        assert_eq!(tick_label(20.0, 90.0), "20");
        assert_eq!(tick_label(-0.0, 1.0), "0");
        assert_eq!(tick_label(2e-5, 1e-4), "2.0e-5");
    }
}
