//! Which images are trained on, and which are held out.

use std::collections::HashMap;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::dataset::{Dataset, Record, Side, Split};

/// Part of the images that [`Dataset::sides`] holds out.
const HELD_OUT: f64 = 0.1;

/// The sides in the order of the arrays here.
const SIDES: [Side; 3] = [Side::Train, Side::Validation, Side::Test];

/// A share below this is a rounding error of `1 - validation - test`.
const NO_SHARE: f64 = 1e-9;

impl Dataset {
    /// The images to train on and those to validate on: as the data set says, where it does, and else a tenth
    /// is held out, chosen by `seed` as [`split`](Self::split) does.
    ///
    /// Where no image is for validation but some are for the test, these are held out. Images that are for
    /// nothing in particular are trained on.
    pub fn sides(self, seed: u64) -> Split {
        let has = |side| self.records.iter().any(|record| record.side == Some(side));
        let held_out = match (has(Side::Validation), has(Side::Test)) {
            (true, _) => Side::Validation,
            (false, true) => Side::Test,
            (false, false) => return self.split(HELD_OUT, seed),
        };
        self.parts(held_out)
    }

    /// Holds out a part of the images, chosen by `seed`; both sides keep the present order. It is
    /// [`divide`](Self::divide) without images for the test.
    ///
    /// # Panics
    ///
    /// Where `validation_fraction` is outside `0..=1`.
    pub fn split(self, validation_fraction: f64, seed: u64) -> Split {
        self.divide(validation_fraction, 0.0, seed).parts(Side::Validation)
    }

    /// Gives every image a side: a part is for validation, another one for the test, and the rest is trained
    /// on. Sides that the images had are forgotten.
    ///
    /// All images of a [group](Record::group) get the same side. An image without a group is a group of its
    /// own. Where all images are of one group, it cannot be kept together, and it is divided by image:
    /// [`is_one_group`](Self::is_one_group) tells.
    ///
    /// Each side gets its share of the images and of each class's boxes, as far as groups allow. Without
    /// groups the numbers of images are exact, but for rounding. No side with a share stays empty, if there
    /// are as many groups as sides.
    ///
    /// The method: groups are taken in an order that `seed` gives, large ones and those with rare classes
    /// first. Each one goes to the side that has the least of what is in the group, in relation to the side's
    /// share. A side whose images are complete gets no more. That rare classes come first is from Sechidis,
    /// Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (2011), that whole groups are
    /// dealt out so is from scikit-learn's `StratifiedGroupKFold`. The relation to the share is the divisor
    /// of Sainte-Laguë, by which parliaments share out their seats.
    ///
    /// # Panics
    ///
    /// Where a fraction or their sum is outside `0..=1`.
    #[must_use]
    pub fn divide(mut self, validation: f64, test: f64, seed: u64) -> Self {
        let valid = |fraction: f64| (0.0..=1.0).contains(&fraction);
        assert!(
            valid(validation) && valid(test) && validation + test <= 1.0 + NO_SHARE,
            "the fractions to hold out and their sum must be in 0..=1, are {validation} and {test}"
        );
        let shares = [1.0 - validation - test, validation, test];
        let shares = shares.map(|share| if share < NO_SHARE { 0.0 } else { share });
        let mut groups = groups(&self.records);
        if groups.len() == 1 {
            groups = (0..self.records.len()).map(|index| vec![index]).collect();
        }
        groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));

        let mut division = Division::new(&self.records, groups, shares);
        division.deal();
        division.fill_empty_sides();
        for (group, side) in division.groups.iter().zip(division.sides) {
            for index in &group.images {
                self.records[*index].side = Some(SIDES[side]);
            }
        }
        self
    }

    /// Whether there are several images, and all are of one group.
    pub fn is_one_group(&self) -> bool {
        let mut groups = self.records.iter().map(|record| record.group.as_ref());
        match groups.next() {
            Some(first @ Some(_)) => self.records.len() > 1 && groups.all(|group| group == first),
            _ => false,
        }
    }

    /// The images that are for `side`, in their order.
    #[must_use]
    pub fn of_side(mut self, side: Side) -> Self {
        self.records.retain(|record| record.side == Some(side));
        self
    }

    /// The images to train on, and those of the side that is held out.
    fn parts(self, held_out: Side) -> Split {
        let (mut train, mut validation) = (Vec::new(), Vec::new());
        for record in self.records {
            match record.side {
                Some(side) if side == held_out => validation.push(record),
                None | Some(Side::Train) => train.push(record),
                // With a validation side, the test's images are for neither.
                Some(_) => {}
            }
        }
        let train = Self { records: train, class_names: self.class_names.clone(), ..self };
        Split { train, validation: Self { records: validation, ..self } }
    }
}

