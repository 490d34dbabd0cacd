//! `nfs`: a directory of an NFS server, mounted by the kernel itself.

use super::{Context, Ready, VolumeError, make_directory};

pub(super) fn set_up(
    context: &Context<'_>,
    name: &str,
    server: &str,
    export: &str,
    readonly: bool,
) -> Result<Ready, VolumeError> {
    if !context.config.mounts {
        return Err(VolumeError::Unsupported);
    }
    let path = context.directory("kubernetes.io/nfs", name);
    make_directory(&path, 0o750)?;
    let mounted =
        linux::mount::is_mount_point(&path).map_err(|error| VolumeError::mount(&error))?;
    if !mounted {
        let failed =
            |error: String| VolumeError::Mount(format!("mount {server}:{export}: {error}"));
        let resolved = std::net::ToSocketAddrs::to_socket_addrs(&(server, 2049))
            .map_err(|error| failed(error.to_string()))?;
        let address = resolved.into_iter().next();
        let address = address.ok_or_else(|| failed("the server has no address".to_owned()))?.ip();
        let options = std::ffi::CString::new(format!("addr={address},vers=4.2,hard"))
            .map_err(|error| failed(error.to_string()))?;
        let flags = if readonly {
            rustix::mount::MountFlags::RDONLY
        } else {
            rustix::mount::MountFlags::empty()
        };
        let source = format!("{server}:{export}");
        rustix::mount::mount(source.as_str(), &path, "nfs4", flags, options.as_c_str())
            .map_err(|error| failed(error.to_string()))?;
    }
    Ok(Ready { readonly, ..Ready::at(path) })
}
