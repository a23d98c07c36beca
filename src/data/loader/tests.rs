use image::Rgb;

use super::*;
use crate::data::{SyntheticConfig, open, write_synthetic};

fn records(folder: &tempfile::TempDir) -> Vec<Record> {
    write_synthetic(folder.path(), 7, &SyntheticConfig { size: 128, seed: 1 }).unwrap();
    open(folder.path()).unwrap().records
}

fn names(loader: &Loader) -> Vec<Vec<String>> {
    loader.next_epoch().map(|batch| batch.unwrap().names).collect()
}

#[test]
fn an_epoch_gives_each_image_once_whatever_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    let epoch = |threads, epoch| {
        let loader = Loader::in_order(&records, 3, threads);
        let loader = loader.shuffled(&AugmentConfig::default(), 5, epoch);
        assert_eq!(loader.batches(), 3);
        loader.next_epoch().map(|batch| batch.unwrap()).collect::<Vec<_>>()
    };
    let (one, three) = (epoch(1, 4), epoch(3, 4));
    let sizes: Vec<usize> = one.iter().map(|batch| batch.images.len()).collect();
    assert_eq!(sizes, [3, 3, 1]);
    for (one, three) in one.iter().zip(&three) {
        assert_eq!((&one.names, &one.annotations), (&three.names, &three.annotations));
        assert_eq!((&one.seeds, &one.images), (&three.seeds, &three.images));
    }
    let mut given: Vec<String> = one.iter().flat_map(|batch| batch.names.clone()).collect();
    let shuffled = given.clone();
    given.sort();
    assert_eq!(given, records.iter().map(|record| record.name.clone()).collect::<Vec<_>>());
    assert_ne!(shuffled, given);
    let other = epoch(1, 5);
    assert_ne!(other[0].seeds, one[0].seeds);
    assert_ne!(other.iter().flat_map(|batch| batch.names.clone()).collect::<Vec<_>>(), shuffled);
}

#[test]
fn images_in_order_have_the_same_seeds_in_each_epoch_and_shuffled_ones_others() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    let seeds = |loader: &Loader| {
        let mut seeds: Vec<u64> = loader.next_epoch().flat_map(|batch| batch.unwrap().seeds).collect();
        seeds.sort();
        seeds
    };
    let in_order = Loader::in_order(&records, 2, 1);
    let first = seeds(&in_order);
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{first:?}");
    assert_eq!(seeds(&in_order), first);
    let shuffled = in_order.shuffled(&AugmentConfig::none(), 5, 1);
    assert_ne!(seeds(&shuffled), seeds(&shuffled));
}

#[test]
fn each_call_gives_the_next_epoch_and_slices_do_not_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    let at = |epoch| Loader::in_order(&records, 2, 1).shuffled(&AugmentConfig::none(), 5, epoch);
    let loader = at(1);
    assert_eq!((names(&loader), names(&loader)), (names(&at(1)), names(&at(2))));

    let whole: Vec<String> = names(&at(1)).concat();
    let loader = at(1);
    let parts = [loader.slice_of(0, 4), loader.slice_of(4, 7)].map(|part| names(&part).concat());
    assert_eq!(parts.concat(), whole);
}

#[test]
fn shards_are_parts_of_one_loaders_batches_in_every_epoch_also_where_the_count_does_not_divide() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    for (count, batch_size) in [(2, 1), (3, 1), (4, 1), (4, 2), (9, 1)] {
        let whole = Loader::in_order(&records, count * batch_size, 2).shuffled(&AugmentConfig::none(), 5, 1);
        let each = Loader::in_order(&records, batch_size, 2).shuffled(&AugmentConfig::none(), 5, 1);
        let shards: Vec<Loader> = (0..count).map(|index| each.shard(index, count)).collect();
        for _ in 0..2 {
            let whole: Vec<Batch> = whole.next_epoch().map(|batch| batch.unwrap()).collect();
            let parts: Vec<Vec<Batch>> =
                shards.iter().map(|shard| shard.next_epoch().map(|batch| batch.unwrap()).collect()).collect();
            assert!(parts.iter().all(|part| part.len() == whole.len()));
            for (step, batch) in whole.iter().enumerate() {
                let parts: Vec<&Batch> = parts.iter().map(|part| &part[step]).collect();
                let names: Vec<_> = parts.iter().flat_map(|part| part.names.clone()).collect();
                let seeds: Vec<_> = parts.iter().flat_map(|part| part.seeds.clone()).collect();
                assert_eq!((names, seeds), (batch.names.clone(), batch.seeds.clone()));
                assert!(parts.iter().all(|part| part.names.len() <= batch_size));
                for part in parts {
                    assert_eq!(part.share, part.names.len() as f32 / batch.names.len() as f32);
                }
            }
        }
    }
}