/// The images of each group, groups in the order of their first images.
fn groups(records: &[Record]) -> Vec<Vec<usize>> {
    let (mut groups, mut by_name) = (Vec::<Vec<usize>>::new(), HashMap::new());
    for (index, record) in records.iter().enumerate() {
        let own = groups.len();
        let group = record.group.as_ref().map_or(own, |name| *by_name.entry(name).or_insert(own));
        if group == own {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

/// Images that get the same side.
struct Group {
    /// Their positions in the data set.
    images: Vec<usize>,
    /// How much is in it, in parts of what the data set has: of the images (0), of those without objects (1),
    /// and of each class's boxes (its label + 1).
    contents: Vec<(usize, f64)>,
}

/// Groups, and which of them are on which side.
struct Division {
    shares: [f64; 3],
    groups: Vec<Group>,
    /// The side of each group, as a position in [`SIDES`].
    sides: Vec<usize>,
}

impl Division {
    fn new(records: &[Record], groups: Vec<Vec<usize>>, shares: [f64; 3]) -> Self {
        let count = |images: &[usize]| {
            let mut counts = HashMap::<usize, usize>::new();
            for index in images {
                let objects = &records[*index].annotations;
                let kinds = objects.iter().map(|object| object.label + 1);
                for kind in kinds.chain([0]).chain(objects.is_empty().then_some(1)) {
                    *counts.entry(kind).or_default() += 1;
                }
            }
            counts
        };
        let totals = count(&(0..records.len()).collect::<Vec<_>>());
        let group = |images: Vec<usize>| {
            let part = |(kind, amount)| (kind, amount as f64 / totals[&kind] as f64);
            let mut contents: Vec<(usize, f64)> = count(&images).into_iter().map(part).collect();
            // Sums of floating point numbers depend on the order.
            contents.sort_by_key(|(kind, _)| *kind);
            Group { images, contents }
        };
        let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
        // Coarsely, so that the seed decides between groups that are much alike.
        let weight = |group: &Group| group.contents.iter().map(|(_, part)| part * part).sum::<f64>();
        groups.sort_by_key(|group| -(weight(group).log2().floor() as i64));
        Self { shares, groups, sides: Vec::new() }
    }

    /// Gives each group its side.
    fn deal(&mut self) {
        let kinds = self.groups.iter().flat_map(|group| &group.contents).map(|(kind, _)| kind + 1);
        let mut dealt = vec![[0.0; 3]; kinds.max().unwrap_or(0)];
        let images = self.groups.iter().map(|group| group.images.len()).sum();
        let mut room = capacities(images, self.shares).map(|capacity| capacity as i64);
        for group in &self.groups {
            let images = group.images.len() as i64;
            // What the side has, in relation to its share.
            let load = |side: usize| -> f64 {
                let loads =
                    group.contents.iter().map(|(kind, part)| part * (2.0 * dealt[*kind][side] + part));
                loads.sum::<f64>() / self.shares[side]
            };
            let open = || (0..SIDES.len()).filter(|side| self.shares[*side] > 0.0);
            let fitting = open().filter(|side| room[*side] >= images);
            let side = fitting.min_by(|a, b| load(*a).total_cmp(&load(*b)));
            let side = side.or_else(|| open().max_by_key(|side| room[*side])).unwrap_or(0);
            for (kind, part) in &group.contents {
                dealt[*kind][side] += part;
            }
            room[side] -= images;
            self.sides.push(side);
        }
    }

    /// Large groups may have left nothing for a side with a small share. It gets the smallest group of the
    /// side that has the most groups.
    fn fill_empty_sides(&mut self) {
        for empty in (0..SIDES.len()).filter(|side| self.shares[*side] > 0.0) {
            let count = |side: usize| self.sides.iter().filter(|of| **of == side).count();
            let richest = (0..SIDES.len()).max_by_key(|side| count(*side)).unwrap_or(0);
            if count(empty) > 0 || count(richest) < 2 {
                continue;
            }
            let given = (0..self.groups.len()).filter(|index| self.sides[*index] == richest);
            if let Some(smallest) = given.min_by_key(|index| self.groups[*index].images.len()) {
                self.sides[smallest] = empty;
            }
        }
    }
}

/// How many images each side gets.
fn capacities(images: usize, shares: [f64; 3]) -> [usize; 3] {
    let part = |share: f64| (images as f64 * share).round() as usize;
    let validation = part(shares[1]).min(images);
    let test = part(shares[2]).min(images - validation);
    let mut capacities = [images - validation - test, validation, test];
    for side in 0..SIDES.len() {
        let largest = (0..SIDES.len()).max_by_key(|side| capacities[*side]).unwrap_or(0);
        if shares[side] > 0.0 && capacities[side] == 0 && capacities[largest] > 1 {
            capacities[largest] -= 1;
            capacities[side] += 1;
        }
    }
    capacities
}

#[cfg(all(test, feature = "data"))]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::error::Error;
    use crate::structures::Annotation;

    fn record(index: usize) -> Record {
        Record::new(format!("{index}.png"), (20, 30), vec![Annotation::new([1.0, 2.0, 30.4, 9.0], 2)])
    }

    fn count(data: &Dataset, side: Side) -> usize {
        data.records.iter().filter(|record| record.side == Some(side)).count()
    }

    #[test]
    fn a_split_leaves_no_part_empty() {
        let all = Dataset::new((0..3).map(record).collect(), ["open", "short"]);
        for (fraction, expected) in [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 2), (1.0, 3)] {
            let Split { train, validation } = all.clone().split(fraction, 0);
            assert_eq!((train.records.len(), validation.records.len()), (3 - expected, expected));
            assert_eq!((&train.class_names, &validation.class_names), (&all.class_names, &all.class_names));
        }
        let sides = |count: usize, validation: f64, test: f64| {
            let data = Dataset::new((0..count).map(record).collect(), ["open", "short"]);
            let data = data.divide(validation, test, 1);
            SIDES.map(|side| self::count(&data, side))
        };
        assert_eq!(sides(100, 0.1, 0.2), [70, 10, 20]);
        assert_eq!(sides(100, 0.9, 0.1), [0, 90, 10]);
        assert_eq!(sides(3, 0.1, 0.1), [1, 1, 1]);
        assert_eq!(sides(2, 0.1, 0.1), [1, 1, 0]);
        assert_eq!(sides(1, 0.1, 0.1), [1, 0, 0]);
        assert_eq!(sides(0, 0.1, 0.1), [0, 0, 0]);
    }

    /// Images in groups of 1 to 12, each with boxes mostly of the classes that its group has.
    fn random(seed: u64, group_sizes: std::ops::RangeInclusive<usize>) -> Dataset {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut records = Vec::new();
        for group in 0..120 {
            let favourite = rng.random_range(1..=6);
            for _ in 0..rng.random_range(group_sizes.clone()) {
                let objects = (0..rng.random_range(0..8)).map(|_| {
                    // Class 6 is rare.
                    let label = if rng.random_bool(0.5) { favourite } else { rng.random_range(1..=5) };
                    Annotation::new([1.0, 1.0, 9.0, 9.0], label)
                });
                let record = Record::new(format!("{}.png", records.len()), (20, 20), objects.collect());
                records.push(record.with_group(group.to_string()));
            }
        }
        Dataset::new(records, ["a", "b", "c", "d", "e", "f"])
    }

    fn boxes(data: &Dataset, label: usize) -> f64 {
        let objects = data.records.iter().flat_map(|record| &record.annotations);
        objects.filter(|object| object.label == label).count() as f64
    }

    /// Of 120 groups, each with up to 12 images, a tenth that is held out has 9 to 11 % of the images, and
    /// 4 to 18 % of each class's boxes: class 6 is in about 20 groups only.
    #[test]
    fn groups_stay_together_and_each_part_has_its_share_of_each_class() {
        for seed in 0..30 {
            let all = random(seed, 1..=12);
            let data = all.clone().divide(0.1, 0.1, seed);
            assert_eq!(data, all.clone().divide(0.1, 0.1, seed), "the same seed, the same split");
            let mut sides = HashMap::new();
            for record in &data.records {
                assert_eq!(*sides.entry(&record.group).or_insert(record.side), record.side);
            }
            for side in [Side::Validation, Side::Test] {
                let held_out = data.clone().of_side(side);
                let share = held_out.records.len() as f64 / all.records.len() as f64;
                assert!((0.09..=0.11).contains(&share), "seed {seed}, {side:?}: {share} of the images");
                for label in 1..=6 {
                    let share = boxes(&held_out, label) / boxes(&all, label);
                    assert!(
                        (0.04..=0.18).contains(&share),
                        "seed {seed}, {side:?}: {share} of class {label}"
                    );
                }
            }
        }
        let validation = |seed| random(0, 1..=12).split(0.1, seed).validation.records;
        assert!((1..4).any(|seed| validation(seed) != validation(0)), "the seed chooses");
    }

    /// Without groups the images are exact, and classes are within 2 % of the data set's.
    #[test]
    fn without_groups_the_part_held_out_is_exact() {
        for seed in 0..10 {
            let mut all = random(seed, 4..=4);
            all.group_by("^").unwrap();
            assert!(all.is_one_group(), "every name matches with nothing");
            all.group_by("none").unwrap();
            let held_out = all.clone().split(0.25, seed).validation;
            assert_eq!(held_out.records.len(), all.records.len() / 4);
            for label in 1..=6 {
                let share = boxes(&held_out, label) / boxes(&all, label);
                assert!((0.23..=0.27).contains(&share), "seed {seed}: {share} of class {label}");
            }
        }
    }

    #[test]
    fn large_groups_leave_no_side_empty_and_one_group_is_divided() {
        let group = |index: usize, group: usize| record(index).with_group(group.to_string());
        for seed in 0..5 {
            let large = Dataset::new((0..30).map(|index| group(index, index / 10)).collect(), ["a", "b"]);
            let data = large.clone().divide(0.02, 0.02, seed);
            assert_eq!(SIDES.map(|side| count(&data, side)), [10, 10, 10]);
            assert!(!large.is_one_group());
            let one = Dataset::new((0..30).map(|index| group(index, 0)).collect(), ["a", "b"]);
            assert!(one.is_one_group());
            assert_eq!(one.split(0.1, seed).validation.records.len(), 3);
        }
    }

    #[test]
    fn names_are_grouped_by_what_matches() {
        let names = ["a/10_1.png", "a/10_2.png", "b/11_1.png", "c.png"];
        let records = names.map(|name| record(0).with_name(name)).to_vec();
        let mut data = Dataset::new(records, ["a", "b"]);
        let mut groups = |pattern: &str| {
            let unmatched = data.group_by(pattern).unwrap();
            let groups = data.records.iter().map(|record| record.group.clone().unwrap_or_default());
            (groups.collect::<Vec<_>>().join(" "), unmatched)
        };
        assert_eq!(groups("([0-9]+)_"), ("10 10 11 ".to_string(), 1));
        assert_eq!(groups("^[a-z]"), ("a a b c".to_string(), 0));
        // A parenthesis that takes no part in the match.
        assert_eq!(groups("(x)?[0-9]+_"), ("10_ 10_ 11_ ".to_string(), 1));
        assert!(matches!(data.group_by("("), Err(Error::Config(message)) if message.contains("unclosed")));
    }
}
