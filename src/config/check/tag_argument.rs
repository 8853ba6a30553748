//! Arguments `KEY=VALUE` that are tags.

use crate::config::diagnostic::ValueError;
use crate::config::model::Target;
use crate::config::source::quoted;

/// Converts an argument that is a tag, with the limits of a tag in `target`.
///
/// # Errors
///
/// Fails if it has no key or value, or AWS allows no such tag.
pub fn tag(text: &str) -> Result<(String, String), ValueError> {
    let is_part = |part: &str| !part.is_empty() && part.trim() == part;
    let parts = text.split_once('=');
    let Some((key, value)) = parts.filter(|(key, value)| is_part(key) && is_part(value)) else {
        let what = format!("{} is not a tag", quoted(text));
        let hint = "write \"KEY=VALUE\", without spaces around both; for example \"Name=bastion\"";
        return Err(ValueError::new(what, hint));
    };
    let _valid: Target = format!("tag:{text}").parse()?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_has_key_and_value() {
        assert_eq!(tag("a:b=c=d"), Ok(("a:b".to_owned(), "c=d".to_owned())));
        for bad in ["", "a", "=b", "a=", "a =b", "a= b", "a=*"] {
            assert!(tag(bad).is_err(), "{bad}");
        }
    }
}