#[test]
fn an_epoch_goes_on_after_the_batches_that_are_done_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    let loader = || Loader::in_order(&records, 1, 2).shuffled(&AugmentConfig::default(), 5, 3);
    for shard in [0, 1] {
        let whole = loader().shard(shard, 2);
        for done in 0..=4 {
            let goes_on = loader().after(done).shard(shard, 2);
            let mut batches = goes_on.next_epoch();
            let (left_out, all) = batches.progress();
            assert_eq!(all, [3, 4][shard]);
            let expected: Vec<Batch> = whole.again().next_epoch().map(|batch| batch.unwrap()).collect();
            assert_eq!(left_out, expected[..done].iter().map(|batch| batch.images.len()).sum::<usize>());
            for expected in &expected[done..] {
                let found = batches.next().unwrap().unwrap();
                assert_eq!((&found.names, &found.seeds), (&expected.names, &expected.seeds));
                assert_eq!((&found.images, &found.annotations), (&expected.images, &expected.annotations));
            }
            assert!(batches.next().is_none() && batches.progress() == (all, all));
            let next = loader().shuffled(&AugmentConfig::default(), 5, 4).shard(shard, 2);
            assert_eq!(names(&goes_on), names(&next));
        }
    }
}

#[test]
fn a_broken_image_is_an_error_that_names_it_and_giving_up_ends_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    std::fs::write(records[2].image.path(), b"no image").unwrap();
    let loader = Loader::in_order(&records, 2, 2);
    let batches: Vec<_> = loader.next_epoch().collect();
    let error = batches[1].as_ref().unwrap_err().to_string();
    assert!(error.contains(&records[2].name), "{error}");
    assert!(batches[0].is_ok() && batches[2].is_ok());
    let mut given_up = loader.next_epoch();
    assert!(given_up.next().is_some());
}

/// A part of the shuffled images, others in each epoch, are replaced by their references, which have no
/// objects.
#[test]
fn clean_images_are_references_without_objects() {
    let folder = tempfile::tempdir().unwrap();
    let records = records(&folder);
    let loader = Loader::in_order(&records, 7, 1).shuffled(&AugmentConfig::none(), 5, 1).with_clean(0.4);
    let (mut clean, mut seen) = (0, Vec::new());
    for _ in 0..20 {
        let batch = loader.next_epoch().next().unwrap().unwrap();
        let mut names = Vec::new();
        for ((name, image), objects) in batch.names.iter().zip(&batch.images).zip(&batch.annotations) {
            let record = records.iter().find(|record| record.name == *name).unwrap();
            if objects.is_empty() {
                assert_eq!(*image, Image::from(record.load_reference().unwrap()));
                names.push(name.clone());
            } else {
                assert_eq!(*image, Image::from(record.load().unwrap()));
            }
        }
        clean += names.len();
        seen.push(names);
    }
    assert!((30..=80).contains(&clean), "{clean} of 140");
    assert!(seen.iter().any(|names| *names != seen[0]));

    let align = ReferenceAlign::Off;
    let pairs = Loader::in_order(&records, 1, 1).with_reference(ReferenceInput::Difference, align);
    let batch = pairs.next_epoch().next().unwrap().unwrap();
    assert_eq!(batch.images[0], Image::from(records[0].load_pair(align).unwrap()));
    assert_eq!(batch.annotations[0], records[0].annotations);
}

