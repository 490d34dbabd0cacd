//! `keelson image import|pull|list|rm|build`: the node's images, whether a server runs or not.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use images::build::{Content, ImageFile, ImageSettings};
use images::{ImageRecord, Reference, Store};

use crate::config::DATA_DIR;

/// `keelson image`.
#[derive(Debug, Args)]
pub(crate) struct ImageArguments {
    /// Folder for all state
    #[arg(long, short = 'd', default_value = DATA_DIR, global = true)]
    data_dir: PathBuf,
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Bring in images from docker archives, OCI archives or OCI layouts
    Import {
        /// Files or folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Name for the image, when there is only one
        #[arg(long)]
        name: Option<String>,
    },
    /// Bring in an image from a registry
    Pull {
        /// Name, as in a pod
        name: String,
        /// User and password for the registry, as USER:PASSWORD
        #[arg(long)]
        credentials: Option<String>,
        /// Registries (host[:port]) to ask over plain HTTP
        #[arg(long)]
        plain_http: Vec<String>,
    },
    /// Show the images there are
    #[command(visible_alias = "ls")]
    List,
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm {
        /// Names or ids
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Make an image that holds this program alone, for examples and tests
    #[command(hide = true)]
    BuildSelf {
        /// Name for the image
        name: String,
    },
}

/// Carries a subcommand out.
///
/// # Errors
/// What could not be done, on which image.
pub(crate) fn run(arguments: ImageArguments) -> anyhow::Result<()> {
    let root = arguments.data_dir.join("images");
    let store = Store::open(&root).with_context(|| format!("open {}", root.display()))?;
    match arguments.command {
        ImageCommand::Import { paths, name } => {
            let name = name.as_deref().map(parse).transpose()?;
            for path in paths {
                let records = images::archive::import(&store, &path, name.as_ref())
                    .with_context(|| format!("import {}", path.display()))?;
                records.iter().for_each(print);
            }
            Ok(())
        }
        ImageCommand::Pull { name, credentials, plain_http } => {
            pull(store, &name, credentials.as_deref(), plain_http)
        }
        ImageCommand::List => {
            let records = store.list().context("list the images")?;
            records.iter().for_each(print);
            Ok(())
        }
        ImageCommand::Rm { names } => {
            for name in names {
                if !store.remove(&name).with_context(|| format!("remove {name}"))? {
                    bail!("there is no image {name}");
                }
            }
            store.collect_garbage().context("free the space of removed images")?;
            Ok(())
        }
        ImageCommand::BuildSelf { name } => build_self(&store, &name),
    }
}

fn parse(name: &str) -> anyhow::Result<Reference> {
    name.parse::<Reference>().with_context(|| format!("image name {name:?}"))
}

fn pull(
    store: Store,
    name: &str,
    credentials: Option<&str>,
    plain_http: Vec<String>,
) -> anyhow::Result<()> {
    let reference = parse(name)?;
    let credentials = match credentials.map(|text| text.split_once(':')) {
        None => images::Credentials::Anonymous,
        Some(Some((username, password))) => images::Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        },
        Some(None) => bail!("--credentials: expected USER:PASSWORD"),
    };
    let options = images::RegistryOptions { plain_http, ..images::RegistryOptions::default() };
    let puller = images::Puller::new(store, options);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let options = images::PullOptions { credentials };
    let pulling = puller.pull(&reference, &options);
    let record = runtime.block_on(pulling).with_context(|| format!("pull {name}"))?;
    print(&record);
    Ok(())
}

fn build_self(store: &Store, name: &str) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let files = [ImageFile {
        path: "/keelson".to_owned(),
        mode: 0o755,
        content: Content::HostFile(program),
    }];
    let settings =
        ImageSettings { entrypoint: vec!["/keelson".to_owned()], ..ImageSettings::default() };
    let record = images::build::build(store, &parse(name)?, &files, &settings)
        .with_context(|| format!("build {name}"))?;
    print(&record);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn print(record: &ImageRecord) {
    let names = record.tags.iter().chain(&record.digests).cloned().collect::<Vec<_>>().join(" ");
    println!("{}\t{}\t{names}", record.id.as_str(), record.size);
}
