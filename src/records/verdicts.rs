//! What people say of an inspection.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row};
use uuid::Uuid;

use super::inspection::{Inspection, Judged, Judgement, Missed, Verdict};
use super::rows;
use super::statement::{Statement, clean};
use super::store::{Records, by_id};
use crate::error::{Error, Result};

/// Objects that were missed in an image, at most.
const MAX_MISSED: usize = 1000;

impl Records {
    /// Replaces what was said of an inspection, unless somebody said something else than [`Verdict::seen`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] where the verdict does not fit: another number of detections, a label that the model
    /// does not know, a box outside of the image. [`Error::Database`].
    pub async fn set_verdict(&self, id: Uuid, verdict: &Verdict) -> Result<Judged> {
        let write = self.write_verdict(id, verdict);
        self.database.within("a verdict cannot be stored", write).await?.map_err(Error::Config)
    }

    /// The inner error says why the verdict does not fit.
    async fn write_verdict(&self, id: Uuid, verdict: &Verdict) -> sqlx::Result<Result<Judged, String>> {
        let (_turn, mut transaction) = self.database.write().await?;
        let now = Timestamp::now().as_millisecond();
        let seen = verdict.seen.map(|seen| seen.map(Timestamp::as_millisecond));
        // Another time than before, also by a clock that was set back.
        let time = seen.flatten().map_or(now, |seen| now.max(seen.saturating_add(1)));
        // This locks the row: of two verdicts at once, one is stored after the other.
        let mut update = Statement::new("UPDATE inspections SET verdict_time = ");
        update.value(time).sql(", verdict_by = ").text(verdict.by.as_deref());
        update.sql(" WHERE id = ").value(id.to_string());
        match seen {
            None => {}
            Some(None) => _ = update.sql(" AND verdict_time IS NULL"),
            Some(Some(seen)) => _ = update.sql(" AND verdict_time = ").value(seen),
        }
        let is_updated = update.query().execute(&mut *transaction).await?.rows_affected() > 0;
        let Some(mut inspection) = rows::read(&mut transaction, by_id(id)).await?.pop() else {
            return Ok(Ok(Judged::Missing));
        };
        if !is_updated {
            return Ok(Ok(Judged::Changed(inspection)));
        }
        let class_names = class_names(&mut transaction, &inspection.model.sha256).await?;
        let missed = match check(verdict, &inspection, &class_names) {
            Ok(missed) => missed,
            Err(message) => return Ok(Err(message)),
        };
        for judgement in [None, Some(Judgement::Real), Some(Judgement::FalseCall)] {
            let detections = verdict.detections.iter().zip(0..).filter(|(said, _)| **said == judgement);
            let positions: Vec<i64> = detections.map(|(_, position)| position).collect();
            if positions.is_empty() {
                continue;
            }
            let mut update = Statement::new("UPDATE detections SET verdict = ");
            update.text(judgement.map(rows::word)).sql(" WHERE inspection = ").value(id.to_string());
            update.sql(" AND position IN (");
            update.values(positions).sql(")");
            update.query().execute(&mut *transaction).await?;
        }
        let mut delete = Statement::new("DELETE FROM missed WHERE inspection = ");
        delete.value(id.to_string());
        delete.query().execute(&mut *transaction).await?;
        for insert in rows::insert_missed(id, &missed) {
            insert.query().execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        for (found, said) in inspection.detections.iter_mut().zip(&verdict.detections) {
            found.verdict = *said;
        }
        inspection.missed = missed;
        Ok(Ok(Judged::Stored(inspection)))
    }
}

/// The names of a model's classes; empty where it has none.
async fn class_names(connection: &mut AnyConnection, model: &str) -> sqlx::Result<Vec<String>> {
    let mut select = Statement::new("SELECT class_names FROM models WHERE sha256 = ");
    select.text(Some(model));
    let row = select.query().fetch_one(connection).await?;
    Ok(serde_json::from_str(row.try_get("class_names")?).unwrap_or_default())
}

/// What was missed, with the names of its classes, or why the verdict does not fit.
fn check(verdict: &Verdict, inspection: &Inspection, class_names: &[String]) -> Result<Vec<Missed>, String> {
    let (given, found) = (verdict.detections.len(), inspection.detections.len());
    if given != found {
        return Err(format!("the verdict is of {given} detections, the inspection has {found}"));
    }
    if verdict.missed.len() > MAX_MISSED {
        return Err(format!("at most {MAX_MISSED} missed objects can be stored"));
    }
    let (width, height) = (inspection.image.width as f32, inspection.image.height as f32);
    let check = |Missed { xyxy, label, .. }: &Missed| {
        let [x1, y1, x2, y2] = *xyxy;
        if !(0.0 <= x1 && x1 < x2 && x2 <= width && 0.0 <= y1 && y1 < y2 && y2 <= height) {
            return Err(format!(
                "the box {xyxy:?} of a missed object is not in the {width} x {height} image"
            ));
        }
        let known = 1..=if class_names.is_empty() { i32::MAX as usize } else { class_names.len() };
        if !known.contains(label) {
            return Err(format!("the model has no class with the label {label}"));
        }
        let name = class_names.get(label - 1).map(|name| clean(name));
        Ok(Missed { xyxy: *xyxy, label: *label, name })
    };
    verdict.missed.iter().map(check).collect()
}
