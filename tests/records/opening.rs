//! Databases that are new, gone, or none.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use faster_rcnn::Error;
use faster_rcnn::records::{Filter, Records};
use tokio::runtime::Builder;

use crate::bench::{Bench, found, new, over_both};
use crate::postgres::Postgres;

#[test]
fn a_postgres_that_is_gone_is_an_error_soon_and_comes_back() {
    let mut bench = Bench::new(Some(Postgres::start()));
    let before = bench.add(new(1, "1", vec![found(1, 0.9)]));
    bench.postgres.as_mut().unwrap().kill();
    let started = Instant::now();
    for _ in 0..2 {
        let error = bench.run(async |records| records.add(new(2, "1", vec![])).await).unwrap_err();
        assert!(matches!(error, Error::Database { .. }), "{error:?}");
        assert!(!format!("{error:#}").contains("boards@"), "{error:#}");
    }
    assert!(bench.run(async |records| records.ping().await).is_err());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    bench.postgres.as_mut().unwrap().restart();
    bench.run(async |records| records.ping().await).unwrap();
    let after = bench.add(new(2, "1", vec![]));
    assert_eq!(bench.list(&Filter::default()), [after, before]);
}

#[test]
fn several_open_a_new_database_at_once_and_wrong_ones_are_refused() {
    over_both(|bench| {
        let url = match &bench.postgres {
            Some(postgres) => postgres.url(),
            None => format!("sqlite:{}", bench.path("new.db").display()),
        };
        bench.runtime.block_on(async {
            let opens: Vec<_> =
                (0..8).map(|_| tokio::spawn(Records::open(url.clone().leak(), bench.path("new")))).collect();
            for open in opens {
                open.await.unwrap().unwrap().ping().await.unwrap();
            }
        });
    });
    let open = |url: &str, images: &Path| {
        let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(Records::open(url, images))
    };
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["", "boards.db", "mysql://secret@host/boards", "sqlite:"] {
        let error = open(wrong, folder.path()).unwrap_err();
        assert!(matches!(error, Error::Config(_)) && !error.to_string().contains("secret"), "{error:?}");
    }
    let file = folder.path().join("text.db");
    fs::write(
        &file,
        "this is no database, but long enough to be read as the header of one, which it is not. ".repeat(9),
    )
    .unwrap();
    let error = open(&format!("sqlite:{}", file.display()), folder.path()).unwrap_err();
    assert!(matches!(error, Error::Database { .. }) && error.to_string().contains("text.db"), "{error:?}");
}
