//! The connection to SQLite or PostgreSQL.

use std::borrow::Cow;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf, absolute};
use std::sync::Once;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyPool, ConnectOptions, Connection, Executor, SqlSafeStr, Transaction};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Cause, Error, Result};
use crate::percent::encoded_path;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long to wait for a connection. A PostgreSQL that is gone is an error after this time.
const PATIENCE_FOR_CONNECTION: Duration = Duration::from_secs(3);

const MAX_CONNECTIONS: u32 = 8;

/// A database that answers, or says in time that it does not.
#[derive(Debug)]
pub(super) struct Database {
    pool: AnyPool,
    /// Without a password.
    name: String,
    /// Begins a transaction that reads, all of it at the state of its first statement.
    begin_reading: &'static str,
    /// SQLite has one writer at a time. Those that wait here take turns; those that wait in SQLite do not.
    writers: Semaphore,
}

/// The parts of a database's URL.
pub(super) enum Address {
    Sqlite(PathBuf),
    Postgres { url: String, name: String },
}

impl Address {
    pub fn parse(url: &str) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.is_empty() {
                return Ok(Self::Sqlite(path.into()));
            }
        } else if let Some((scheme @ ("postgres" | "postgresql"), rest)) = url.split_once("://") {
            let (place, _) = rest.split_once('?').unwrap_or((rest, ""));
            let (_, place) = place.rsplit_once('@').unwrap_or(("", place));
            return Ok(Self::Postgres { url: url.to_string(), name: format!("{scheme}://{place}") });
        }
        // A part of the URL may be a password.
        Err(Error::Config("a database is sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE".to_string()))
    }
}

impl Database {
    /// Connects, and brings the tables to the form that this version of the program knows. Several processes
    /// may do this at once: they take turns by a lock on the file `lock`.
    pub async fn open(url: &str, lock: &Path) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let (url, name, set_up, begin_reading, writers) = match Address::parse(url)? {
            Address::Sqlite(path) => {
                let path = absolute(&path).map_err(Error::io(&path))?;
                let url = format!("sqlite:{}?mode=rwc", encoded_path(&path.to_string_lossy()));
                // `FULL`: a commit is on the disk when it is done, also in WAL mode.
                let set_up =
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000";
                (url, path.display().to_string(), set_up, "BEGIN DEFERRED", 1)
            }
            Address::Postgres { url, name } => {
                let set_up = "SET statement_timeout = '15s'; SET lock_timeout = '10s'";
                let begin_reading = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
                (url, name, set_up, begin_reading, MAX_CONNECTIONS as usize)
            }
        };
        let failed = |error: sqlx::Error| failed(&name, "cannot be opened", error.into());
        let options: AnyConnectOptions = url.parse().map_err(failed)?;
        let pool = AnyPoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(PATIENCE_FOR_CONNECTION)
            .after_connect(move |connection, _| {
                Box::pin(async move { connection.execute(set_up).await.map(|_| ()) })
            })
            // After a fault of the disk, SQLite has ended the transaction by itself. So the rollback fails, and
            // the connection counts as one in a transaction for ever.
            .after_release(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_lazy_with(options.disable_statement_logging());
        let database = Self { pool, name, begin_reading, writers: Semaphore::new(writers) };
        database.migrate(lock).await?;
        Ok(database)
    }

    async fn migrate(&self, lock: &Path) -> Result<()> {
        let path = lock.to_path_buf();
        let locked = move || {
            let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
            file.lock().map_err(Error::io(&path)).map(|()| file)
        };
        let _lock = tokio::task::spawn_blocking(locked).await.expect("taking a lock does not panic")?;
        let migrate = async { migrator().run(&self.pool).await.map_err(sqlx::Error::from) };
        self.within("its tables cannot be brought up to date", migrate).await
    }

    /// The outcome of `work`, or an error if that takes too long.
    pub async fn within<T>(&self, message: &str, work: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(outcome) => outcome.map_err(|error| failed(&self.name, message, error.into())),
            Err(late) => Err(failed(&self.name, message, late.into())),
        }
    }

    /// A connection to read with, one statement.
    pub async fn connection(&self) -> sqlx::Result<PoolConnection<Any>> {
        self.pool.acquire().await
    }

    /// Begins to read with several statements. All of them see the state that the first one sees.
    pub async fn snapshot(&self) -> sqlx::Result<Transaction<'static, Any>> {
        self.pool.begin_with(self.begin_reading).await
    }

    /// Begins to write. The first statement must write, so that SQLite waits for its turn there.
    pub async fn write(&self) -> sqlx::Result<(SemaphorePermit<'_>, Transaction<'static, Any>)> {
        let permit = self.writers.acquire().await.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok((permit, self.pool.begin().await?))
    }
}

fn failed(name: &str, message: &str, source: Cause) -> Error {
    Error::Database { database: name.to_string(), message: message.to_string(), source: Some(source) }
}

/// All migrations, oldest first. One that was released is never changed: a database remembers its hash.
fn migrator() -> Migrator {
    let migrations = [(1, "records", include_str!("migrations/1_records.sql"))];
    let migration = |(version, description, sql): (i64, &'static str, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(version, Cow::Borrowed(description), kind, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(migrations.into_iter().map(migration).collect())
}
