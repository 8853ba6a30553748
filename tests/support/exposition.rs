//! A strict parser of the Prometheus text format 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// The content of a `/metrics` page.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// In the order of the page.
    pub(crate) families: Vec<Family>,
    /// Values by series: name and labels as written.
    pub(crate) samples: BTreeMap<String, f64>,
}

/// A family of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) help: String,
    /// Names of the labels of its samples, except `le`, in the order of the first sample.
    pub(crate) labels: Vec<String>,
}

impl Exposition {
    /// Parses a page. Each family exists once and is not interrupted; its help and its type are
    /// before it; histograms are complete.
    pub(crate) fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Self::default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let help = line.strip_prefix("# HELP ").expect(line);
            let (name, help) = help.split_once(' ').expect(line);
            assert!(is_name(name), "{line}");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            assert!(page.family(name).is_none(), "{name} appears twice");
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).expect(kind);
            let kinds = ["counter", "gauge", "histogram"];
            assert!(kinds.contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            let mut family = Family {
                name: name.to_owned(),
                kind: kind.to_owned(),
                help: help.trim_end_matches('.').to_owned(),
                labels: Vec::new(),
            };
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                page.add(&mut family, sample);
            }
            page.families.push(family);
        }
        page.check_histograms();
        page
    }

    fn add(&mut self, family: &mut Family, sample: &str) {
        let (series, value) = sample.rsplit_once(' ').expect(sample);
        let (name, labels) = series.split_at(series.find('{').unwrap_or(series.len()));
        let suffix = name.strip_prefix(&family.name).expect(sample);
        let suffixes: &[&str] = match family.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{sample}");
        let mut names = label_names(labels);
        if suffix == "_bucket" {
            assert_eq!(names.pop().as_deref(), Some("le"), "{sample}");
        }
        match family.labels.is_empty() {
            true => family.labels = names,
            false => assert_eq!(family.labels, names, "{sample}"),
        }
        let before = self
            .samples
            .insert(series.to_owned(), value.parse().expect(sample));
        assert_eq!(before, None, "{series} appears twice");
    }

    /// Buckets are cumulative, and the last one counts all.
    fn check_histograms(&self) {
        for family in self.families.iter().filter(|f| f.kind == "histogram") {
            let bucket = format!("{}_bucket{{", family.name);
            let mut highest: BTreeMap<String, (f64, f64)> = BTreeMap::new();
            for (series, count) in self.samples.range(bucket.clone()..) {
                let Some(labels) = series.strip_prefix(&bucket) else {
                    break;
                };
                let (labels, bound) = labels.split_once("le=\"").unwrap();
                let bound: f64 = bound.trim_end_matches("\"}").parse().unwrap();
                let labels = labels.trim_end_matches(',').to_owned();
                let (last, most) = highest.entry(labels).or_insert((bound, *count));
                if bound > *last {
                    (*last, *most) = (bound, *count);
                }
            }
            for (labels, (bound, count)) in highest {
                let series = format!("{}_count{{{labels}}}", family.name);
                assert_eq!(
                    (bound, self.samples[&series]),
                    (f64::INFINITY, count),
                    "{series}"
                );
            }
        }
    }

    /// Returns a family.
    pub(crate) fn family(&self, name: &str) -> Option<&Family> {
        self.families.iter().find(|family| family.name == name)
    }

    /// Returns the names under which queries find the metrics.
    pub(crate) fn series_names(&self) -> BTreeSet<String> {
        let names = self.families.iter().flat_map(|family| {
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            suffixes
                .iter()
                .map(|suffix| format!("{}{suffix}", family.name))
        });
        names.collect()
    }
}

/// Parses nothing, or `{name="value",…}`, where no value needs an escape: names of forwards need
/// none.
fn label_names(text: &str) -> Vec<String> {
    let inner = text
        .strip_prefix('{')
        .map(|text| text.strip_suffix('}').expect(text));
    let labels = inner.into_iter().flat_map(|inner| inner.split(','));
    let name = |label: &str| {
        let (name, value) = label.split_once('=').expect(text);
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        assert!(is_name(name), "{text}");
        assert!(
            value.is_some_and(|value| !value.contains(['"', '\\'])),
            "{text}"
        );
        name.to_owned()
    };
    labels.map(name).collect()
}

fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c == '_';
    !text.is_empty() && text.chars().all(fits)
}
