//! Images are drawings that load nothing from elsewhere.

use std::path::Path;

use super::{files_of, pages, shipped};

#[test]
fn images_load_nothing_and_are_shown_on_a_page() {
    let images = files_of("docs/images", "svg");
    assert!(!images.is_empty());
    let all: String = pages().into_iter().map(|(_, text)| text).collect();
    for image in images {
        let text = shipped(&image);
        let tags = text.split('<').filter_map(|part| part.split_once('>'));
        let tags: String = tags.map(|(tag, _)| format!("<{tag}>")).collect();
        let tags = tags.replacen("xmlns=\"http://www.w3.org/2000/svg\"", "", 1);

        assert!(text.starts_with("<svg "), "{}", image.display());
        for part in ["://", "href", "<script", "<image", "@import", "url("] {
            assert!(!tags.contains(part), "{}: {part}", image.display());
        }
        let name = image.file_name().unwrap().to_str().unwrap();
        assert!(
            all.contains(&format!("docs/images/{name}")),
            "{name} is not shown"
        );
    }
    assert!(Path::new("docs/images/record.py").exists());
}
