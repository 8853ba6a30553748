//! The reference of the configuration file.

use super::accepted::{absence, values};
use super::markdown::Page;
use crate::config::settings::{DEFAULTS, SECTIONS, Section};

/// Returns the page.
pub(super) fn page() -> String {
    let mut page = Page::new(
        "Configuration reference",
        "ssm-proxyd reference configuration",
    );
    for paragraph in INTRODUCTION {
        page.paragraph(paragraph);
    }
    for section in SECTIONS {
        page.heading(2, format_args!("`{}`", section.header()));
        page.paragraph(&format!("{}.", section.doc));
        put_settings(&mut page, section);
    }
    page.finish()
}

fn put_settings(page: &mut Page, section: &Section) {
    if section.name == DEFAULTS.name {
        let keys: Vec<_> = section.keys().map(|key| format!("`{key}`")).collect();
        page.paragraph(&format!("Keys: {}.", keys.join(", ")));
        return;
    }
    page.begin();
    page.row(&["key", "values", "description", "example"]);
    page.row(&["---", "---", "---", "---"]);
    for setting in section.settings {
        page.row(&[
            &format!("`{}`", setting.key),
            &format!("{}. {}", values(setting.kind), absence(setting)),
            setting.doc,
            &format!("`{}`", setting.example()),
        ]);
    }
}

const INTRODUCTION: &[&str] = &[
    "The configuration is a TOML file with at least one `[[forward]]` or `[[proxy]]`. All other tables are optional. Unknown keys are errors, and all errors of a file are reported at once; `ssm-proxyd check` validates a file. [config/ssm-proxyd.toml](../config/ssm-proxyd.toml) has the same keys as a file with comments, [interfaces.md](interfaces.md#2-configuration) the rules of lookup, precedence and reload.",
    "Durations are strings of numbers with units (`\"30s\"`, `\"1h30m\"`), sizes strings of a number and `B`, `KiB`, `MiB` or `GiB`. Ranges include both ends.",
];
