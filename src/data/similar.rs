//! Pictures that are almost the same: the same one in another compression, a little brighter or smaller, or
//! with a border cut off.

use std::collections::HashMap;

use image::RgbImage;
#[cfg(feature = "data")]
use image_hasher::{FilterType, HashAlg, HasherConfig};

/// Bits along a side of the hash.
const SIDE: u32 = 16;
const BITS: u32 = SIDE * SIDE;

/// The most bits in which the hashes of two pictures that are almost the same differ.
///
/// Chosen by DeepPCB's 1,000 training boards. Of copies in JPEG quality 20, brighter by 20 of 255, at half
/// the size, or with 2 pixels cut off, 99 % differ by 18 bits at most. Of all pairs of boards the nearest
/// differ by 26; those are the same layout on two plates. Different boards of one plate differ by 80 or more.
const MOST_DIFFERENCES: u32 = 20;

/// Parts of a hash. Of two hashes that differ in fewer bits than there are parts, one part is the same in
/// both: so only pictures that share a part are compared (Norouzi et al., "Fast Search in Hamming Space with
/// Multi-Index Hashing", 2012).
const PARTS: u32 = MOST_DIFFERENCES + 1;

/// A perceptual hash of 256 bits. Each says whether a low frequency of the grey picture is above the median
/// of all (pHash).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PictureHash([u64; 4]);

impl PictureHash {
    /// None for a picture of one colour, which has no frequencies.
    #[cfg(feature = "data")]
    pub fn of(image: &RgbImage) -> Option<Self> {
        let hasher = HasherConfig::with_bytes_type::<[u8; BITS as usize / 8]>()
            .hash_size(SIDE, SIDE)
            .hash_alg(HashAlg::Median)
            .preproc_dct()
            .resize_filter(FilterType::Triangle)
            .to_hasher();
        let bytes = hasher.hash_image(image).into_inner();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        // Half of the bits are above the median, but for those of a flat picture: it is not above itself.
        let ones: u32 = words.iter().map(|word| word.count_ones()).sum();
        (BITS / 4..=BITS * 3 / 4).contains(&ones).then_some(Self(words))
    }

    /// None: without the feature `data`, only equal files are found.
    #[cfg(not(feature = "data"))]
    pub fn of(_: &RgbImage) -> Option<Self> {
        None
    }

    /// In how many bits two hashes differ.
    fn differences(&self, other: &Self) -> u32 {
        self.0.iter().zip(other.0).map(|(one, other)| (one ^ other).count_ones()).sum()
    }

    /// The bits of a part, counted from 0.
    fn part(&self, part: u32) -> u64 {
        let (start, end) = (part * BITS / PARTS, (part + 1) * BITS / PARTS);
        let (word, shift) = ((start / 64) as usize, start % 64);
        let next = self.0.get(word + 1).copied().unwrap_or(0);
        let both = u128::from(self.0[word]) | u128::from(next) << 64;
        (both >> shift) as u64 & ((1 << (end - start)) - 1)
    }
}

/// A picture that is almost the same as another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Neighbour {
    differences: u32,
    index: usize,
}

/// For each picture the nearest one that is almost the same: among the earlier ones of its kind, and among
/// all of the other kind. `pictures` are hashes and kinds.
///
/// Pictures with equal hashes are compared once. The others take time by how many share a part: it is linear
/// in practice.
pub(super) fn neighbours(pictures: &[(PictureHash, bool)]) -> Vec<[Option<usize>; 2]> {
    // The first picture of each hash and kind stands for all of them.
    let mut first = HashMap::new();
    let standing: Vec<usize> =
        pictures.iter().enumerate().map(|(index, picture)| *first.entry(picture).or_insert(index)).collect();
    let distinct: Vec<usize> = (0..pictures.len()).filter(|index| standing[*index] == *index).collect();

    let mut nearest: Vec<[Option<Neighbour>; 2]> = vec![[None; 2]; pictures.len()];
    let mut offer = |index: usize, other: usize, differences: u32| {
        let of_other_kind = pictures[index].1 != pictures[other].1;
        if of_other_kind || other < index {
            let offered = Neighbour { differences, index: other };
            let place = &mut nearest[index][usize::from(of_other_kind)];
            *place = Some(place.map_or(offered, |known| known.min(offered)));
        }
    };
    for part in 0..PARTS {
        let mut buckets: HashMap<u64, Vec<usize>> = HashMap::new();
        for &index in &distinct {
            let bucket = buckets.entry(pictures[index].0.part(part)).or_default();
            for &other in bucket.iter() {
                let differences = pictures[index].0.differences(&pictures[other].0);
                if differences <= MOST_DIFFERENCES {
                    offer(index, other, differences);
                    offer(other, index, differences);
                }
            }
            bucket.push(index);
        }
    }
    let found = |index: usize| {
        let [own, other] = nearest[standing[index]].map(|found| found.map(|found| found.index));
        [if standing[index] < index { Some(standing[index]) } else { own }, other]
    };
    (0..pictures.len()).map(found).collect()
}

