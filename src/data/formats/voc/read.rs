//! From VOC's files to records.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::xml::{Document, Object, parse};
use crate::data::dataset::{Dataset, Record, Side};
use crate::data::formats::classes;
use crate::data::formats::files::{
    files_below, has_extension, is_image, name_below, path_below, sub_folders,
};
use crate::data::formats::names::read_name;
use crate::data::objects::{Place, objects};
use crate::data::report::Report;
use crate::error::{Error, Result};
use crate::structures::Annotation;
use crate::text::read_text;

/// The lists, and what their images are for. `trainval.txt` is only read where the first two are not there.
const LISTS: [(&str, Side); 3] =
    [("train.txt", Side::Train), ("val.txt", Side::Validation), ("test.txt", Side::Test)];
const TRAIN_AND_VALIDATION: &str = "trainval.txt";

/// Whether a data set in this format is here.
pub(in crate::data::formats) fn is_voc(path: &Path) -> bool {
    let Some(annotations) = annotation_folder(path) else { return false };
    let is_xml = |path: &Path| has_extension(path, "xml");
    files_below(&annotations, is_xml).is_ok_and(|files| !files.is_empty())
}

/// `Annotations`, in small or capital letters.
fn annotation_folder(root: &Path) -> Option<PathBuf> {
    let folders = sub_folders(root).unwrap_or_default();
    folders.into_iter().find(|folder| {
        folder
            .file_name()
            .and_then(OsStr::to_str)
            .is_some_and(|name| name.eq_ignore_ascii_case("annotations"))
    })
}

/// An annotation file that was parsed, and the image that it is for.
struct Annotated {
    xml: PathBuf,
    document: Document,
    image: PathBuf,
    name: String,
}

/// All annotated images; of a data set with lists, those that a list names.
pub(in crate::data::formats) fn read(root: &Path, report: &mut Report) -> Result<Dataset> {
    let annotations = annotation_folder(root)
        .ok_or_else(|| Error::file(root, "holds no VOC data set: expected a folder `Annotations`"))?;
    let xmls = files_below(&annotations, |path| has_extension(path, "xml"))?;
    if xmls.is_empty() {
        return Err(Error::file(&annotations, "holds no XML files"));
    }
    let images = Images::of(root)?;
    let sides = sides(root, report)?;
    let known: BTreeSet<String> = xmls.iter().map(|xml| stem_below(&annotations, xml)).collect();
    for (name, (_, list, line)) in &sides {
        if !known.contains(name) {
            report.fault(Error::line(list, *line, format!("there is no annotation `{name}`")));
        }
    }

    let parsed: Vec<Result<Annotated>> =
        xmls.into_par_iter().map(|xml| annotated(xml, &annotations, &images)).collect();
    let mut all = Vec::new();
    for parsed in parsed {
        all.extend(report.take(parsed));
    }
    for image in images.without(all.iter().map(|annotated| annotated.image.as_path())) {
        report.warn(Error::file(image, "left out: no annotation belongs to it"));
    }
    let class_names = match classes::read(root)? {
        Some(names) => names,
        None => {
            let objects = all.iter().flat_map(|annotated| &annotated.document.objects);
            let names: BTreeSet<&String> = objects.filter_map(|object| object.name.as_ref()).collect();
            names.into_iter().cloned().collect()
        }
    };
    let labels: HashMap<&str, usize> =
        class_names.iter().enumerate().map(|(index, name)| (name.as_str(), index + 1)).collect();
    let mut records = Vec::new();
    for annotated in all {
        let side = sides.get(&stem_below(&annotations, &annotated.xml)).map(|(side, ..)| *side);
        if side.is_none() && !sides.is_empty() {
            report.warn(Error::file(&annotated.xml, "left out: no list names it"));
            continue;
        }
        let record = record(root, annotated, &labels, report);
        records.extend(report.take(record).map(|record| Record { side, ..record }));
    }
    Ok(Dataset::new(records, class_names))
}

/// The path of a file below a folder, without its extension.
fn stem_below(folder: &Path, file: &Path) -> String {
    name_below(folder, &file.with_extension(""))
}

/// What each listed image is for, and the line that says it.
fn sides(root: &Path, report: &mut Report) -> Result<BTreeMap<String, (Side, PathBuf, usize)>> {
    let folder = root.join("ImageSets/Main");
    let mut lists: Vec<(PathBuf, Side)> = LISTS
        .iter()
        .map(|(list, side)| (folder.join(list), *side))
        .filter(|(list, _)| list.is_file())
        .collect();
    let both = folder.join(TRAIN_AND_VALIDATION);
    if lists.iter().all(|(_, side)| *side == Side::Test) && both.is_file() {
        lists.insert(0, (both, Side::Train));
    }
    let mut sides: BTreeMap<String, (Side, PathBuf, usize)> = BTreeMap::new();
    for (list, side) in lists {
        let text = read_text(&list)?;
        for (index, line) in text.lines().enumerate() {
            let Some(name) = read_name(line) else { continue };
            match sides.get(&name) {
                None => {
                    sides.insert(name, (side, list.clone(), index + 1));
                }
                Some((_, other, line)) => {
                    let message = format!("`{name}` is listed at {}:{line}, too", other.display());
                    report.warn(Error::line(&list, index + 1, message));
                }
            }
        }
    }
    Ok(sides)
}