/// The box of a white rectangle goes with it, whether its corners are edges or the first and the last pixel.
#[test]
fn corners_are_mirrored_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("board.png");
    let inside = |x, y| (10..31).contains(&x) && (5..17).contains(&y);
    RgbImage::from_fn(64, 40, |x, y| Rgb([if inside(x, y) { 255 } else { 0 }; 3])).save(&path).unwrap();
    for (corners, last) in [(Corners::Edges, 0.0), (Corners::Pixels, 1.0)] {
        let rectangle = Annotation::new([10.0, 5.0, 31.0 - last, 17.0 - last], 1);
        let records = vec![Record::from_image(&path, vec![rectangle]).unwrap(); 60];
        let loader = Loader::in_order(&records, 60, 1).with_corners(corners);
        let batch = loader.shuffled(&AugmentConfig::default(), 5, 1).next_epoch().next().unwrap().unwrap();
        let mut places = Vec::new();
        for (image, annotations) in batch.images.iter().zip(&batch.annotations) {
            let (height, width) = image.size();
            let data = image.data();
            let white = data[..height * width].iter().enumerate().filter(|(_, value)| **value > 0.5);
            let found = white.map(|(index, _)| [(index % width) as f32, (index / width) as f32]);
            let found: Vec<[f32; 2]> = found.collect();
            let least = |axis: usize| found.iter().map(|pixel| pixel[axis]).fold(f32::INFINITY, f32::min);
            let most = |axis: usize| found.iter().map(|pixel| pixel[axis]).fold(0.0, f32::max) + 1.0 - last;
            assert_eq!(annotations[0].xyxy, [least(0), least(1), most(0), most(1)], "{corners:?}");
            places.push(annotations[0].xyxy.map(|side| side as i32));
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 8, "{places:?}");

        // Cut, it ends where the image does.
        let crop = AugmentConfig { crop: Some((40, 20)), ..AugmentConfig::none() };
        let loader = Loader::in_order(&records, 60, 1).with_corners(corners).shuffled(&crop, 5, 1);
        let boxes = loader.next_epoch().next().unwrap().unwrap().annotations;
        let ends: Vec<f32> = boxes.iter().flatten().map(|one| one.xyxy[2]).collect();
        assert!(ends.contains(&(20.0 - last)) && ends.iter().all(|end| *end <= 20.0 - last), "{ends:?}");
    }
}

#[test]
fn pasted_objects_come_from_images_of_the_same_group() {
    let folder = tempfile::tempdir().unwrap();
    // Grey boards with a white square; the squares of a group are of one class.
    let record = |index: usize| {
        let (path, start) = (folder.path().join(format!("{index}.png")), 20 + index as u32);
        let inside = |x, y| (start..start + 10).contains(&x) && (start..start + 10).contains(&y);
        let pixel = |x, y| Rgb([if inside(x, y) { 255 } else { 90 }; 3]);
        RgbImage::from_fn(96, 96, pixel).save(&path).unwrap();
        let (start, group) = (start as f32, index % 2);
        let square = Annotation::new([start, start, start + 10.0, start + 10.0], 1 + group);
        Record::from_image(path, vec![square]).unwrap().with_group(group.to_string())
    };
    let records: Vec<Record> = (0..7).map(record).collect();
    let loader = |threads| {
        Loader::in_order(&records, 7, threads).shuffled(&AugmentConfig::none(), 5, 1).with_copy_paste(4)
    };
    let (one, two) = (loader(1), loader(2));
    let mut pasted = 0;
    for _ in 0..10 {
        let [batch, same] = [&one, &two].map(|loader| loader.next_epoch().next().unwrap().unwrap());
        assert_eq!((&batch.images, &batch.annotations), (&same.images, &same.annotations));
        for ((name, image), objects) in batch.names.iter().zip(&batch.images).zip(&batch.annotations) {
            let record = records.iter().find(|record| record.name == *name).unwrap();
            let (own, others) = objects.split_at(record.annotations.len());
            assert_eq!(own, record.annotations);
            assert!(others.iter().all(|other| other.label == own[0].label));
            assert_eq!(others.is_empty(), *image == Image::from(record.load().unwrap()));
            pasted += others.len();
        }
    }
    assert!(pasted > 10, "{pasted}");
}
