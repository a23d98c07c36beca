//! Inspections go in and come out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::database::{Address, Database};
use super::filter::Filter;
use super::images::Images;
use super::inspection::{FieldValues, Fields, Inspection, NewImage, NewInspection, Page, StoredImage};
use super::rows;
use super::statement::{Statement, clean};
use crate::error::Result;
use crate::sha256::sha256_of_bytes;

/// Inspections in a database, and their images in a folder. Clones are the same records.
#[derive(Debug, Clone)]
pub struct Records {
    pub(super) database: Arc<Database>,
    pub(super) images: Arc<Images>,
    /// When [`Records::keep`] last looked for what killed processes had left.
    pub(super) swept: Arc<Mutex<Option<Instant>>>,
}

/// Inspections of a list at once, at most.
const MAX_PAGE: u32 = 1000;

impl Records {
    /// Opens or makes a database, and the folder of its images. `url` is `sqlite:FILE` or
    /// `postgres://USER:PASSWORD@HOST/DATABASE`. Tables of an older version are brought up to date.
    ///
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) for another URL, [`Error::Database`](crate::Error::Database)
    /// where the database cannot be used (it may be of a newer version, too), [`Error::Io`](crate::Error::Io)
    /// where the folder cannot be made.
    pub async fn open(url: &str, images: impl AsRef<Path>) -> Result<Self> {
        let images = Images::open(images.as_ref())?;
        let database = Database::open(url, &images.lock_file()).await?;
        Ok(Self { database: Arc::new(database), images: Arc::new(images), swept: Arc::default() })
    }

    /// The folder that images go to where none is named: beside SQLite's file, `FILE.images`. None for
    /// PostgreSQL, and for what is no URL.
    pub fn images_beside(url: &str) -> Option<PathBuf> {
        match Address::parse(url) {
            Ok(Address::Sqlite(mut path)) => {
                path.as_mut_os_string().push(".images");
                Some(path)
            }
            _ => None,
        }
    }

    /// Stores an inspection: first its images, then everything else in one transaction. When this returns,
    /// all of it is on the disk. With a key that is there already, nothing is stored, and the inspection that
    /// has it is given.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) where an image cannot be written, such as on a full disk;
    /// [`Error::Database`](crate::Error::Database). Both may pass: the same call works again later.
    pub async fn add(&self, mut new: NewInspection) -> Result<Inspection> {
        clean_texts(&mut new);
        if let Some(key) = &new.key
            && let Some(known) = self.by_key(key).await?
        {
            return Ok(known);
        }
        let image = self.store(&new.image).await?;
        let reference = match &new.reference {
            None => None,
            Some(reference) => Some(self.store(reference).await?),
        };
        let id = Uuid::now_v7();
        let inspection = Inspection {
            id,
            time: time_of(id),
            model: new.model.clone(),
            image,
            reference,
            fields: new.fields.clone(),
            score_threshold: new.score_threshold,
            detections: new.detections.clone(),
            missed: Vec::new(),
            verdict_time: None,
            verdict_by: None,
            milliseconds: new.milliseconds,
        };
        let stored = self.database.within("an inspection cannot be stored", self.insert(&inspection, &new));
        match (stored.await?, &new.key) {
            (false, Some(key)) => Ok(self.by_key(key).await?.unwrap_or(inspection)),
            _ => Ok(inspection),
        }
    }

    /// Writes an inspection whose images are there. False if its key is there already.
    async fn insert(&self, inspection: &Inspection, new: &NewInspection) -> sqlx::Result<bool> {
        let (_turn, mut transaction) = self.database.write().await?;
        let mut images: Vec<(&StoredImage, &Bytes)> = vec![(&inspection.image, &new.image.bytes)];
        images.extend(inspection.reference.as_ref().zip(new.reference.as_ref().map(|new| &new.bytes)));
        // All who lock two rows do so in this order.
        images.sort_by_key(|(image, _)| &image.sha256);
        for (image, bytes) in images {
            // This locks the row: from here to the end of the transaction, nobody removes the image.
            let mut insert = Statement::new("INSERT INTO images (sha256, bytes) VALUES (");
            insert.text(Some(&image.sha256)).sql(", ").value(image.bytes as i64);
            insert.sql(") ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes");
            insert.query().execute(&mut *transaction).await?;
            // Somebody may have removed it before.
            let written = self.write_image(&image.sha256, bytes).await;
            written.map_err(|error| sqlx::Error::Io(io::Error::other(error)))?;
        }
        let mut insert = Statement::new("INSERT INTO models (sha256, class_names) VALUES (");
        insert.text(Some(&inspection.model.sha256)).sql(", ");
        insert.text(Some(&serde_json::to_string(&new.class_names).expect("texts are JSON")));
        insert.sql(") ON CONFLICT (sha256) DO NOTHING");
        insert.query().execute(&mut *transaction).await?;
        let insert = rows::insert(inspection, new.key.as_deref());
        if insert.query().execute(&mut *transaction).await?.rows_affected() == 0 {
            return Ok(false);
        }
        for insert in rows::insert_found(inspection.id, &inspection.detections) {
            insert.query().execute(&mut *transaction).await?;
        }
        transaction.commit().await.map(|()| true)
    }

    /// The names of the classes of all models, each once.
    pub(super) async fn model_classes(&self) -> Result<Vec<String>> {
        let read = async {
            let mut connection = self.database.connection().await?;
            rows::texts(&mut connection, Statement::new("SELECT class_names FROM models ORDER BY sha256"))
                .await
        };
        let models = self.database.within("models cannot be read", read).await?;
        let mut names: Vec<String> = Vec::new();
        for name in models.iter().flat_map(|names| serde_json::from_str::<Vec<String>>(names)).flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The inspection that was stored with a key.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn by_key(&self, key: &str) -> Result<Option<Inspection>> {
        let mut select = Statement::new("SELECT * FROM inspections i WHERE i.key = ");
        select.text(Some(key));
        Ok(self.read(select).await?.pop())
    }

    async fn store(&self, image: &NewImage) -> Result<StoredImage> {
        let bytes = image.bytes.clone();
        let sum = move || sha256_of_bytes(&bytes);
        let sha256 = spawn_blocking(sum).await.expect("adding up does not panic");
        self.write_image(&sha256, &image.bytes).await?;
        let &NewImage { width, height, .. } = image;
        let (name, media_type) = (image.name.clone(), image.media_type.clone());
        Ok(StoredImage { name, width, height, sha256, bytes: image.bytes.len() as u64, media_type })
    }

    async fn write_image(&self, sha256: &str, bytes: &Bytes) -> Result<()> {
        let (images, sha256, bytes) = (self.images.clone(), sha256.to_string(), bytes.clone());
        let write = move || images.write(&sha256, &bytes);
        spawn_blocking(write).await.expect("writing does not panic")
    }

    /// An inspection by its id.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database); here and below, where it does not answer in time.
    pub async fn get(&self, id: Uuid) -> Result<Option<Inspection>> {
        Ok(self.read(by_id(id)).await?.pop())
    }

    /// Newest first: at most `limit` inspections (1 to 1,000) that are older than the one called `before`.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn list(&self, filter: &Filter, before: Option<Uuid>, limit: u32) -> Result<Page> {
        let limit = limit.clamp(1, MAX_PAGE) as usize;
        let mut select = Statement::new("SELECT * FROM inspections i WHERE TRUE");
        filter.conditions(&mut select);
        if let Some(before) = before {
            select.sql(" AND i.id < ").value(before.to_string());
        }
        // One more says whether the list goes on.
        select.sql(" ORDER BY i.id DESC LIMIT ").value(limit as i64 + 1);
        let mut items = self.read(select).await?;
        let goes_on = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| goes_on).map(|last| last.id);
        Ok(Page { items, next })
    }

    async fn read(&self, select: Statement) -> Result<Vec<Inspection>> {
        // Without a snapshot, an inspection that is removed meanwhile would look like one without defects.
        let read = async { rows::read(&mut *self.database.snapshot().await?, select).await };
        self.database.within("inspections cannot be read", read).await
    }

    /// The values that filters may have.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn fields(&self) -> Result<FieldValues> {
        let read = async {
            let mut connection = self.database.connection().await?;
            let mut all = async |select| rows::texts(&mut connection, Statement::new(select)).await;
            let mut line = all("SELECT DISTINCT line FROM inspections WHERE line IS NOT NULL").await?;
            let mut product =
                all("SELECT DISTINCT product FROM inspections WHERE product IS NOT NULL").await?;
            let models = all("SELECT class_names FROM models").await?;
            let models: Vec<Vec<String>> =
                models.iter().map(|names| serde_json::from_str(names).unwrap_or_default()).collect();
            let mut classes: Vec<String> = models.concat();
            if models.iter().any(Vec::is_empty) {
                let nameless = "SELECT DISTINCT CAST(label AS TEXT) FROM detections WHERE name IS NULL";
                classes.extend(all(nameless).await?);
            }
            // Databases sort texts in different orders.
            [&mut line, &mut product, &mut classes].into_iter().for_each(|texts| texts.sort());
            classes.dedup();
            Ok(FieldValues { line, product, classes })
        };
        self.database.within("the values of fields cannot be read", read).await
    }

    /// The bytes of a stored image. None if there is no such image.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io).
    pub async fn image(&self, sha256: &str) -> Result<Option<Vec<u8>>> {
        let (images, sha256) = (self.images.clone(), sha256.to_string());
        spawn_blocking(move || images.read(&sha256)).await.expect("reading does not panic")
    }

    /// Whether the database answers.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn ping(&self) -> Result<()> {
        let ask = async {
            let mut connection = self.database.connection().await?;
            sqlx::query("SELECT COUNT(*) FROM models").execute(&mut *connection).await.map(|_| ())
        };
        self.database.within("does not answer", ask).await
    }
}

/// Selects one inspection.
pub(super) fn by_id(id: Uuid) -> Statement {
    let mut select = Statement::new("SELECT * FROM inspections i WHERE i.id = ");
    select.value(id.to_string());
    select
}

/// When an id was made.
fn time_of(id: Uuid) -> Timestamp {
    let (seconds, nanoseconds) = id.get_timestamp().expect("version 7 has a time").to_unix();
    let milliseconds = seconds as i64 * 1000 + i64::from(nanoseconds / 1_000_000);
    Timestamp::from_millisecond(milliseconds).expect("48 bits of milliseconds are a time")
}

/// Texts as the database gives them back.
fn clean_texts(new: &mut NewInspection) {
    let Fields { line, product, board } = &mut new.fields;
    let names = new.reference.as_mut().map(|reference| &mut reference.name);
    let texts = [line, product, board, &mut new.image.name, &mut new.model.name].into_iter().chain(names);
    let found = new.detections.iter_mut().map(|found| &mut found.name);
    texts.chain(found).flatten().for_each(|text| *text = clean(text));
}