/// The images of a data set, by folder and stem.
struct Images {
    folder: PathBuf,
    by_stem: BTreeMap<String, Vec<PathBuf>>,
}

impl Images {
    fn of(root: &Path) -> Result<Self> {
        let folders = ["JPEGImages", "images", "Images"].map(|name| root.join(name));
        let folder = folders.into_iter().find(|folder| folder.is_dir()).unwrap_or_else(|| root.to_path_buf());
        let mut by_stem: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for image in files_below(&folder, is_image)? {
            by_stem.entry(stem_below(&folder, &image)).or_default().push(image);
        }
        Ok(Self { folder, by_stem })
    }

    /// The image of this stem, with this name if one has it.
    fn find(&self, stem: &str, file_name: Option<&str>) -> Option<&PathBuf> {
        if let Some(images) = self.by_stem.get(stem) {
            let named = |image: &&PathBuf| image.file_name().and_then(OsStr::to_str) == file_name;
            return images.iter().find(named).or(images.first());
        }
        // An annotation may have another name than its image.
        let file_name = file_name?;
        let (folder, _) = stem.rsplit_once('/').unwrap_or_default();
        let path = path_below(&self.folder.join(folder), file_name).ok()?;
        let images = self.by_stem.get(&stem_below(&self.folder, &path))?;
        images.iter().find(|image| **image == path)
    }

    /// Those that are not among the given ones.
    fn without<'a>(&'a self, used: impl Iterator<Item = &'a Path>) -> Vec<&'a PathBuf> {
        let used: BTreeSet<&Path> = used.collect();
        self.by_stem.values().flatten().filter(|image| !used.contains(image.as_path())).collect()
    }
}

fn annotated(xml: PathBuf, annotations: &Path, images: &Images) -> Result<Annotated> {
    let document = parse(&xml)?;
    let stem = stem_below(annotations, &xml);
    let Some(image) = images.find(&stem, document.file_name.as_deref()).cloned() else {
        let named = document.file_name.as_deref().map_or(String::new(), |name| format!(" or `{name}`"));
        let message = format!("{} has no image `{stem}`{named}", images.folder.display());
        return Err(Error::file(xml, message));
    };
    let name = name_below(&images.folder, &image);
    Ok(Annotated { xml, document, image, name })
}

fn record(
    root: &Path,
    Annotated { xml, document, image, name }: Annotated,
    labels: &HashMap<&str, usize>,
    report: &mut Report,
) -> Result<Record> {
    let record = match document.size {
        Some(size) => Record::new(image, size, Vec::new()),
        None => Record::from_image(image, Vec::new())?,
    };
    let parsed: Vec<_> = document
        .objects
        .iter()
        .map(|object| (Place::Line(object.line), annotation(object, labels)))
        .collect();
    let annotations = objects(&xml, record.size, parsed, report);
    let reference = document.reference.map(|reference| path_below(root, reference)).transpose();
    let reference = reference.map_err(|message| Error::file(&xml, format!("reference: {message}")))?;
    Ok(Record { name, annotations, reference: reference.map(Into::into), group: document.group, ..record })
}

fn annotation(object: &Object, labels: &HashMap<&str, usize>) -> Result<Annotation, String> {
    let name = object.name.as_deref().ok_or("the object has no `name`")?;
    let label = *labels.get(name).ok_or_else(|| format!("class `{name}` is not in classes.txt"))?;
    let mut corners = [0.0; 4];
    for (corner, (value, name)) in
        corners.iter_mut().zip(object.corners.iter().zip(["xmin", "ymin", "xmax", "ymax"]))
    {
        let value = value.as_deref().ok_or_else(|| format!("the object has no `{name}`"))?;
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
        *corner = number.ok_or_else(|| format!("`{value}` is not a coordinate"))?;
    }
    let difficult = match object.difficult.as_deref() {
        None | Some("0" | "Unspecified" | "false" | "False") => false,
        Some("1" | "true" | "True") => true,
        Some(other) => return Err(format!("difficult `{other}` is neither 0 nor 1")),
    };
    let [x1, y1, x2, y2] = corners;
    // The first pixel is 1 and begins at 0.
    let xyxy = [x1 - 1.0, y1 - 1.0, x2, y2].map(|corner| corner as f32);
    Ok(Annotation { difficult, ..Annotation::new(xyxy, label) })
}
