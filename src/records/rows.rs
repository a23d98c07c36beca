//! Between the rows of the tables and [`Inspection`].

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};
use uuid::Uuid;

use super::inspection::{Fields, Found, Inspection, Judgement, Milliseconds, Missed, Model, StoredImage};
use super::statement::Statement;
use crate::structures::Xyxy;

/// Rows that go into a table at once: far below what a statement may hold values.
const ROWS_AT_ONCE: usize = 500;

/// What a query of `SELECT * FROM inspections` finds, whole, in its order. The connection is in a transaction
/// in which nobody else can remove a part of them.
pub(super) async fn read(connection: &mut AnyConnection, select: Statement) -> sqlx::Result<Vec<Inspection>> {
    let rows = select.query().fetch_all(&mut *connection).await?;
    let mut inspections = rows.iter().map(inspection).collect::<sqlx::Result<Vec<_>>>()?;
    if inspections.is_empty() {
        return Ok(inspections);
    }
    let ids: Vec<String> = inspections.iter().map(|inspection| inspection.id.to_string()).collect();
    let places: HashMap<&str, usize> = ids.iter().map(String::as_str).zip(0..).collect();
    for row in parts("detections", &ids).query().fetch_all(&mut *connection).await? {
        if let Some(&index) = places.get(row.try_get::<&str, _>("inspection")?) {
            inspections[index].detections.push(found(&row)?);
        }
    }
    for row in parts("missed", &ids).query().fetch_all(&mut *connection).await? {
        if let Some(&index) = places.get(row.try_get::<&str, _>("inspection")?) {
            inspections[index].missed.push(missed(&row)?);
        }
    }
    Ok(inspections)
}

/// The rows of a table that belong to some inspections.
fn parts(table: &str, ids: &[String]) -> Statement {
    let mut select = Statement::new("SELECT * FROM ");
    select.sql(table).sql(" WHERE inspection IN (");
    select.values(ids.to_vec()).sql(") ORDER BY inspection, position");
    select
}

/// Writes everything of an inspection but its detections. Nothing if its key is there already.
pub(super) fn insert(inspection: &Inspection, key: Option<&str>) -> Statement {
    let Inspection { model, image, reference, fields, milliseconds, .. } = inspection;
    let mut insert = Statement::new(
        "INSERT INTO inspections (id, key, time, day, model_name, model_version, model_sha256, image_name, \
         image_width, image_height, image_sha256, image_bytes, image_media_type, reference_name, \
         reference_width, reference_height, reference_sha256, reference_bytes, reference_media_type, line, \
         product, board, score_threshold, decode_ms, queue_ms, detect_ms, store_ms, total_ms) VALUES (",
    );
    insert.value(inspection.id.to_string()).sql(", ").text(key);
    insert.sql(", ").value(inspection.time.as_millisecond());
    insert.sql(", ").value(inspection.time.strftime("%Y-%m-%d").to_string());
    insert.sql(", ").text(model.name.as_deref());
    insert.sql(", ").value(model.version.map(i64::from));
    insert.sql(", ").text(Some(&model.sha256));
    for image in [Some(image), reference.as_ref()] {
        insert.sql(", ").text(image.and_then(|image| image.name.as_deref()));
        insert.sql(", ").value(image.map(|image| i64::from(image.width)));
        insert.sql(", ").value(image.map(|image| i64::from(image.height)));
        insert.sql(", ").text(image.map(|image| image.sha256.as_str()));
        insert.sql(", ").value(image.map(|image| image.bytes as i64));
        insert.sql(", ").text(image.map(|image| image.media_type.as_str()));
    }
    for field in [&fields.line, &fields.product, &fields.board] {
        insert.sql(", ").text(field.as_deref());
    }
    insert.sql(", ").value(f64::from(inspection.score_threshold));
    let Milliseconds { decode, queue, detect, store, total } = *milliseconds;
    for time in [Some(decode), Some(queue), Some(detect), store, Some(total)] {
        insert.sql(", ").value(time);
    }
    insert.sql(") ON CONFLICT (key) DO NOTHING");
    insert
}

/// Writes detections.
pub(super) fn insert_found(id: Uuid, found: &[Found]) -> impl Iterator<Item = Statement> {
    let start = "INSERT INTO detections (inspection, position, x1, y1, x2, y2, label, name, score, verdict)";
    insert_rows(start, id, found, |insert, found| {
        insert_box(insert, found.xyxy, found.label, found.name.as_deref());
        insert.sql(", ").value(f64::from(found.score));
        insert.sql(", ").text(found.verdict.map(word));
    })
}

/// Writes what was missed.
pub(super) fn insert_missed(id: Uuid, missed: &[Missed]) -> impl Iterator<Item = Statement> {
    let start = "INSERT INTO missed (inspection, position, x1, y1, x2, y2, label, name)";
    insert_rows(start, id, missed, |insert, missed| {
        insert_box(insert, missed.xyxy, missed.label, missed.name.as_deref());
    })
}

