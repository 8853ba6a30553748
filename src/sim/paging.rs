//! The pages in which the API lists something.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

/// What is wrong with a request: a code of the API, and a sentence.
pub(super) type Complaint = (&'static str, String);

/// A page of a list.
pub(super) struct Page {
    begin: usize,
    len: usize,
}

impl Page {
    /// Reads what a request says of pages. A page has so many entries; the most if it says nothing.
    pub(super) fn new(
        max_results: Option<usize>,
        next_token: Option<&str>,
        lengths: RangeInclusive<usize>,
    ) -> Result<Self, Complaint> {
        let len = max_results.unwrap_or_else(|| *lengths.end());
        if !lengths.contains(&len) {
            let (min, max) = (lengths.start(), lengths.end());
            let what = format!("MaxResults is from {min} to {max}");
            return Err(("ValidationException", what));
        }
        let Ok(begin) = next_token.unwrap_or("0").parse() else {
            let what = "the token is none that the simulator gave";
            return Err(("InvalidNextToken", what.to_owned()));
        };
        Ok(Self { begin, len })
    }

    /// What of a list is on it.
    pub(super) fn of<T>(&self, list: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        list.skip(self.begin).take(self.len)
    }

    /// Says in an answer where the next page begins, if `count` entries in all are more than this.
    pub(super) fn tell_next(&self, answer: &mut Value, count: usize) {
        let next = self.begin.saturating_add(self.len);
        if next < count {
            answer["NextToken"] = json!(next.to_string());
        }
    }
}
