//! Which inspections are meant.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::statement::Statement;
use crate::error::{Error, Result};

/// Which inspections are meant: those that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// With a detection of this class, or one of it that was missed: its name, or its label.
    pub class: Option<String>,
    /// Of this line.
    pub line: Option<String>,
    /// Of this product.
    pub product: Option<String>,
    /// Of this board.
    pub board: Option<String>,
    /// With a verdict, or without.
    pub verdict: Option<VerdictState>,
    /// By this model: `NAME`, `NAME/VERSION`, or the SHA-256 of the weights.
    pub model: Option<String>,
}

/// Whether a person has looked at an inspection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VerdictState {
    /// Not yet.
    Pending,
    /// There is a verdict.
    Given,
}

impl Filter {
    /// Adds conditions on `inspections i`, each with `AND` before it.
    pub(super) fn conditions(&self, select: &mut Statement) {
        if let Some(from) = self.from {
            select.sql(" AND i.time >= ").value(from.as_millisecond());
        }
        if let Some(to) = self.to {
            select.sql(" AND i.time < ").value(to.as_millisecond());
        }
        for (column, value) in [("line", &self.line), ("product", &self.product), ("board", &self.board)] {
            if let Some(value) = value {
                select.sql(" AND i.").sql(column).sql(" = ").text(Some(value));
            }
        }
        match self.verdict {
            None => {}
            Some(VerdictState::Pending) => _ = select.sql(" AND i.verdict_time IS NULL"),
            Some(VerdictState::Given) => _ = select.sql(" AND i.verdict_time IS NOT NULL"),
        }
        if let Some(model) = &self.model {
            select.sql(" AND (i.model_name = ").text(Some(model));
            select.sql(" OR i.model_sha256 = ").text(Some(model));
            if let Some((name, Ok(version))) = model.rsplit_once('/').map(|(n, v)| (n, v.parse::<u32>())) {
                select.sql(" OR i.model_name = ").text(Some(name));
                select.sql(" AND i.model_version = ").value(i64::from(version));
            }
            select.sql(")");
        }
        if let Some(class) = &self.class {
            for (start, table) in [(" AND (", "detections"), (" OR ", "missed")] {
                select.sql(start).sql("EXISTS (SELECT 1 FROM ").sql(table);
                select.sql(" c WHERE c.inspection = i.id AND (c.name = ").text(Some(class));
                if let Ok(label) = class.parse::<u32>() {
                    select.sql(" OR c.label = ").value(i64::from(label));
                }
                select.sql("))");
            }
            select.sql(")");
        }
    }
}

/// A time as people write it: RFC 3339, such as `2026-11-26T10:30:00Z`, or a day, which is its start in UTC.
///
/// # Errors
///
/// [`Error::Config`] for any other text.
pub fn moment(text: &str) -> Result<Timestamp> {
    let start = |day: Date| day.to_zoned_datetime(TimeZone::UTC).ok().map(|start| start.timestamp());
    let day = (text.len() == "2026-11-26".len()).then(|| text.parse().ok().and_then(start)).flatten();
    day.or_else(|| text.parse().ok()).ok_or_else(|| {
        let message = "is no time: 2026-11-26T10:30:00Z is one, and so is a day such as 2026-11-26";
        Error::Config(format!("`{text}` {message}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_its_start_and_anything_else_is_refused() {
        let start: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        assert_eq!(moment("2026-11-26").unwrap(), start);
        assert_eq!(moment("2026-11-26T01:30:00+01:30").unwrap(), start);
        for wrong in ["", "today", "2026-13-01", "2026-02-30", "2026-11-26T10:00:00", "26.11.2026"] {
            let error = moment(wrong).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{wrong}` is no time")), "{error}");
        }
    }
}
