//! Spelling suggestions ("did you mean").

use strsim::osa_distance;

/// Returns the candidate nearest to `word` if at most a third of the letters differ. Ignores case;
/// `-` equals `_`.
pub fn closest_match<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let limit = (word.len() / 3).max(1);
    let same_case = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(word.len()) <= limit)
        .map(|candidate| {
            let distance = osa_distance(&same_case(word), &same_case(candidate));
            (distance, candidate)
        })
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_understood_and_another_word_is_not_guessed() {
        for (word, meant) in [
            ("lisen", Some("listen")),
            ("tagret", Some("target")),
            ("Connect-Timeout", Some("connect_timeout")),
            ("connectTimeout", Some("connect_timeout")),
            ("bind", None),
            ("", None),
            (&"x".repeat(100_000), None),
        ] {
            let keys = ["listen", "target", "connect_timeout", "name"];
            assert_eq!(closest_match(word, keys), meant, "{word}");
        }
    }
}