fn insert_rows<T>(
    start: &str,
    id: Uuid,
    rows: &[T],
    columns: impl Fn(&mut Statement, &T),
) -> impl Iterator<Item = Statement> {
    rows.chunks(ROWS_AT_ONCE).enumerate().map(move |(chunk, rows)| {
        let mut insert = Statement::new(start);
        for (index, row) in rows.iter().enumerate() {
            insert.sql(if index == 0 { " VALUES (" } else { "), (" }).value(id.to_string());
            insert.sql(", ").value((chunk * ROWS_AT_ONCE + index) as i64);
            columns(&mut insert, row);
        }
        insert.sql(")");
        insert
    })
}

fn insert_box(insert: &mut Statement, xyxy: Xyxy, label: usize, name: Option<&str>) {
    for side in xyxy {
        insert.sql(", ").value(f64::from(side));
    }
    insert.sql(", ").value(label as i64);
    insert.sql(", ").text(name);
}

/// A judgement in the database and in tables.
pub(super) fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Real => "real",
        Judgement::FalseCall => "false_call",
    }
}

fn inspection(row: &AnyRow) -> sqlx::Result<Inspection> {
    let name: Option<String> = row.try_get("reference_name")?;
    let reference: Option<String> = row.try_get("reference_sha256")?;
    let id: String = row.try_get("id")?;
    Ok(Inspection {
        id: id.parse().map_err(|error| strange("id", error))?,
        time: time("time", row.try_get("time")?)?,
        model: Model {
            name: row.try_get("model_name")?,
            version: optional_number(row, "model_version")?,
            sha256: row.try_get("model_sha256")?,
        },
        image: StoredImage {
            name: row.try_get("image_name")?,
            width: number(row, "image_width")?,
            height: number(row, "image_height")?,
            sha256: row.try_get("image_sha256")?,
            bytes: number(row, "image_bytes")?,
            media_type: row.try_get("image_media_type")?,
        },
        reference: match reference {
            None => None,
            Some(sha256) => Some(StoredImage {
                name,
                width: number(row, "reference_width")?,
                height: number(row, "reference_height")?,
                sha256,
                bytes: number(row, "reference_bytes")?,
                media_type: row.try_get("reference_media_type")?,
            }),
        },
        fields: Fields {
            line: row.try_get("line")?,
            product: row.try_get("product")?,
            board: row.try_get("board")?,
        },
        score_threshold: row.try_get::<f64, _>("score_threshold")? as f32,
        detections: Vec::new(),
        missed: Vec::new(),
        verdict_time: match row.try_get::<Option<i64>, _>("verdict_time")? {
            None => None,
            Some(given) => Some(time("verdict_time", given)?),
        },
        verdict_by: row.try_get("verdict_by")?,
        milliseconds: Milliseconds {
            decode: row.try_get("decode_ms")?,
            queue: row.try_get("queue_ms")?,
            detect: row.try_get("detect_ms")?,
            store: row.try_get("store_ms")?,
            total: row.try_get("total_ms")?,
        },
    })
}

fn found(row: &AnyRow) -> sqlx::Result<Found> {
    let verdict: Option<String> = row.try_get("verdict")?;
    Ok(Found {
        xyxy: xyxy(row)?,
        label: number(row, "label")?,
        name: row.try_get("name")?,
        score: row.try_get::<f64, _>("score")? as f32,
        verdict: match verdict.as_deref() {
            None => None,
            Some("real") => Some(Judgement::Real),
            Some("false_call") => Some(Judgement::FalseCall),
            Some(other) => return Err(strange("verdict", format!("`{other}` is no verdict"))),
        },
    })
}

fn missed(row: &AnyRow) -> sqlx::Result<Missed> {
    Ok(Missed { xyxy: xyxy(row)?, label: number(row, "label")?, name: row.try_get("name")? })
}

fn xyxy(row: &AnyRow) -> sqlx::Result<Xyxy> {
    let side = |column| row.try_get::<f64, _>(column).map(|side| side as f32);
    Ok([side("x1")?, side("y1")?, side("x2")?, side("y2")?])
}

/// The texts that a query finds in its first column.
pub(super) async fn texts(connection: &mut AnyConnection, select: Statement) -> sqlx::Result<Vec<String>> {
    let rows = select.query().fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// A number of a column.
pub(super) fn number<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    let number: i64 = row.try_get(column)?;
    T::try_from(number).map_err(|_| strange(column, format!("{number} is out of range")))
}

fn optional_number<T: TryFrom<i64>>(row: &AnyRow, column: &str) -> sqlx::Result<Option<T>> {
    row.try_get::<Option<i64>, _>(column)?.map(|_| number(row, column)).transpose()
}

fn time(column: &str, milliseconds: i64) -> sqlx::Result<Timestamp> {
    Timestamp::from_millisecond(milliseconds).map_err(|error| strange(column, error))
}

/// A column holds what this program does not write.
fn strange(column: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_string(), source: source.into() }
}
