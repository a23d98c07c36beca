//! Line charts (losses, average precision, precision over recall) and confusion matrices, as PNG files.
//!
//! Everything is drawn at twice its size and scaled down, which makes lines and letters smooth.

use std::{ops::Range, path::Path, sync::Once};

use image::{ImageFormat, RgbImage, imageops};
use plotters::{
    coord::Shift,
    prelude::*,
    style::{
        FontTransform, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::error::{Error, Result};
use crate::eval::ConfusionMatrix;

/// Pixels drawn per pixel written, in each direction.
const OVERSAMPLING: i32 = 2;
/// Size of one panel of a line chart in pixels, (width, height).
const PANEL: (u32, u32) = (640, 440);
/// Panels that stand in one row.
const COLUMNS: usize = 3;

const FAMILY: &str = "DejaVu Sans";
const INK: RGBColor = RGBColor(40, 40, 45);
const FAINT: RGBColor = RGBColor(150, 150, 158);
const GRID: RGBColor = RGBColor(228, 228, 232);

/// One line of a chart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Series {
    /// What the legend calls it; an empty name has no place there.
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
        let places = canvas.split_evenly((rows, columns));
        places.iter().zip(panels).try_for_each(|(place, panel)| panel.draw(place))
    })
}

/// Writes a confusion matrix as a PNG file: a row per true class, a column per detected one, background last.
///
/// A cell holds its count and its share of the row, and is the darker the larger that share. Label `l` is
/// called `names[l - 1]`.
///
/// # Errors
///
/// If the file cannot be written.
///
/// # Panics
///
/// If there is not one name for every class of the matrix.
pub fn confusion_matrix(path: impl AsRef<Path>, matrix: &ConfusionMatrix, names: &[String]) -> Result<()> {
    let counts = &matrix.counts;
    assert_eq!(names.len() + 1, counts.len(), "names and background, and rows of the confusion matrix");
    let titles: Vec<&str> = names.iter().map(String::as_str).chain(["background"]).collect();
    // Background is label 0, but comes last.
    let label = |place: usize| (place + 1) % counts.len();

    let cell = (900 / counts.len() as i32).clamp(28, 84);
    let text = (cell / 5).clamp(9, 14);
    let longest = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0) as i32;
    let margin = longest * text * 5 / 8 + 5 * text / 2;
    let side = (margin + cell * counts.len() as i32 + 2 * text) as u32;

    picture(path.as_ref(), (side, side), |canvas| {
        let [cell, text, margin] = [cell, text, margin].map(|v| v * OVERSAMPLING);
        let far = margin + cell * counts.len() as i32;
        let middle = |place: usize| margin + cell * place as i32 + cell / 2;
        let write =
            |what: &str, at: (i32, i32), size: i32, colour: RGBColor, h: HPos, turn: FontTransform| {
                let style = font(size).transform(turn).color(&colour).pos(Pos::new(h, VPos::Center));
                canvas.draw(&Text::new(what, at, style))
            };
        use FontTransform::{None as Level, Rotate270 as Upward};

        for (row, title) in titles.iter().enumerate() {
            let total: u64 = counts[label(row)].iter().sum();
            for column in 0..titles.len() {
                let count = counts[label(row)][label(column)];
                let share = count as f64 / total.max(1) as f64;
                let (x, y) = (middle(column), middle(row));
                let corners = [(x - cell / 2, y - cell / 2), (x + cell / 2, y + cell / 2)];
                canvas.draw(&Rectangle::new(corners, shade(share).filled()))?;
                canvas.draw(&Rectangle::new(corners, WHITE.stroke_width(OVERSAMPLING as u32)))?;
                let ink = match (count, share > 0.45) {
                    (0, _) => FAINT,
                    (_, true) => WHITE,
                    (_, false) => INK,
                };
                // The share needs a second line, for which small cells have no room.
                let lines = count > 0 && cell >= 4 * text;
                let y_count = if lines { y - text / 2 } else { y };
                write(&count.to_string(), (x, y_count), text * 6 / 5, ink, HPos::Center, Level)?;
                if lines {
                    let percent = format!("{:.0}%", share * 100.0);
                    write(&percent, (x, y + text * 4 / 5), text * 4 / 5, ink, HPos::Center, Level)?;
                }
            }
            write(title, (margin - text / 2, middle(row)), text, INK, HPos::Right, Level)?;
            write(title, (middle(row), margin - text / 2), text, INK, HPos::Left, Upward)?;
        }
        write("true", (text, (margin + far) / 2), text * 6 / 5, FAINT, HPos::Center, Upward)?;
        write("detected", ((margin + far) / 2, text), text * 6 / 5, FAINT, HPos::Center, Level)
    })
}

type Canvas<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
type Drawn<T = ()> =
    std::result::Result<T, DrawingAreaErrorKind<<BitMapBackend<'static> as DrawingBackend>::ErrorType>>;

