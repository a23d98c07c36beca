//! Records: the same over SQLite and over PostgreSQL.

mod bench;
mod commands;
mod export;
mod inspections;
mod keep;
mod opening;
#[path = "../common/postgres.rs"]
mod postgres;
#[path = "../common/program.rs"]
mod program;
mod verdicts;
