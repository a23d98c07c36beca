//! The parts of COCO's JSON that are read and written.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A file.
#[derive(Deserialize, Serialize)]
pub(super) struct File<'a> {
    #[serde(borrow)]
    pub images: Vec<Image<'a>>,
    /// Of a file that only lists images, none.
    #[serde(default)]
    pub annotations: Vec<Object>,
    #[serde(default, borrow)]
    pub categories: Vec<Category<'a>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Image<'a> {
    pub id: i64,
    #[serde(borrow)]
    pub file_name: Cow<'a, str>,
    pub width: usize,
    pub height: usize,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub group: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Object {
    #[serde(default)]
    pub id: i64,
    pub image_id: i64,
    pub category_id: i64,
    /// `[x, y, width, height]` in pixels.
    #[serde(default, deserialize_with = "four_numbers")]
    pub bbox: Option<[f64; 4]>,
    #[serde(default)]
    pub area: Option<f64>,
    #[serde(default)]
    pub iscrowd: Flag,
    #[serde(default, skip_serializing_if = "Flag::is_off")]
    pub ignore: Flag,
}

#[derive(Deserialize, Serialize, Clone, PartialEq)]
pub(super) struct Category<'a> {
    pub id: i64,
    #[serde(borrow)]
    pub name: Cow<'a, str>,
}

/// `0` or `1`; some programs write `false` or `true`.
#[derive(Clone, Copy, Default, PartialEq)]
pub(super) struct Flag(pub bool);

impl Flag {
    fn is_off(&self) -> bool {
        !self.0
    }
}

impl Serialize for Flag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(u8::from(self.0))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FlagVisitor;
        impl Visitor<'_> for FlagVisitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("0, 1, false or true")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Flag, E> {
                Ok(Flag(value != 0.0))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(FlagVisitor)
    }
}

/// Four numbers; none where the list is empty or `null`, as objects with a mask alone have it.
fn four_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f64; 4]>, D::Error> {
    struct Numbers;
    impl<'de> Visitor<'de> for Numbers {
        type Value = Option<[f64; 4]>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("[x, y, width, height]")
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut numbers = [0.0; 4];
            for (count, number) in numbers.iter_mut().enumerate() {
                match sequence.next_element()? {
                    Some(value) => *number = value,
                    None if count == 0 => return Ok(None),
                    None => return Err(de::Error::invalid_length(count, &self)),
                }
            }
            match sequence.next_element::<de::IgnoredAny>()? {
                None => Ok(Some(numbers)),
                Some(_) => Err(de::Error::invalid_length(5, &self)),
            }
        }
    }
    deserializer.deserialize_any(Numbers)
}
