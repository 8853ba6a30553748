//! Shrinks a script that fails to a small one that still fails.

use super::script::Script;

/// Removes events as long as the rest still fails (delta debugging). `fails` returns the failure of
/// a script. Returns the smallest script found and its failure.
pub(super) fn shrink(
    script: &Script,
    why: String,
    fails: impl Fn(&Script) -> Option<String>,
) -> (Script, String) {
    let (mut smallest, mut why) = (script.clone(), why);
    let mut size = smallest.events.len().div_ceil(2);
    let mut tries = 0;
    while size > 0 && tries < MAX_TRIES {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < smallest.events.len() && tries < MAX_TRIES {
            let mut smaller = smallest.clone();
            let to = (from + size).min(smaller.events.len());
            smaller.events.drain(from..to);
            tries += 1;
            match fails(&smaller) {
                Some(other) => {
                    (smallest, why, has_shrunk) = (smaller, other, true);
                }
                None => from += size,
            }
        }
        if !has_shrunk || size > smallest.events.len() {
            size /= 2;
        }
    }
    (smallest, why)
}

const MAX_TRIES: u32 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_events_that_a_failure_needs_are_left() {
        let script = Script::new(1);
        let needed = [script.events[1].clone(), script.events[3].clone()];
        let fails = |script: &Script| {
            let is_kept = needed.iter().all(|event| script.events.contains(event));
            is_kept.then(|| "both".to_owned())
        };

        let (smallest, why) = shrink(&script, "first".to_owned(), fails);

        assert_eq!(smallest.events, needed);
        assert_eq!(why, "both");
    }
}
