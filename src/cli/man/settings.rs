//! The page of the configuration file, generated from the settings table.

use super::page::Page;
use crate::cli::reference::accepted::{absence, values};
use crate::config::settings::{DEFAULTS, SECTIONS, Section};

/// Name of the page.
pub(super) const NAME: &str = "ssm-proxyd.toml";

/// Returns the page.
pub(super) fn page() -> String {
    let mut page = Page::new(NAME, 5);
    page.heading("NAME");
    page.paragraph("ssm-proxyd.toml - configuration of ssm-proxyd");
    page.heading("DESCRIPTION");
    for paragraph in DESCRIPTION {
        page.paragraph(paragraph);
    }
    page.heading("TABLES");
    for section in SECTIONS {
        put_section(&mut page, section);
    }
    page.heading("EXAMPLES");
    page.paragraph("A port of this machine that leads to a database:");
    page.verbatim(EXAMPLE);
    page.heading("SEE ALSO");
    page.paragraph("`ssm-proxyd`(1)");
    page.finish()
}

fn put_section(page: &mut Page, section: &Section) {
    page.subheading(&section.header());
    page.paragraph(&format!("{}.", section.doc));
    if section.name == DEFAULTS.name {
        let keys: Vec<_> = section.keys().map(|key| format!("`{key}`")).collect();
        page.paragraph(&format!("Keys: {}.", keys.join(", ")));
        return;
    }
    for setting in section.settings {
        let limits = format!("{}. {}", values(setting.kind), absence(setting));
        let text = format!(
            "{}. {limits} Example: `{}`.",
            setting.doc,
            setting.example()
        );
        page.term(&format!("`{}`", setting.key), &text);
    }
}

const DESCRIPTION: &[&str] = &[
    "The file is TOML. It has at least one table [[forward]] or [[proxy]]; all others are optional. Unknown keys are errors, and all errors of a file are reported at once. `ssm-proxyd check` validates a file, and `ssm-proxyd reload` applies its changes to a running daemon.",
    "Durations are strings of numbers with units, such as 500ms, 30s or 1h30m. Sizes are strings of a number and B, KiB, MiB or GiB.",
    "Options of a command override the environment, which overrides [aws]. The `region`, `profile` and `role_arn` of a forward override both the environment and [aws].",
];

/// A complete file.
const EXAMPLE: &str = r#"[[forward]]
name = "orders-db"
listen = 5432
target = "i-0123456789abcdef0"
remote = "orders.internal:5432""#;
