//! Overwrites a file in place, with its former content beside it until that is complete.
//!
//! Only bytes from the first difference on are written. A process that is killed, or a machine that
//! fails, leaves the former content in the backup. One that exists is such a rest: it is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Returns where the former content of a file is while it is overwritten.
pub fn backup_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".ssm-proxyd-backup");
    name.into()
}

/// Overwrites an existing file. If that fails, its former content is written back. Blocks.
pub(super) fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    overwrite_by(path, content, write_over)
}

fn overwrite_by(
    path: &Path,
    content: &[u8],
    write_over: impl Fn(&mut File, &[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    let previous = fs::read(&path)?;
    let mut file = OpenOptions::new().write(true).open(&path)?;
    // Without a backup, as in a directory that cannot be written, the file is overwritten all the same.
    let backup = back_up(&path, &previous).ok();
    let written = write_over(&mut file, &previous, content);
    if let Err(error) = &written
        && let Err(second) = write_back(&mut file, &previous)
    {
        let kept = match backup {
            Some(backup) => format!("; it is in {}", backup.display()),
            None => String::new(),
        };
        let why = format!("{error}; its former content could not be written back: {second}{kept}");
        return Err(io::Error::other(why));
    }
    if let Some(backup) = backup {
        fs::remove_file(backup)?;
    }
    written
}

/// Copies a content to a new file on disk, readable by its owner only.
fn back_up(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let backup = backup_path(path);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&backup)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    match written {
        Ok(()) => Ok(backup),
        Err(error) => {
            // The first error is reported.
            let _left = fs::remove_file(&backup);
            Err(error)
        }
    }
}

fn write_over(file: &mut File, previous: &[u8], content: &[u8]) -> io::Result<()> {
    let pairs = previous.iter().zip(content);
    let same = pairs.take_while(|(one, other)| one == other).count();
    file.seek(SeekFrom::Start(same as u64))?;
    file.write_all(&content[same..])?;
    file.set_len(content.len() as u64)?;
    file.sync_all()
}

fn write_back(file: &mut File, previous: &[u8]) -> io::Result<()> {
    write_over(file, &[], previous)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_overwritten_in_place_without_the_rest_of_its_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for (previous, content) in [
            ("a longer content", "new"),
            ("a", "a new one"),
            ("a b c", "a x c"),
            ("a b c", "a"),
            ("", "new"),
            ("old", ""),
        ] {
            fs::write(&path, previous).unwrap();
            let inode = fs::metadata(&path).unwrap().ino();

            overwrite(&path, content.as_bytes()).unwrap();

            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        }
        overwrite(&directory.path().join("other"), b"new").unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_former_content_is_beside_the_file_until_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "former").unwrap();
        let interrupt = |file: &mut File, _: &[u8], _: &[u8]| {
            assert_eq!(fs::read(backup_path(&path)).unwrap(), b"former");
            file.set_len(3)?;
            Err(io::Error::other("disk full"))
        };

        let error = overwrite_by(&path, b"new content", interrupt).unwrap_err();

        assert_eq!(error.to_string(), "disk full");
        assert_eq!(fs::read(&path).unwrap(), b"former", "it is written back");
        assert!(!backup_path(&path).exists());
    }

    #[test]
    fn a_backup_of_an_interrupted_run_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        fs::write(&path, "for").unwrap();
        fs::write(backup_path(&path), "former").unwrap();

        overwrite(&path, b"new").unwrap();

        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read(backup_path(&path)).unwrap(), b"former");
    }
}
