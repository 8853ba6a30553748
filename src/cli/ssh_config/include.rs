//! The lines that include the block of `ssh-config` in the user's file.

use std::path::Path;

/// Adds the Include of `own` at the top of a user's file; `None` if already present. If there was
/// no file, the result is marked so that it is deleted with the Include.
pub(super) fn insert_include(user: Option<&[u8]>, own: &Path) -> Option<Vec<u8>> {
    let include = include(own);
    match user {
        Some(user) if has_line(user, &include) => None,
        Some(user) => Some([MARK.as_bytes(), include.as_bytes(), b"\n", user].concat()),
        None => Some([MARK_OF_NEW.as_bytes(), include.as_bytes()].concat()),
    }
}

/// What remains of a user's file without the Include of `own`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// The file contained no Include.
    NotFound,
    /// Remaining content.
    Keep(Vec<u8>),
    /// The file did not exist before: delete it.
    DeleteFile,
}

/// Removes the Include of `own` from a user's file: exactly what was added, or, if it was moved,
/// its lines.
pub(super) fn remove_include(user: &[u8], own: &Path) -> Removal {
    let include = include(own);
    let added = [MARK.as_bytes(), include.as_bytes(), b"\n"].concat();
    let made = [MARK_OF_NEW.as_bytes(), include.as_bytes()].concat();
    if user == made {
        return Removal::DeleteFile;
    }
    if let Some(rest) = user.strip_prefix(&added[..]) {
        return Removal::Keep(rest.to_vec());
    }
    if let Some(rest) = user.strip_prefix(&made[..]) {
        return Removal::Keep(rest.to_vec());
    }
    let is_ours = |line: &[u8]| {
        [MARK, MARK_OF_NEW, &include]
            .iter()
            .any(|ours| line == ours.as_bytes())
    };
    let rest: Vec<_> = user
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !is_ours(line))
        .collect();
    match rest.concat() {
        rest if rest == user => Removal::NotFound,
        rest => Removal::Keep(rest),
    }
}

fn include(own: &Path) -> String {
    format!("Include \"{}\"\n", own.display())
}

fn has_line(text: &[u8], line: &str) -> bool {
    text.split_inclusive(|byte| *byte == b'\n')
        .any(|own| own == line.as_bytes())
}

/// Comment line above the Include.
const MARK: &str = "# Added by `ssm-proxyd ssh-config --install`; remove it with `ssm-proxyd ssh-config --remove`.\n";

/// Comment line in a file that did not exist before.
const MARK_OF_NEW: &str = "# Created by `ssm-proxyd ssh-config --install`; remove it with `ssm-proxyd ssh-config --remove`.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remove_restores_the_file_byte_for_byte() {
        let own = Path::new("/home/u/.ssh/ssm-proxyd.config");
        for user in [
            &b""[..],
            b"\n",
            b"Host a\n  User b",
            b"\xff\xfe\r\nHost *\r\n",
            b"Include x\n\n\n",
        ] {
            let added = insert_include(Some(user), own).unwrap();

            assert_eq!(insert_include(Some(&added), own), None, "twice is once");
            assert_eq!(remove_include(&added, own), Removal::Keep(user.to_vec()));
            assert_eq!(remove_include(user, own), Removal::NotFound);
        }
        let made = insert_include(None, own).unwrap();
        assert_eq!(remove_include(&made, own), Removal::DeleteFile);
        assert_eq!(insert_include(Some(&made), own), None);
    }

    #[test]
    fn lines_that_the_user_moved_or_added_are_kept() {
        let own = Path::new("/o");
        let added = insert_include(Some(b"Host a\n"), own).unwrap();
        let moved = [b"User me\n", &added[..]].concat();
        let more = [&insert_include(None, own).unwrap()[..], b"Host b\n"].concat();

        assert_eq!(
            remove_include(&moved, own),
            Removal::Keep(b"User me\n\nHost a\n".to_vec())
        );
        assert_eq!(
            remove_include(&more, own),
            Removal::Keep(b"Host b\n".to_vec())
        );
    }
}