/// Draws on white and writes what was drawn, `(width, height)` pixels.
fn picture(path: &Path, (width, height): (u32, u32), draw: impl FnOnce(&Canvas) -> Drawn) -> Result<()> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let known = register_font(FAMILY, FontStyle::Normal, super::FONT);
        assert!(known.is_ok(), "the font is part of the program");
    });
    let (wide, high) = (width * OVERSAMPLING as u32, height * OVERSAMPLING as u32);
    let mut large = RgbImage::from_pixel(wide, high, image::Rgb([255; 3]));
    {
        let canvas = BitMapBackend::with_buffer(&mut large, (wide, high)).into_drawing_area();
        draw(&canvas)
            .and_then(|()| canvas.present())
            .map_err(|error| Error::file(path, format!("the chart cannot be drawn: {error}")))?;
    }
    imageops::thumbnail(&large, width, height)
        .save_with_format(path, ImageFormat::Png)
        .map_err(Error::image(path))
}

fn font(size: i32) -> FontDesc<'static> {
    (FAMILY, size).into_font()
}

/// From nearly white for 0 to dark blue for 1.
fn shade(share: f64) -> RGBColor {
    let mix = |from: f64, to: f64| (from + (to - from) * share) as u8;
    RGBColor(mix(243.0, 10.0), mix(246.0, 72.0), mix(250.0, 150.0))
}

impl Panel<'_> {
    fn draw(&self, place: &Canvas) -> Drawn {
        let px = |v: i32| v * OVERSAMPLING;
        let lines: Vec<Vec<(f64, f64)>> = self.series.iter().map(|s| drawable(&s.points)).collect();
        let points = || lines.iter().flatten();

        let place = place.margin(px(12), px(10), px(12), px(18));
        let title = font(px(20)).color(&INK).pos(Pos::new(HPos::Left, VPos::Top));
        place.draw(&Text::new(self.title, (px(8), 0), title))?;
        let legend_end = self.legend(&place, px(34))?;
        let (_, plot) = place.split_vertically(legend_end);

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
            // Few points may be told apart, and a single one has no line to be seen by.
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

    /// Names beside samples of their lines, from `y` down in as many rows as it takes; returns where it ends.
    fn legend(&self, place: &Canvas, mut y: i32) -> Drawn<i32> {
        let px = |v: i32| v * OVERSAMPLING;
        let (start, row, sample, gap) = (px(8), px(20), px(20), px(16));
        let width = place.dim_in_pixel().0 as i32;
        let mut x = start;
        let named = self.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
        for (index, series) in named {
            let style = font(px(14)).color(&INK).pos(Pos::new(HPos::Left, VPos::Center));
            let text = place.estimate_text_size(&series.name, &style)?.0 as i32;
            if x > start && x + sample + px(6) + text > width {
                (x, y) = (start, y + row);
            }
            let middle = y + row / 2;
            place.draw(&PathElement::new([(x, middle), (x + sample, middle)], stroke(index)))?;
            place.draw(&Text::new(series.name.as_str(), (x + sample + px(6), middle), style))?;
            x += sample + px(6) + text + gap;
        }
        Ok(if x > start { y + row + px(8) } else { y })
    }
}

fn ink(index: usize) -> RGBColor {
    let [r, g, b] = super::colour(index);
    RGBColor(r, g, b)
}

fn stroke(index: usize) -> ShapeStyle {
    ink(index).stroke_width(2 * OVERSAMPLING as u32)
}

/// The points that can be drawn. Numbers beyond 1e100 go the way of infinities: an axis could not show them.
fn drawable(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().filter(|(x, y)| x.abs() < 1e100 && y.abs() < 1e100).collect()
}

/// An axis that holds all values, never of zero length, with a little room where it does not begin at zero.
fn range(values: impl Iterator<Item = f64>, from_zero: bool) -> Range<f64> {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let zero_based = from_zero && low >= 0.0;
    let low = if zero_based { 0.0 } else { low };
    let (length, size) = (high - low, low.abs().max(high.abs()));
    // Nearly equal values are as one: their difference would drown in the rounding of the axis' ticks.
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

    #[test]
    fn odd_data_is_drawn_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chart.png");
        let nan = f64::NAN;
        for points in [
            vec![],
            vec![(1.0, 0.5)],
            vec![(nan, 1.0), (1.0, nan), (2.0, f64::INFINITY), (3.0, 1e300)],
            vec![(0.0, 0.7), (1.0, nan), (2.0, 0.7)],
            vec![(5.0, 0.0), (5.0, 0.0)],
            vec![(0.0, -3.0), (1.0, -3.0)],
            vec![(1e9, 1e30), (1e9 + 1e-6, -1e30)],
            vec![(0.0, 1e-320), (1e-320, 0.0)],
        ] {
            let series = [series(&points), series(&[])];
            let panel = Panel { title: "t", x_label: "x", y_label: "y", series: &series };
            picture(&path, (240, 200), |canvas| panel.draw(canvas)).unwrap();
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
    fn a_matrix_of_any_size_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        for classes in [0, 1, 30] {
            let path = folder.path().join(format!("{classes}.png"));
            let counts = vec![vec![12; classes + 1]; classes + 1];
            confusion_matrix(&path, &ConfusionMatrix { counts }, &vec!["spur".to_string(); classes]).unwrap();
            assert!(image::image_dimensions(&path).unwrap().0 > 28 * classes as u32);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = line_chart("/nowhere/chart.png", "t", "x", "y", &[]).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/chart.png: "), "{error}");
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
