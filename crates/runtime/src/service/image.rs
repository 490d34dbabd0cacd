//! The image service: CRI's words for what the image store does.

use cri::*;
use images::{Credentials, ImageRecord, PullOptions, Reference};

use super::{Runtime, blocking};

/// The CRI error for one of the store.
pub(super) fn image_error(error: &images::Error) -> Error {
    use images::Error as E;
    let text = cri::error::chain(error);
    match error {
        E::Name(_) => Error::InvalidArgument(text),
        E::NotFound(_) | E::NoSuchImage { .. } | E::NoPlatform(_) => Error::NotFound(text),
        E::Denied { .. } => Error::PermissionDenied(text),
        E::Unavailable { .. } => {
            Error::Unavailable(format!("{}: {text}", cri::error::REGISTRY_UNAVAILABLE))
        }
        _ => Error::Internal(text),
    }
}

fn describe(record: &ImageRecord) -> Image {
    let user = record.user().split(':').next().unwrap_or("");
    let uid: Option<i64> = user.parse().ok();
    Image {
        id: record.id.to_string(),
        repo_tags: record.tags.clone(),
        repo_digests: record.digests.clone(),
        size: record.size.max(1),
        username: if uid.is_none() { user.to_owned() } else { String::new() },
        uid: if user.is_empty() { Some(0) } else { uid },
        spec: None,
        pinned: record.pinned,
    }
}

/// The credentials in whatever form they come.
fn credentials(auth: Option<&AuthConfig>) -> Result<Credentials> {
    let Some(auth) = auth else { return Ok(Credentials::Anonymous) };
    if !auth.username.is_empty() {
        let (username, password) = (auth.username.clone(), auth.password.clone());
        return Ok(Credentials::Basic { username, password });
    }
    if !auth.registry_token.is_empty() {
        return Ok(Credentials::Bearer(auth.registry_token.clone()));
    }
    if !auth.identity_token.is_empty() {
        let (username, password) = ("<token>".to_owned(), auth.identity_token.clone());
        return Ok(Credentials::Basic { username, password });
    }
    if auth.auth.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(auth.auth.trim());
    let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let split = text.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) =
        split.ok_or_else(|| Error::InvalidArgument("invalid decoded auth".to_owned()))?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Credentials::Basic { username: username.to_owned(), password })
}

impl Runtime {
    async fn find(&self, name: &str) -> Result<Option<ImageRecord>> {
        let (store, name) = (self.inner.store.clone(), name.to_owned());
        blocking(move || store.resolve(&name).map_err(|error| image_error(&error))).await
    }
}

#[async_trait::async_trait]
impl ImageService for Runtime {
    async fn list_images(&self, filter: &ImageFilter) -> Result<Vec<Image>> {
        if let Some(spec) = filter.image.as_ref().filter(|spec| !spec.image.is_empty()) {
            return Ok(self.find(&spec.image).await?.iter().map(describe).collect());
        }
        let store = self.inner.store.clone();
        let records = blocking(move || store.list().map_err(|error| image_error(&error))).await?;
        Ok(records.iter().map(describe).collect())
    }

    async fn image_status(&self, image: &ImageSpec) -> Result<Option<Image>> {
        Ok(self.find(&image.image).await?.as_ref().map(describe))
    }

    async fn pull_image(&self, image: &ImageSpec, auth: Option<&AuthConfig>) -> Result<String> {
        let name: Reference = image.image.parse().map_err(|error: images::InvalidName| {
            Error::InvalidArgument(format!(
                "failed to parse image reference {:?}: {error}",
                image.image
            ))
        })?;
        let options = PullOptions { credentials: credentials(auth)? };
        let pulled = self.inner.puller.pull(&name, &options).await;
        let record = pulled.map_err(|error| match image_error(&error) {
            Error::Internal(text) => Error::Internal(format!(
                "failed to pull and unpack image {:?}: {text}",
                name.to_string()
            )),
            Error::NotFound(text) => Error::NotFound(format!(
                "failed to pull and unpack image {:?}: {text}",
                name.to_string()
            )),
            Error::PermissionDenied(text) => Error::PermissionDenied(format!(
                "failed to pull and unpack image {:?}: {text}",
                name.to_string()
            )),
            other => other,
        })?;
        Ok(record.id.to_string())
    }

    async fn remove_image(&self, image: &ImageSpec) -> Result<()> {
        let (store, name) = (self.inner.store.clone(), image.image.clone());
        blocking(move || match store.remove(&name) {
            Ok(_) => Ok(()),
            Err(error) => Err(image_error(&error)),
        })
        .await
    }

    async fn image_fs_info(&self) -> Result<ImageFsInfo> {
        let (store, now) = (self.inner.store.clone(), self.now());
        let root = store.root().display().to_string();
        let usage = blocking(move || store.usage().map_err(|error| image_error(&error))).await?;
        let usage = FilesystemUsage {
            timestamp: now,
            mountpoint: root,
            used_bytes: Some(usage.bytes),
            inodes_used: Some(usage.inodes),
        };
        Ok(ImageFsInfo {
            image_filesystems: vec![usage.clone()],
            container_filesystems: vec![usage],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_many_forms() {
        let basic = |username: &str, password: &str| Credentials::Basic {
            username: username.to_owned(),
            password: password.to_owned(),
        };
        let auth = |change: fn(&mut AuthConfig)| {
            let mut auth = AuthConfig::default();
            change(&mut auth);
            credentials(Some(&auth))
        };
        assert_eq!(credentials(None), Ok(Credentials::Anonymous));
        assert_eq!(auth(|_| {}), Ok(Credentials::Anonymous));
        assert_eq!(auth(|a| a.auth = "dTpwOnc=".to_owned()), Ok(basic("u", "p:w")));
        assert!(auth(|a| a.auth = "???".to_owned()).is_err());
        assert_eq!(
            auth(|a| a.registry_token = "t".to_owned()),
            Ok(Credentials::Bearer("t".to_owned()))
        );
    }
}
