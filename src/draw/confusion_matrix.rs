//! Confusion matrices as PNG files.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::canvas::{FAINT, INK, OVERSAMPLING, font, picture};
use crate::error::Result;
use crate::eval::ConfusionMatrix;

/// Writes a confusion matrix as a PNG file: a row per true class, a column per detected one, background last.
///
/// A cell shows its count and its share of the row. The larger the share, the darker the cell. Label `l` is
/// called `names[l - 1]`.
///
/// # Errors
///
/// If the file cannot be written.
///
/// # Panics
///
/// If there is not one name for every class of the matrix.
pub fn plot_confusion_matrix(
    path: impl AsRef<Path>,
    matrix: &ConfusionMatrix,
    names: &[impl AsRef<str>],
) -> Result<()> {
    let counts = &matrix.counts;
    assert_eq!(names.len() + 1, counts.len(), "names and background, and rows of the confusion matrix");
    let titles: Vec<&str> = names.iter().map(AsRef::as_ref).chain(["background"]).collect();
    // The background is label 0, but is drawn last.
    let label = |index: usize| (index + 1) % counts.len();

    let cell = (900 / counts.len() as i32).clamp(28, 84);
    let text = (cell / 5).clamp(9, 14);
    let longest = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0) as i32;
    let margin = longest * text * 5 / 8 + 5 * text / 2;
    let side = (margin + cell * counts.len() as i32 + 2 * text) as u32;

    picture(path.as_ref(), (side, side), |canvas| {
        let [cell, text, margin] = [cell, text, margin].map(|v| v * OVERSAMPLING);
        let far = margin + cell * counts.len() as i32;
        let middle = |index: usize| margin + cell * index as i32 + cell / 2;
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
                // The share needs a second line. Small cells have no room for it.
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

/// The colour of a cell: nearly white for 0, dark blue for 1.
fn shade(share: f64) -> RGBColor {
    let mix = |from: f64, to: f64| (from + (to - from) * share) as u8;
    RGBColor(mix(243.0, 10.0), mix(246.0, 72.0), mix(250.0, 150.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places of the pixels that have just this colour.
    fn pixels_of(path: &Path, RGBColor(r, g, b): RGBColor) -> Vec<(i32, i32)> {
        let picture = image::open(path).unwrap().into_rgb8();
        let found = picture.enumerate_pixels().filter(|(_, _, pixel)| pixel.0 == [r, g, b]);
        found.map(|(x, y, _)| (x as i32, y as i32)).collect()
    }

    fn plot(path: &Path, counts: Vec<Vec<u64>>) {
        let names = vec!["spur"; counts.len() - 1];
        plot_confusion_matrix(path, &ConfusionMatrix { counts }, &names).unwrap();
    }

    /// Every class is found as itself: the cells of the diagonal are dark and all others light, and all have
    /// one size. Text takes some pixels of both.
    #[test]
    fn cells_of_a_matrix_of_any_size_have_the_colour_of_their_share() {
        let folder = tempfile::tempdir().unwrap();
        for classes in [1, 2, 30] {
            let path = folder.path().join(format!("{classes}.png"));
            let side = classes + 1;
            plot(
                &path,
                (0..side)
                    .map(|row| (0..side).map(|column| 12 * u64::from(row == column)).collect())
                    .collect(),
            );
            let (dark, light) = (pixels_of(&path, shade(1.0)), pixels_of(&path, shade(0.0)));
            let ratio = light.len() as f64 / dark.len() as f64;
            assert!((0.8..2.0).contains(&(ratio / classes as f64)), "{classes} classes: {ratio}");
            let cell = (1.8 * dark.len() as f64 / side as f64).sqrt() as i32;
            assert!(dark.iter().all(|(x, y)| (x - y).abs() <= cell), "{classes} classes: cell {cell}");
        }
    }

    /// Spurs are found as spurs, and so is the background: the first of the two columns is dark, all of it.
    #[test]
    fn rows_are_true_classes_columns_detected_ones_and_the_background_is_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("matrix.png");
        plot(&path, vec![vec![0, 7], vec![0, 3]]);
        let (dark, light) = (pixels_of(&path, shade(1.0)), pixels_of(&path, shade(0.0)));
        let columns = |pixels: &[(i32, i32)]| {
            let columns = pixels.iter().map(|pixel| pixel.0);
            (columns.clone().min().unwrap(), columns.max().unwrap())
        };
        assert!(columns(&dark).1 < columns(&light).0, "{:?} {:?}", columns(&dark), columns(&light));
    }

    #[test]
    fn a_matrix_without_classes_has_the_background_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("matrix.png");
        plot(&path, vec![vec![0]]);
        assert!(!pixels_of(&path, shade(0.0)).is_empty());
    }
}
