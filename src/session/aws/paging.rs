//! Listings that AWS returns page by page.

/// The position in a listing. Counts pages, so that every listing ends.
#[derive(Debug)]
pub(super) struct Pages {
    /// The token of the next page; `None`: the first one.
    token: Option<String>,
    /// How many more pages with entries are requested.
    full: usize,
    /// How many more pages are requested, with or without entries.
    any: usize,
}

/// What follows a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterPage {
    /// Another page.
    Next,
    /// Nothing: the listing is complete.
    End,
    /// More entries than the maximum.
    Cut,
}

impl Pages {
    /// Creates the begin of a listing of at most `most` pages. Pages without entries, which AWS returns
    /// if a filter leaves nothing of a page, are counted separately.
    pub(super) fn new(most: usize) -> Self {
        Self {
            token: None,
            full: most,
            any: most.saturating_add(MAX_EMPTY),
        }
    }

    /// Returns the token of the next page.
    pub(super) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Handles the end of a page: the token in it, and whether it had entries. A token that is
    /// repeated would not end.
    pub(super) fn turn(&mut self, next: Option<String>, has_entries: bool) -> AfterPage {
        let next = next.filter(|token| !token.is_empty());
        if next.is_none() || next == self.token {
            return AfterPage::End;
        }
        self.token = next;
        self.full = self.full.saturating_sub(usize::from(has_entries));
        self.any = self.any.saturating_sub(1);
        match self.full.min(self.any) {
            0 => AfterPage::Cut,
            _ => AfterPage::Next,
        }
    }
}

/// Maximum number of pages without entries.
const MAX_EMPTY: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(pages: &mut Pages, token: impl ToString, has_entries: bool) -> AfterPage {
        pages.turn(Some(token.to_string()), has_entries)
    }

    #[test]
    fn a_listing_ends_with_its_last_page() {
        let mut pages = Pages::new(9);

        assert_eq!(pages.token(), None);
        assert_eq!(turn(&mut pages, "a", true), AfterPage::Next);
        assert_eq!(pages.token().as_deref(), Some("a"));
        assert_eq!(pages.turn(None, true), AfterPage::End);
        assert_eq!(turn(&mut pages, "", true), AfterPage::End);
    }

    #[test]
    fn a_token_that_is_repeated_ends_the_listing() {
        let mut pages = Pages::new(9);

        assert_eq!(turn(&mut pages, "a", true), AfterPage::Next);
        assert_eq!(turn(&mut pages, "a", true), AfterPage::End);
    }

    #[test]
    fn the_number_of_pages_is_limited_with_and_without_entries() {
        for (has_entries, most) in [(true, 3), (false, 3 + MAX_EMPTY)] {
            let mut pages = Pages::new(3);

            let mut turned = (1..).map(|number| turn(&mut pages, number, has_entries));

            assert_eq!(
                turned.position(|after| after == AfterPage::Cut),
                Some(most - 1)
            );
        }
    }
}
