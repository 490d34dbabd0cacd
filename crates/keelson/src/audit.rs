//! The flags of the audit log, upstream's.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use apiserver::audit::{AuditOptions, LogOptions, Policy};

/// What the user says of the audit log.
#[derive(Clone, Debug, Default)]
pub(crate) struct AuditArguments {
    pub(crate) policy_file: Option<PathBuf>,
    pub(crate) path: Option<PathBuf>,
    pub(crate) age_max_days: Option<u32>,
    pub(crate) backups_max: Option<usize>,
    pub(crate) size_max_mib: Option<u64>,
}

impl AuditArguments {
    /// Reads the policy; `None` when nothing is to be recorded.
    ///
    /// # Errors
    /// The policy cannot be read, or a flag lacks another; the message names it.
    pub(crate) fn read(self) -> anyhow::Result<Option<AuditOptions>> {
        let Some(file) = &self.policy_file else {
            if self.path.is_some() {
                bail!(
                    "audit-log-path is set, but audit-policy-file says nothing of what to record"
                );
            }
            return Ok(None);
        };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("audit-policy-file: read {shown}"))?;
        let policy =
            Policy::from_yaml(&text).with_context(|| format!("audit-policy-file {shown}"))?;
        let Some(path) = self.path else {
            bail!("audit-policy-file is set, but audit-log-path says nothing of where to record");
        };
        let log = LogOptions {
            path,
            size_max_mib: self.size_max_mib.unwrap_or_default(),
            backups_max: self.backups_max.unwrap_or_default(),
            age_max_days: self.age_max_days.unwrap_or_default().into(),
        };
        Ok(Some(AuditOptions { policy, log }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_belong_together() {
        let read = |policy_file: Option<&str>, path: Option<&str>| {
            let arguments = AuditArguments {
                policy_file: policy_file.map(PathBuf::from),
                path: path.map(PathBuf::from),
                ..AuditArguments::default()
            };
            arguments.read().map(|options| options.is_some()).map_err(|error| error.to_string())
        };
        assert_eq!(read(None, None), Ok(false));
        for (policy, path, expected) in [
            (None, Some("/log"), "audit-log-path"),
            (Some("/nowhere"), Some("/log"), "audit-policy-file: read /nowhere"),
        ] {
            let error = read(policy, path).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
