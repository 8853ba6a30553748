//! Every relative link leads to a file, and its fragment to a heading of that file.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files_of, pages, prose, shipped};

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut count = 0;
    for (path, text) in pages() {
        for link in links(&text) {
            let place = format!("{}: {link}", path.display());
            let (file, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{place}: no such file");
            if !fragment.is_empty() {
                let anchors = anchors(&shipped(&target));
                assert!(anchors.contains(fragment), "{place}: not in {anchors:#?}");
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn the_summary_of_the_book_lists_every_page_once() {
    let summary = shipped(Path::new("docs/SUMMARY.md"));

    let mut listed = links(&summary);

    listed.sort_unstable();
    let pages = files_of("docs", "md");
    let names = pages
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap());
    let expected: Vec<_> = names.filter(|name| *name != "SUMMARY.md").collect();
    assert_eq!(listed, expected, "every file in docs is a page of the book");
}

#[test]
fn the_book_is_made_of_the_documentation() {
    let book: toml::Table = toml::from_str(&shipped(Path::new("book.toml"))).unwrap();

    assert_eq!(book["book"]["src"].as_str(), Some("docs"));
}

#[test]
fn anchors_are_those_of_the_usual_renderers() {
    let text = "# A, b & `c-d`\n```sh\n# no\n```\n## Ü: x\n## Ü: x\n";

    let expected = ["a-b--c-d", "ü-x", "ü-x-1"].map(str::to_owned);
    assert_eq!(anchors(text), expected.into());
}

/// The targets of the links outside of code that are not addresses of the web.
fn links(text: &str) -> Vec<String> {
    let text = prose(text);
    let parts = text.split("](").skip(1);
    let targets = parts.filter_map(|part| part.split_once(')'));
    targets
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchors of the headings: lower case, without punctuation, hyphens in place of spaces.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let title = heading.trim_start_matches('#').trim().to_lowercase();
        let name: String = title
            .chars()
            .filter(|kind| kind.is_alphanumeric() || " -_".contains(*kind))
            .map(|kind| if kind == ' ' { '-' } else { kind })
            .collect();
        let numbered = (1..).map(|number| format!("{name}-{number}"));
        let free = [name.clone()].into_iter().chain(numbered);
        anchors.extend(free.into_iter().find(|name| !anchors.contains(name)));
    }
    anchors
}
