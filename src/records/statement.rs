//! SQL whose values are bound, never written into its text.

use std::fmt::Write;

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, Arguments, AssertSqlSafe, Encode, Type};

/// SQL that grows, with its values. The text comes from this program alone.
#[derive(Default)]
pub(super) struct Statement {
    sql: String,
    values: AnyArguments,
}

impl From<&str> for Statement {
    fn from(sql: &str) -> Self {
        Self::new(sql)
    }
}

impl Statement {
    pub fn new(sql: &str) -> Self {
        Self { sql: sql.to_string(), values: AnyArguments::default() }
    }

    /// More text.
    pub fn sql(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// A value, at this place.
    pub fn value<'v>(&mut self, value: impl Encode<'v, Any> + Type<Any>) -> &mut Self {
        self.values.add(value).expect("numbers and texts can always be bound");
        write!(self.sql, "${}", self.values.len()).expect("writing to a text succeeds");
        self
    }

    /// Values with commas between.
    pub fn values<'v, T: Encode<'v, Any> + Type<Any>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            self.sql(if index > 0 { ", " } else { "" }).value(value);
        }
        self
    }

    /// A text, without what PostgreSQL has no place for.
    pub fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.value(text.map(clean))
    }

    pub fn query(self) -> Query<'static, Any, AnyArguments> {
        sqlx::query_with(AssertSqlSafe(self.sql), self.values)
    }
}

/// A text with U+FFFD in place of null characters.
pub(super) fn clean(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
