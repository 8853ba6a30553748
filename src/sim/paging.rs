//! Pagination of API lists.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// Error code of the API, and its text.
pub(super) type ListError = (&'static str, String);

/// A page of a list.
pub(super) struct Page {
    begin: usize,
    len: usize,
}

impl Page {
    /// Reads the paging members of a request. `lengths` bounds the page; its end is the default.
    pub(super) fn new(
        max_results: Option<usize>,
        next_token: Option<&str>,
        lengths: RangeInclusive<usize>,
    ) -> Result<Self, ListError> {
        let len = max_results.unwrap_or_else(|| *lengths.end());
        if !lengths.contains(&len) {
            let (min, max) = (lengths.start(), lengths.end());
            let what = format!("MaxResults must be from {min} to {max}");
            return Err(("ValidationException", what));
        }
        let Ok(begin) = next_token.unwrap_or("0").parse() else {
            let what = "the token was not issued by the simulator";
            return Err(("InvalidNextToken", what.to_owned()));
        };
        Ok(Self { begin, len })
    }

    /// Returns the entries of the page.
    pub(super) fn of<T>(&self, list: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        list.skip(self.begin).take(self.len)
    }

    /// Adds `NextToken` to an answer, if further entries follow this page in a list of `count`.
    pub(super) fn add_next_token(&self, answer: &mut Value, count: usize) {
        if let Some(token) = self.next_token(count) {
            answer["NextToken"] = json!(token);
        }
    }

    /// Returns the token of the next page, if further entries follow this one in a list of `count`.
    pub(super) fn next_token(&self, count: usize) -> Option<String> {
        let next = self.begin.saturating_add(self.len);
        (next < count).then(|| next.to_string())
    }
}
