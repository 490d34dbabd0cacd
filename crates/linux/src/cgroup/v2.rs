//! Version 2: one hierarchy, whose groups hand controllers down.

use std::path::{Path, PathBuf};

use super::{CgroupError, Limits, Usage, file};

pub(super) fn controllers(root: &Path) -> Vec<String> {
    let text = file::read(&root.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Makes the groups of `path` one after the other, each handing all its controllers down.
pub(super) fn create(root: &Path, path: &Path) -> Result<(), CgroupError> {
    let mut directory = PathBuf::from(root);
    for part in path {
        hand_down(&directory)?;
        directory.push(part);
        file::create(&directory)?;
    }
    Ok(())
}

fn hand_down(directory: &Path) -> Result<(), CgroupError> {
    let path = directory.join("cgroup.subtree_control");
    let already = file::read(&path).unwrap_or_default();
    let missing: Vec<String> = controllers(directory)
        .into_iter()
        .filter(|name| !already.split_whitespace().any(|known| known == name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() { Ok(()) } else { file::write(&path, &missing.join(" ")) }
}

/// The weight of v2 (1 to 10000) for the shares of v1 (2 to 262144), as Kubernetes converts it.
pub(super) fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

pub(super) fn set(directory: &Path, limits: &Limits) -> Result<(), CgroupError> {
    let write = |name: &str, text: String| file::write(&directory.join(name), &text);
    if let Some(shares) = limits.cpu_shares {
        write("cpu.weight", weight(shares).to_string())?;
    }
    if limits.cpu_quota_us.is_some() || limits.cpu_period_us.is_some() {
        write("cpu.max", cpu_max(directory, limits))?;
    }
    for (name, text) in [("cpuset.cpus", &limits.cpuset_cpus), ("cpuset.mems", &limits.cpuset_mems)]
    {
        if !text.is_empty() {
            write(name, text.clone())?;
        }
    }
    if let Some(bytes) = limits.memory_bytes {
        write("memory.max", bytes_or_max(bytes))?;
    }
    if let Some(bytes) = limits.memory_swap_bytes
        && directory.join("memory.swap.max").exists()
    {
        let memory = limits.memory_bytes.unwrap_or(0).max(0);
        write("memory.swap.max", bytes_or_max(if bytes < 0 { bytes } else { bytes - memory }))?;
    }
    if let Some(pids) = limits.pids {
        write("pids.max", bytes_or_max(pids))?;
    }
    for (size, bytes) in &limits.hugepages {
        write(&format!("hugetlb.{size}.max"), bytes.to_string())?;
    }
    for (name, text) in &limits.unified {
        if name.contains('/') {
            return Err(CgroupError::InvalidPath(name.clone()));
        }
        write(name, text.clone())?;
    }
    Ok(())
}

/// Quota and period are one file; the one that is not given stays.
fn cpu_max(directory: &Path, limits: &Limits) -> String {
    let now = file::read(&directory.join("cpu.max")).unwrap_or_default();
    let (quota_now, period_now) = now.split_once(' ').unwrap_or(("max", "100000"));
    let quota = limits.cpu_quota_us.map_or_else(|| quota_now.to_owned(), bytes_or_max);
    let period = limits.cpu_period_us.map_or_else(|| period_now.to_owned(), |us| us.to_string());
    format!("{quota} {period}")
}

fn bytes_or_max(number: i64) -> String {
    if number < 0 { "max".to_owned() } else { number.to_string() }
}

pub(super) fn usage(directory: &Path) -> Usage {
    let cpu = file::read(&directory.join("cpu.stat")).unwrap_or_default();
    let memory = file::read(&directory.join("memory.stat")).unwrap_or_default();
    let value = |key| file::keyed(&memory, key).unwrap_or(0);
    Usage {
        cpu_nanoseconds: file::keyed(&cpu, "usage_usec").map(|us| us * 1000),
        memory_bytes: file::number(&directory.join("memory.current")),
        memory_inactive_file_bytes: value("inactive_file"),
        memory_anonymous_bytes: value("anon"),
        page_faults: value("pgfault"),
        major_page_faults: value("pgmajfault"),
        memory_limit_bytes: file::number(&directory.join("memory.max")),
        swap_bytes: file::number(&directory.join("memory.swap.current")),
        pids: file::number(&directory.join("pids.current")),
        cpu_periods_throttled: file::keyed(&cpu, "nr_throttled"),
    }
}

pub(super) fn oom_kills(directory: &Path) -> u64 {
    let text = file::read(&directory.join("memory.events")).unwrap_or_default();
    file::keyed(&text, "oom_kill").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        for (shares, expected) in [(2, 1), (102, 4), (1024, 39), (262_144, 10_000), (0, 1)] {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    /// A directory with ordinary files stands for a group.
    #[test]
    fn limits_are_written_in_the_words_of_v2() {
        let directory = std::env::temp_dir().join(format!("keelson-v2-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for name in ["cpu.weight", "memory.max", "memory.swap.max", "pids.max"] {
            std::fs::write(directory.join(name), "").unwrap();
        }
        std::fs::write(directory.join("cpu.max"), "max 100000\n").unwrap();
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(64 << 20),
            pids: Some(-1),
            ..Limits::default()
        };
        set(&directory, &limits).unwrap();
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        assert_eq!(read("cpu.weight"), "39");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!((read("memory.max"), read("memory.swap.max")), ("67108864".into(), "0".into()));
        assert_eq!(read("pids.max"), "max");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
