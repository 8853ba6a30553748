//! The rule that files which count as unit tests are compiled for unit tests only.

use super::TEST_ONLY;
use crate::architecture::{Fault, Source};

/// The module of a file of `TEST_ONLY` is declared under `cfg(test)`.
pub(in crate::architecture) fn test_only(sources: &[Source]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for source in sources.iter().filter(|source| source.place().is_some()) {
        let mut module = source.module();
        for pair in source.tokens().windows(2) {
            module.push(pair[1].text);
            let place = module.join("/");
            module.pop();
            let is_listed = TEST_ONLY.contains(&place.as_str());
            if pair[0].text == "mod" && pair[0].ships && is_listed {
                let what = format!("`{place}` is for unit tests; declare it under `#[cfg(test)]`");
                faults.push(source.fault(pair[1].line, "test only", what));
            }
        }
    }
    faults
}

#[test]
fn a_module_of_unit_tests_is_declared_under_cfg_test() {
    let text = "//! X.\nmod lives;\n#[cfg(test)]\nmod lives;\nmod other;\n";

    let faults = test_only(&[Source::new("src/daemon/mod.rs", text)]);

    let [fault] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert_eq!((fault.line, fault.rule), (2, "test only"));
    let elsewhere = [Source::new("src/forward/mod.rs", text)];
    assert_eq!(test_only(&elsewhere), []);
}
