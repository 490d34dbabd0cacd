//! Which store the server's state is in: its own, or an etcd cluster that several servers share.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use clock::Clock;
use store::embedded::{EmbeddedOptions, EmbeddedStore};
use store::etcd::{EtcdOptions, EtcdStore};
use store::{
    Compare, KeyRange, Operation, RangeRequest, Revision, Store, Transaction, TransactionResult,
};

use crate::pki::Pki;

/// What all keys of the API server begin with.
const ROOT: &str = "/registry/";
/// Where the first server on a store notes which authorities it has.
const AUTHORITIES: &str = "/registry/.keelson/authorities";

/// The flags for an etcd cluster.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EtcdArguments {
    /// Members of the etcd cluster that the state is in, as https://HOST:2379
    #[arg(long, value_delimiter = ',')]
    pub(crate) etcd_servers: Vec<String>,
    /// Authority of the members' certificates
    #[arg(long)]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long)]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// Key of that certificate
    #[arg(long)]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// What all keys in etcd begin with [default: /registry]
    #[arg(long)]
    pub(crate) etcd_prefix: Option<String>,
}

/// An etcd cluster, as it is configured.
#[derive(Clone, Debug)]
pub(crate) struct EtcdConfig(EtcdOptions);

impl EtcdArguments {
    /// Reads the files; `None` when no cluster is named.
    ///
    /// # Errors
    /// A flag contradicts another, or a file cannot be read; the message names it.
    pub(crate) fn read(self) -> anyhow::Result<Option<EtcdConfig>> {
        let file = |path: &Path, flag: &str| {
            std::fs::read_to_string(path)
                .with_context(|| format!("{flag}: read {}", path.display()))
        };
        if self.etcd_servers.is_empty() {
            let others = [&self.etcd_cafile, &self.etcd_certfile, &self.etcd_keyfile];
            if others.iter().any(|file| file.is_some()) || self.etcd_prefix.is_some() {
                bail!("etcd-servers is missing, but other settings for etcd are there");
            }
            return Ok(None);
        }
        let prefix = self.etcd_prefix.unwrap_or_else(|| "/registry".to_owned());
        let prefix = prefix.trim_end_matches('/');
        if !prefix.starts_with('/') {
            bail!("etcd-prefix {prefix:?}: expected a path, such as /registry");
        }
        let mut options = EtcdOptions::new(self.etcd_servers, format!("{prefix}/"));
        options.root = ROOT.into();
        options.authority_pem =
            self.etcd_cafile.map(|path| file(&path, "etcd-cafile")).transpose()?;
        options.identity_pem = match (self.etcd_certfile, self.etcd_keyfile) {
            (Some(certificate), Some(key)) => {
                Some((file(&certificate, "etcd-certfile")?, file(&key, "etcd-keyfile")?))
            }
            (None, None) => None,
            (Some(_), None) => bail!("etcd-certfile has no etcd-keyfile"),
            (None, Some(_)) => bail!("etcd-keyfile has no etcd-certfile"),
        };
        Ok(Some(EtcdConfig(options)))
    }
}

/// Opens the etcd cluster.
///
/// # Errors
/// It cannot be reached, or refuses.
pub(crate) async fn open_etcd(config: &EtcdConfig) -> anyhow::Result<EtcdStore> {
    let store = EtcdStore::open(config.0.clone()).await;
    store.with_context(|| format!("open the store in etcd at {}", config.0.servers.join(", ")))
}

/// Takes a data folder for this process, whose state is in etcd; a store in the folder does so by itself.
///
/// # Errors
/// Another process has it.
pub(crate) fn take_data_dir(data_dir: &Path) -> anyhow::Result<()> {
    let path = data_dir.join("server.lock");
    let context = || format!("take {} for this server", data_dir.display());
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(context)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            bail!("the data folder {} is in use by another process", data_dir.display())
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    // The system gives the folder back when the process ends, however it ends.
    std::mem::forget(file);
    Ok(())
}

/// Opens the server's own store.
///
/// # Errors
/// It is in use, damaged, or the disk refuses.
pub(crate) async fn open_embedded(
    data_dir: &Path,
    fsync: bool,
    clock: Clock,
) -> anyhow::Result<EmbeddedStore> {
    let path = data_dir.join("store");
    let options = EmbeddedOptions { fsync, clock, ..EmbeddedOptions::new(&path) };
    EmbeddedStore::open(options)
        .await
        .with_context(|| format!("open the store in {}", path.display()))
}

/// Makes sure that all servers on one store have the same authorities: what one signs, the others trust.
///
/// # Errors
/// They differ, or the store cannot be asked.
pub(crate) async fn agree_on_authorities(
    store: &dyn Store,
    pki: &Pki,
    data_dir: &Path,
) -> anyhow::Result<()> {
    let mine = format!("{} {}", pki.server.digest(), pki.client.digest());
    let note = Transaction {
        compares: vec![Compare { key: AUTHORITIES.into(), mod_revision: Revision(0) }],
        operations: vec![Operation::Put {
            key: AUTHORITIES.into(),
            value: mine.clone().into(),
            lease: None,
        }],
    };
    let noted = store.transact(note).await.context("note the authorities in the store")?;
    let TransactionResult::Conflict { .. } = noted else { return Ok(()) };
    let request =
        RangeRequest { range: KeyRange::key(AUTHORITIES), revision: Revision(0), limit: 1 };
    let found = store.range(request).await.context("read the authorities in the store")?;
    if found.items.first().is_some_and(|item| item.value == mine) {
        return Ok(());
    }
    let folder = data_dir.join("pki");
    bail!(
        "the authorities in {0} are not those of the cluster: copy pki/ from the data folder of a \
         server that runs to {0}, and start again",
        folder.display()
    )
}

/// A store of either kind.
pub(crate) type AnyStore = Arc<dyn Store>;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut EtcdArguments)) -> String {
        let mut arguments =
            EtcdArguments { etcd_servers: vec!["https://e1:2379".into()], ..Default::default() };
        change(&mut arguments);
        format!("{:#}", arguments.read().unwrap_err())
    }

    #[test]
    fn a_mistake_names_its_flag() {
        let path = || Some(PathBuf::from("/missing/ca.crt"));
        let said = refused(|arguments| arguments.etcd_cafile = path());
        assert!(said.starts_with("etcd-cafile: read /missing/ca.crt: "), "{said}");
        let said = refused(|arguments| arguments.etcd_certfile = path());
        assert_eq!(said, "etcd-certfile has no etcd-keyfile");
        let said = refused(|arguments| arguments.etcd_keyfile = path());
        assert_eq!(said, "etcd-keyfile has no etcd-certfile");
        let said = refused(|arguments| arguments.etcd_prefix = Some("keelson".to_owned()));
        assert!(said.starts_with("etcd-prefix \"keelson\""), "{said}");
        let said = refused(|arguments| {
            arguments.etcd_servers.clear();
            arguments.etcd_cafile = path();
        });
        assert!(said.starts_with("etcd-servers is missing"), "{said}");
    }

    #[tokio::test]
    async fn a_certificate_that_is_none_is_named_with_the_servers() {
        let mut options = EtcdOptions::new(vec!["https://e1:2379".to_owned()], "/registry/");
        options.authority_pem = Some("nothing".to_owned());
        let config = EtcdConfig(options);
        let said = format!("{:#}", open_etcd(&config).await.unwrap_err());
        let expected =
            "open the store in etcd at https://e1:2379: etcd-cafile has no certificate in it";
        assert_eq!(said, expected);
    }
}
