//! Spelling suggestions ("did you mean").

/// Returns the candidate nearest to `word` if at most a third of the letters differ. Ignores case;
/// `-` equals `_`.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = letters(word);
    let limit = (word.len() / 3).max(1);
    let near = |candidate: &&str| candidate.len().abs_diff(word.len()) <= limit;
    candidates
        .into_iter()
        .filter(near)
        .map(|candidate| (distance(&word, &letters(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= limit && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    let plain = |c: char| match c {
        '-' => '_',
        other => other.to_ascii_lowercase(),
    };
    word.chars().map(plain).collect()
}

/// Edit distance: insertions, deletions, substitutions and swaps of adjacent letters.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(left != right);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *left == b[j - 1] && a[i - 1] == *right {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = ["listen", "target", "connect_timeout", "name"];

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        assert_eq!(nearest("lisen", KEYS), Some("listen"));
        assert_eq!(nearest("tagret", KEYS), Some("target"));
        assert_eq!(nearest("Connect-Timeout", KEYS), Some("connect_timeout"));
        assert_eq!(nearest("connectTimeout", KEYS), Some("connect_timeout"));
    }

    #[test]
    fn another_word_is_not_guessed() {
        assert_eq!(nearest("bind", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest(&"x".repeat(100_000), KEYS), None);
    }

    #[test]
    fn swapped_neighbours_are_one_slip() {
        assert_eq!(distance(&letters("ab"), &letters("ba")), 1);
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
    }
}
