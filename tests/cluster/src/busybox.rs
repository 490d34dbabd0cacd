//! An image with a shell, made from Debian's static busybox, as a docker archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::network::output;

/// The name that the image has in the tests.
pub const IMAGE: &str = "keelson.test/busybox:1";

/// The busybox that the environment names.
///
/// # Errors
/// It names none.
pub fn program() -> Result<PathBuf> {
    let path = std::env::var_os("BUSYBOX")
        .context("BUSYBOX names no program: run these tests with `cargo xtask test`")?;
    Ok(path.into())
}

/// Writes the image to a file below `folder`, under the given names, and gives the file.
///
/// # Errors
/// There is no busybox or the file cannot be written.
pub fn archive(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    let layer = layer()?;
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&layer)));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin"],
            "Cmd": ["sh"],
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created_by": "busybox" }],
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
    let manifest = json!([{ "Config": config_name, "RepoTags": names, "Layers": ["layer.tar"] }]);
    let path = folder.join("busybox.tar");
    let mut archive = tar::Builder::new(std::fs::File::create(&path)?);
    append(&mut archive, &config_name, 0o644, &config)?;
    append(&mut archive, "layer.tar", 0o644, &layer)?;
    append(&mut archive, "manifest.json", 0o644, &serde_json::to_vec(&manifest)?)?;
    archive.into_inner().context("write the archive")?;
    Ok(path)
}

/// The layer: `/bin/busybox`, a link for each of its applets, and the folders that programs expect.
///
/// # Errors
/// There is no busybox.
pub fn layer() -> Result<Vec<u8>> {
    let program = program()?;
    let applets = output(Command::new(&program).arg("--list"))?;
    let bytes = std::fs::read(&program).with_context(|| format!("read {}", program.display()))?;
    let mut layer = tar::Builder::new(Vec::new());
    for folder in ["bin/", "tmp/", "etc/", "root/"] {
        let mut header = header(if folder == "tmp/" { 0o1777 } else { 0o755 }, 0);
        header.set_entry_type(tar::EntryType::Directory);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    append(&mut layer, "bin/busybox", 0o755, &bytes)?;
    append(&mut layer, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    append(&mut layer, "etc/group", 0o644, b"root:x:0:\n")?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let mut header = header(0o777, 0);
        header.set_entry_type(tar::EntryType::Symlink);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    layer.into_inner().context("write the layer")
}

fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn append<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = header(mode, content.len() as u64);
    archive.append_data(&mut header, name, content).with_context(|| format!("write {name}"))
}