#[cfg(all(test, feature = "data"))]
mod tests {
    use std::time::Instant;

    use image::Rgb;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// With `flips` bits that differ from `hash`.
    fn flipped(hash: PictureHash, flips: usize, rng: &mut ChaCha8Rng) -> PictureHash {
        let mut bits = Vec::new();
        while bits.len() < flips {
            let bit = rng.random_range(0..BITS as usize);
            if !bits.contains(&bit) {
                bits.push(bit);
            }
        }
        let mut words = hash.0;
        bits.iter().for_each(|bit| words[bit / 64] ^= 1 << (bit % 64));
        PictureHash(words)
    }

    fn random(rng: &mut ChaCha8Rng) -> PictureHash {
        PictureHash(std::array::from_fn(|_| rng.random()))
    }

    /// Comparing all with all finds the same.
    #[test]
    fn every_pair_within_the_threshold_is_found() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut pictures: Vec<(PictureHash, bool)> = Vec::new();
        for _ in 0..600 {
            let known = (!pictures.is_empty()).then(|| pictures[rng.random_range(0..pictures.len())].0);
            let flips = rng.random_range(0..30);
            let hash = known.filter(|_| flips < 27).map(|hash| flipped(hash, flips, &mut rng));
            let hash = hash.unwrap_or_else(|| random(&mut rng));
            pictures.push((hash, rng.random_bool(0.3)));
        }
        let (mut with_own, mut with_other) = (0, 0);
        for (index, found) in neighbours(&pictures).into_iter().enumerate() {
            let (hash, kind) = pictures[index];
            let expected = |is_other: bool| {
                let others = (0..pictures.len()).filter(|other| (pictures[*other].1 != kind) == is_other);
                let others = others.filter(|other| is_other || *other < index);
                others.map(|other| hash.differences(&pictures[other].0)).filter(|bits| *bits <= 20).min()
            };
            let found = found.map(|other| other.map(|other| hash.differences(&pictures[other].0)));
            assert_eq!(found, [expected(false), expected(true)], "{index}");
            with_own += usize::from(found[0].is_some());
            with_other += usize::from(found[1].is_some());
        }
        assert!(with_own > 100 && with_other > 100, "{with_own} {with_other}");
    }

    /// As many pictures as COCO has to train on, also where many of them are the same one.
    #[test]
    fn many_pictures_are_compared_in_seconds() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let flat = random(&mut rng);
        let mut pictures: Vec<_> = (0..118_000).map(|_| (random(&mut rng), rng.random_bool(0.1))).collect();
        for index in (0..pictures.len()).step_by(2) {
            pictures[index].0 = flat;
        }
        let copy = flipped(pictures[501].0, 20, &mut rng);
        pictures[117_001] = (copy, pictures[501].1);
        let started = Instant::now();
        let found = neighbours(&pictures);
        println!("118,000 pictures: {:.2} s", started.elapsed().as_secs_f64());
        assert!(started.elapsed().as_secs() < 60, "all with all would take minutes");
        assert_eq!(found[117_001][0], Some(501));
        assert_eq!(found.iter().filter(|found| found[0].is_some()).count(), 59_000 - 2 + 1);
    }

    #[test]
    fn pictures_of_one_colour_have_no_hash() {
        for grey in [0, 100, 255] {
            assert_eq!(PictureHash::of(&RgbImage::from_pixel(64, 48, Rgb([grey; 3]))), None);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let noise = RgbImage::from_fn(64, 48, |_, _| Rgb([rng.random(); 3]));
        assert!(PictureHash::of(&noise).is_some());
    }
}
