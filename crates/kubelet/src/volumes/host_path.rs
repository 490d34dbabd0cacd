//! `hostPath`: a path of the node, of a type that is checked or made.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::{Ready, VolumeError, make_directory};

pub(super) fn set_up(path: &str, kind: &str) -> Result<Ready, VolumeError> {
    let ready = Ready::at(PathBuf::from(path));
    let wrong = |what: &str| Err(VolumeError::HostPath(format!("{path} is not {what}")));
    let path = Path::new(path);
    let found = std::fs::metadata(path).ok().map(|metadata| metadata.file_type());
    match (kind, found) {
        ("", _) => {}
        ("DirectoryOrCreate", None) => make_directory(path, 0o755)?,
        ("FileOrCreate", None) => {
            use std::os::unix::fs::OpenOptionsExt as _;
            std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(path)
                .map_err(VolumeError::file("create", path))?;
        }
        ("Directory" | "DirectoryOrCreate", Some(found)) if found.is_dir() => {}
        ("Directory" | "DirectoryOrCreate", _) => return wrong("a directory"),
        ("File" | "FileOrCreate", Some(found)) if found.is_file() => {}
        ("File" | "FileOrCreate", _) => return wrong("a file"),
        ("Socket", Some(found)) if found.is_socket() => {}
        ("Socket", _) => return wrong("a socket file"),
        ("CharDevice", Some(found)) if found.is_char_device() => {}
        ("CharDevice", _) => return wrong("a character device"),
        ("BlockDevice", Some(found)) if found.is_block_device() => {}
        ("BlockDevice", _) => return wrong("a block device"),
        (kind, _) => {
            let text = format!("{kind} is an invalid volume type");
            return Err(VolumeError::HostPath(text));
        }
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        assert!(set_up(&path("no"), "").is_ok());
        assert!(set_up(&path("no"), "Directory").is_err());
        assert!(set_up(&path("d/e"), "DirectoryOrCreate").is_ok());
        assert!(set_up(&path("d/e"), "Directory").is_ok());
        assert!(set_up(&path("f"), "FileOrCreate").is_ok());
        let error = set_up(&path("f"), "Directory").unwrap_err().to_string();
        assert_eq!(error, format!("hostPath type check failed: {} is not a directory", path("f")));
        assert!(set_up("/dev/null", "CharDevice").is_ok());
        assert!(set_up("/dev/null", "Bogus").is_err());
    }
}
