//! The oldest inspections go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::Row;
use tokio::task::spawn_blocking;

use super::limit::{Keep, Removed};
use super::rows::{number, texts};
use super::statement::Statement;
use super::store::Records;
use crate::error::{Error, Result};

/// Inspections or images that go at once: a fraction of a second, so that others can write between.
const STEP: i64 = 100;

/// How often to look for what killed processes left: that reads the names of all images.
const SWEEP_INTERVAL: Duration = Duration::from_secs(24 * 3600);

const UNUSED: &str = "NOT EXISTS (SELECT 1 FROM inspections WHERE image_sha256 = images.sha256) AND \
    NOT EXISTS (SELECT 1 FROM inspections WHERE reference_sha256 = images.sha256)";

impl Records {
    /// Removes the oldest inspections until the rest is within the limit, and their images where nothing else
    /// refers to them. Works in small steps, while others add. The first call, and then one a day, also looks
    /// for images that killed processes left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], and [`Error::Io`] where an image cannot be removed.
    pub async fn keep(&self, keep: Keep) -> Result<Removed> {
        let mut removed = Removed::default();
        // A call that fails or is dropped leaves images behind, too: then the next one looks for them.
        let swept = self.swept.lock().expect("nothing panics with this lock").take();
        let swept = swept.filter(|at| at.elapsed() < SWEEP_INTERVAL);
        if swept.is_none() {
            self.remove_unused(&mut removed).await?;
        }
        if let Some(age) = keep.age {
            let milliseconds = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            let before = Timestamp::now().as_millisecond().saturating_sub(milliseconds);
            while self.remove_oldest(Some(before), u64::MAX, &mut removed).await? {}
        }
        if let Some(limit) = keep.bytes {
            loop {
                let excess = self.stored_bytes().await?.saturating_sub(limit);
                if excess == 0 || !self.remove_oldest(None, excess, &mut removed).await? {
                    break;
                }
            }
        }
        if swept.is_none() {
            self.remove_files_without_row(&mut removed).await?;
        }
        *self.swept.lock().expect("nothing panics with this lock") = swept.or_else(|| Some(Instant::now()));
        Ok(removed)
    }

    /// The bytes of all images.
    async fn stored_bytes(&self) -> Result<u64> {
        let sum = async {
            let mut connection = self.database.connection().await?;
            let sum = sqlx::query("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM images");
            sum.fetch_one(&mut *connection).await?.try_get::<i64, _>(0)
        };
        let bytes = self.database.within("images cannot be counted", sum).await?;
        Ok(u64::try_from(bytes).unwrap_or_default())
    }

    /// Removes some of the oldest inspections and what belongs to them: no more than are needed for `bytes`,
    /// and only those before a time (in milliseconds). False if there are none.
    async fn remove_oldest(&self, before: Option<i64>, bytes: u64, removed: &mut Removed) -> Result<bool> {
        let mut select = Statement::new(
            "SELECT id, image_sha256, reference_sha256, image_bytes, \
             COALESCE(reference_bytes, 0) AS reference_bytes FROM inspections WHERE TRUE",
        );
        if let Some(before) = before {
            select.sql(" AND time < ").value(before);
        }
        select.sql(" ORDER BY id LIMIT ").value(STEP);
        let remove = async {
            let rows = select.query().fetch_all(&mut *self.database.connection().await?).await?;
            let (mut enough, mut images) = (0_u64, BTreeSet::<String>::new());
            let mut ids = Vec::<String>::new();
            for row in rows.iter() {
                if enough >= bytes {
                    break;
                }
                for size in ["image_bytes", "reference_bytes"] {
                    enough = enough.saturating_add(number(row, size)?);
                }
                images.insert(row.try_get("image_sha256")?);
                images.extend(row.try_get::<Option<String>, _>("reference_sha256")?);
                ids.push(row.try_get("id")?);
            }
            if ids.is_empty() {
                return Ok((0, images));
            }
            let mut delete = Statement::new("DELETE FROM inspections WHERE id IN (");
            delete.values(ids).sql(")");
            let (_turn, mut transaction) = self.database.write().await?;
            let count = delete.query().execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            Ok((count, images))
        };
        let (count, images) = self.database.within("inspections cannot be removed", remove).await?;
        removed.inspections += count;
        for image in &images {
            self.remove_if_unused(image, removed).await?;
        }
        Ok(!images.is_empty())
    }

    async fn remove_unused(&self, removed: &mut Removed) -> Result<()> {
        loop {
            let find = async {
                let mut select = Statement::new("SELECT sha256 FROM images WHERE ");
                select.sql(UNUSED).sql(" LIMIT ").value(STEP);
                texts(&mut *self.database.connection().await?, select).await
            };
            let unused = self.database.within("images cannot be counted", find).await?;
            for image in &unused {
                self.remove_if_unused(image, removed).await?;
            }
            if unused.len() < STEP as usize {
                return Ok(());
            }
        }
    }

    /// Removes files that were written for an inspection that was never stored.
    async fn remove_files_without_row(&self, removed: &mut Removed) -> Result<()> {
        for part in 0..=u8::MAX {
            let images = self.images.clone();
            let old = spawn_blocking(move || images.old(part)).await.expect("reading does not panic")?;
            for old in old.chunks(STEP as usize) {
                let known = self.known(old).await?;
                for image in old.iter().filter(|image| !known.contains(image)) {
                    self.remove_if_unused(image, removed).await?;
                }
            }
        }
        Ok(())
    }

    /// Those images that have a row.
    async fn known(&self, images: &[String]) -> Result<Vec<String>> {
        let mut select = Statement::new("SELECT sha256 FROM images WHERE sha256 IN (");
        select.values(images.to_vec()).sql(")");
        let find = async { texts(&mut *self.database.connection().await?, select).await };
        self.database.within("images cannot be counted", find).await
    }

    /// Removes an image, unless an inspection refers to it.
    async fn remove_if_unused(&self, sha256: &str, removed: &mut Removed) -> Result<()> {
        let remove = async {
            let (_turn, mut transaction) = self.database.write().await?;
            // This locks the row. Who stores an inspection with this image does so before or after.
            let mut lock = Statement::new("INSERT INTO images (sha256, bytes) VALUES (");
            lock.value(sha256.to_string())
                .sql(", 0) ON CONFLICT (sha256) DO UPDATE SET bytes = images.bytes");
            lock.query().execute(&mut *transaction).await?;
            let mut delete = Statement::new("DELETE FROM images WHERE sha256 = ");
            delete.value(sha256.to_string()).sql(" AND ").sql(UNUSED);
            if delete.query().execute(&mut *transaction).await?.rows_affected() == 0 {
                return Ok(Ok(None));
            }
            // Before the row is gone: after a kill between, the next call finds the row and goes on.
            let (images, sha256) = (self.images.clone(), sha256.to_string());
            let bytes =
                spawn_blocking(move || images.remove(&sha256)).await.expect("removing does not panic");
            if bytes.is_ok() {
                transaction.commit().await?;
            }
            Ok(bytes.map(Some))
        };
        let outcome: Result<Option<u64>, Error> =
            self.database.within("an image cannot be removed", remove).await?;
        if let Some(bytes) = outcome? {
            removed.images += 1;
            removed.bytes += bytes;
        }
        Ok(())
    }
}
