//! An image in a row of a Parquet table.
