//! The audit log as a file: a line for each event, and a new file when it has grown.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// Where the log is, and how much of it is kept; upstream's `--audit-log-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The file; `-` for the standard output.
    pub path: PathBuf,
    /// Size at which a new file is begun, in MiB; 0 for upstream's 100.
    pub size_max_mib: u64,
    /// How many old files are kept; 0 for all.
    pub backups_max: usize,
    /// For how many days old files are kept; 0 for ever.
    pub age_max_days: i64,
}

const SIZE_DEFAULT_MIB: u64 = 100;
const MIB: u64 = 1024 * 1024;
const SECONDS_PER_DAY: i64 = 86_400;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Log {
    options: LogOptions,
    /// `None` until it is needed, and after a failure.
    file: Option<File>,
    written: u64,
}

impl Log {
    pub(super) fn new(options: LogOptions) -> Self {
        Self { options, file: None, written: 0 }
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// The file cannot be written; the next lines try it again.
    pub(super) fn write(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        if self.options.path == Path::new("-") {
            let mut out = io::stdout().lock();
            return out.write_all(lines).and_then(|()| out.flush());
        }
        let length = lines.len() as u64;
        if self.file.is_some() && self.written + length > self.size_max() {
            self.file = None;
            self.turn(now)?;
        }
        if self.file.is_none() {
            self.open(length, now)?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if let Err(error) = file.write_all(lines) {
            self.file = None;
            return Err(error);
        }
        self.written += length;
        Ok(())
    }

    fn size_max(&self) -> u64 {
        let mib = self.options.size_max_mib;
        if mib == 0 { SIZE_DEFAULT_MIB * MIB } else { mib * MIB }
    }

    fn open(&mut self, length: u64, now: Timestamp) -> io::Result<()> {
        let path = &self.options.path;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let present = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        if present > 0 && present + length > self.size_max() {
            self.turn(now)?;
        }
        let mut options = OpenOptions::new();
        // What is in it is the administrator's alone.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.create(true).append(true).open(&self.options.path)?;
        self.written = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Gives the file the name of an old one, and removes those that are too many or too old.
    fn turn(&self, now: Timestamp) -> io::Result<()> {
        let path = &self.options.path;
        let (stem, end) = self.name_parts();
        let time = now.strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string();
        std::fs::rename(path, path.with_file_name(format!("{stem}-{time}{end}")))?;
        let mut old = self.old_files()?;
        old.sort_by(|a, b| b.cmp(a));
        let (count, days) = (self.options.backups_max, self.options.age_max_days);
        let oldest = (now.as_second() - days * SECONDS_PER_DAY).max(0);
        let oldest = Timestamp::from_second(oldest).unwrap_or(Timestamp::UNIX_EPOCH);
        let oldest = oldest.strftime("%Y-%m-%dT%H-%M-%S").to_string();
        for (index, (time, path)) in old.iter().enumerate() {
            if count > 0 && index >= count || days > 0 && *time < oldest {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The file's name before and from the last dot.
    fn name_parts(&self) -> (String, String) {
        let path = &self.options.path;
        let text = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let end = text(path.extension());
        (text(path.file_stem()), if end.is_empty() { end } else { format!(".{end}") })
    }

    /// Old files with their times.
    fn old_files(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let (stem, end) = self.name_parts();
        let folder = self.options.path.parent().filter(|path| !path.as_os_str().is_empty());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder.unwrap_or_else(|| Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let time = name.strip_prefix(&format!("{stem}-"));
            let time = time.and_then(|rest| rest.strip_suffix(&end));
            // Only what looks like a time is ours.
            let is_time = |time: &&str| {
                time.len() == "2026-01-02T03-04-05.678".len()
                    && time.starts_with(|c: char| c.is_ascii_digit())
            };
            if let Some(time) = time.filter(is_time) {
                found.push((time.to_owned(), entry.path()));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_file_makes_room_and_old_ones_go() {
        let folder = std::env::temp_dir().join(format!("keelson-audit-{}", uuid::Uuid::new_v4()));
        let path = folder.join("audit.log");
        let options =
            LogOptions { path: path.clone(), size_max_mib: 1, backups_max: 2, age_max_days: 0 };
        let mut log = Log::new(options);
        let big = vec![b'x'; 600 * 1024];
        for second in 0..5 {
            let now = Timestamp::from_second(1_800_000_000 + second).unwrap();
            log.write(&big, now).unwrap();
        }
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["audit-2027-01-15T08-00-03.000.log", "audit-2027-01-15T08-00-04.000.log", "audit.log"];
        assert_eq!(names, expected);
        // One that a former run left is written on, or turned when it is full.
        let mut next = Log::new(log.options.clone());
        next.write(b"small\n", Timestamp::from_second(1_800_000_100).unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 600 * 1024 + 6);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_had_is_an_error() {
        let options = LogOptions { path: "/proc/none/audit.log".into(), ..LogOptions::default() };
        assert!(Log::new(options).write(b"x", Timestamp::UNIX_EPOCH).is_err());
    }
}
