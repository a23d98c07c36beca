//! The numbers of an overview, counted by the database.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::counts::{
    ClassCount, ClassVerdicts, DayCount, LineClassCount, Percentiles, ScoreCount, Statistics, VerdictCounts,
};
use super::filter::Filter;
use super::rows::number;
use super::statement::Statement;
use super::store::Records;
use crate::error::Result;

/// Bins of the histogram of scores.
const BINS: usize = 20;

impl Records {
    /// The numbers of an overview. Only detections whose score is at least `score_threshold` count; 0 counts
    /// all that are stored. The histogram of scores shows all, whatever the threshold.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn statistics(&self, filter: &Filter, score_threshold: f32) -> Result<Statistics> {
        let count = async {
            let mut connection = self.database.snapshot().await?;
            let mut statistics = Statistics::default();
            days(&mut connection, filter, score_threshold, &mut statistics).await?;
            classes(&mut connection, filter, score_threshold, &mut statistics).await?;
            statistics.scores = scores(&mut connection, filter).await?;
            if statistics.boards > 0 {
                let at = |percent: u64| (statistics.boards * percent).div_ceil(100) - 1;
                statistics.milliseconds = Some(Percentiles {
                    median: time_at(&mut connection, filter, at(50)).await?,
                    p95: time_at(&mut connection, filter, at(95)).await?,
                });
            }
            Ok(statistics)
        };
        self.database.within("inspections cannot be counted", count).await
    }
}

/// Adds the tables and the conditions to a select that has its columns.
fn from(columns: impl Into<Statement>, tables: &str, filter: &Filter) -> Statement {
    let mut select = columns.into();
    select.sql(" FROM ").sql(tables).sql(" WHERE TRUE");
    filter.conditions(&mut select);
    select
}

async fn days(
    connection: &mut AnyConnection,
    filter: &Filter,
    score_threshold: f32,
    statistics: &mut Statistics,
) -> sqlx::Result<()> {
    let mut columns = Statement::new(
        "SELECT i.day, i.line, COUNT(*) AS boards, COUNT(i.verdict_time) AS judged, \
         COUNT(CASE WHEN EXISTS (SELECT 1 FROM detections d WHERE d.inspection = i.id AND d.score >= ",
    );
    columns.value(f64::from(score_threshold)).sql(") THEN 1 END) AS with_defects");
    let mut select = from(columns, "inspections i", filter);
    select.sql(" GROUP BY i.day, i.line");
    for row in select.query().fetch_all(connection).await? {
        let (boards, with_defects): (u64, u64) = (number(&row, "boards")?, number(&row, "with_defects")?);
        statistics.boards += boards;
        statistics.boards_with_defects += with_defects;
        statistics.verdicts.boards += number::<u64>(&row, "judged")?;
        let (day, line) = (row.try_get("day")?, row.try_get("line")?);
        statistics.days.push(DayCount { day, line, boards, with_defects });
    }
    statistics.days.sort_by(|a, b| (&a.day, &a.line).cmp(&(&b.day, &b.line)));
    Ok(())
}

/// The name and the label of a class.
type Class = (Option<String>, usize);

fn class(row: &AnyRow) -> sqlx::Result<Class> {
    Ok((row.try_get("name")?, number(row, "label")?))
}

async fn classes(
    connection: &mut AnyConnection,
    filter: &Filter,
    score_threshold: f32,
    statistics: &mut Statistics,
) -> sqlx::Result<()> {
    let (mut defects, mut verdicts) =
        (BTreeMap::<Class, u64>::new(), BTreeMap::<Class, VerdictCounts>::new());
    let columns = "SELECT i.line, d.name, d.label, COUNT(*) AS defects, \
        COUNT(CASE WHEN d.verdict = 'real' THEN 1 END) AS real_ones, \
        COUNT(CASE WHEN d.verdict = 'false_call' THEN 1 END) AS false_calls";
    let mut select = from(columns, "inspections i JOIN detections d ON d.inspection = i.id", filter);
    select.sql(" AND d.score >= ").value(f64::from(score_threshold));
    select.sql(" GROUP BY i.line, d.name, d.label");
    for row in select.query().fetch_all(&mut *connection).await? {
        let (class, line, count) = (class(&row)?, row.try_get("line")?, number(&row, "defects")?);
        let verdicts = verdicts.entry(class.clone()).or_default();
        verdicts.real += number::<u64>(&row, "real_ones")?;
        verdicts.false_call += number::<u64>(&row, "false_calls")?;
        *defects.entry(class.clone()).or_default() += count;
        let (name, label) = class;
        statistics.classes_by_line.push(LineClassCount { line, name, label, defects: count });
    }
    let columns = "SELECT m.name, m.label, COUNT(*) AS missed";
    let mut select = from(columns, "inspections i JOIN missed m ON m.inspection = i.id", filter);
    select.sql(" GROUP BY m.name, m.label");
    for row in select.query().fetch_all(connection).await? {
        verdicts.entry(class(&row)?).or_default().missed += number::<u64>(&row, "missed")?;
    }

    // Sorting keeps the order of the map where numbers are equal.
    let count = |((name, label), defects)| ClassCount { name, label, defects };
    statistics.classes = defects.into_iter().map(count).collect();
    statistics.classes.sort_by_key(|class| Reverse(class.defects));
    let key = |class: &LineClassCount| {
        let LineClassCount { line, name, label, defects } = class.clone();
        (line, Reverse(defects), name, label)
    };
    statistics.classes_by_line.sort_by_cached_key(key);
    for ((name, label), VerdictCounts { real, false_call, missed, .. }) in verdicts {
        statistics.verdicts.real += real;
        statistics.verdicts.false_call += false_call;
        statistics.verdicts.missed += missed;
        if real + false_call + missed > 0 {
            statistics.verdicts_by_class.push(ClassVerdicts { name, label, real, false_call, missed });
        }
    }
    Ok(())
}

async fn scores(connection: &mut AnyConnection, filter: &Filter) -> sqlx::Result<Vec<ScoreCount>> {
    let edge = |bin: usize| bin as f64 / BINS as f64;
    // How many have at least the score of each edge.
    let mut columns = "SELECT COUNT(*)".to_string();
    for bin in 1..BINS {
        columns += &format!(", COUNT(CASE WHEN d.score >= {} THEN 1 END)", edge(bin));
    }
    let select = from(columns.as_str(), "inspections i JOIN detections d ON d.inspection = i.id", filter);
    let row = select.query().fetch_one(connection).await?;
    let at_least = (0..BINS).map(|bin| row.try_get(bin)).collect::<sqlx::Result<Vec<i64>>>()?;
    let above = at_least.iter().skip(1).copied().chain([0]);
    let bin = |((bin, from), above): ((usize, &i64), i64)| {
        let defects = u64::try_from(from - above).unwrap_or_default();
        ScoreCount { from: edge(bin), to: edge(bin + 1), defects }
    };
    Ok(at_least.iter().enumerate().zip(above).map(bin).collect())
}

/// The time of the inspection that has so many faster ones.
async fn time_at(connection: &mut AnyConnection, filter: &Filter, faster: u64) -> sqlx::Result<f64> {
    let mut select = from("SELECT i.total_ms", "inspections i", filter);
    select.sql(" ORDER BY i.total_ms LIMIT 1 OFFSET ").value(faster as i64);
    select.query().fetch_one(connection).await?.try_get(0)
}
