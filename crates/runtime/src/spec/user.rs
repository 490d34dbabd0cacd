//! Whom a container runs as: numbers from names, with the `/etc/passwd` and `/etc/group` of the image.

use cri::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};

use super::SpecError;

/// User, group and further groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn passwd(text: &str) -> impl Iterator<Item = PasswdEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        Some(PasswdEntry { name, uid, gid: fields.next()?.parse().ok()? })
    })
}

fn groups(text: &str) -> impl Iterator<Item = GroupEntry<'_>> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
    })
}

/// Finds out. `image_user` is what the image says: `uid`, `name`, `uid:gid`, `name:group`.
pub(crate) fn resolve(
    security: &LinuxContainerSecurityContext,
    image_user: &str,
    passwd_text: &str,
    group_text: &str,
) -> Result<User, SpecError> {
    let (user, group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let wanted_user = match (security.run_as_user, security.run_as_username.as_str()) {
        (Some(_), name) if !name.is_empty() => {
            return Err(SpecError::Invalid("user id and user name exclude each other".to_owned()));
        }
        (Some(uid), _) => uid.to_string(),
        (None, "") => user.to_owned(),
        (None, name) => name.to_owned(),
    };
    let own = security.run_as_user.is_some() || !security.run_as_username.is_empty();
    let wanted_group = match security.run_as_group {
        Some(gid) => gid.to_string(),
        None if own => String::new(),
        None => group.to_owned(),
    };
    let (uid, name, own_gid) = find_user(&wanted_user, passwd_text)?;
    let gid = match wanted_group.as_str() {
        "" => own_gid,
        group => find_group(group, group_text)?,
    };
    let mut all = vec![gid];
    if security.supplemental_groups_policy == SupplementalGroupsPolicy::Merge
        && let Some(name) = name
    {
        let member = |entry: &GroupEntry<'_>| entry.members.split(',').any(|m| m == name);
        all.extend(groups(group_text).filter(member).map(|entry| entry.gid));
    }
    for group in &security.supplemental_groups {
        all.push(number(*group)?);
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|group| seen.insert(*group));
    Ok(User { uid, gid, groups: all })
}

fn number(id: i64) -> Result<u32, SpecError> {
    u32::try_from(id).map_err(|_| SpecError::Invalid(format!("id {id} is out of range")))
}

fn find_user<'a>(
    wanted: &str,
    passwd_text: &'a str,
) -> Result<(u32, Option<&'a str>, u32), SpecError> {
    if wanted.is_empty() {
        let root = passwd(passwd_text).find(|entry| entry.uid == 0);
        return Ok((0, root.as_ref().map(|r| r.name), root.as_ref().map_or(0, |r| r.gid)));
    }
    let id = wanted.parse::<u32>().ok();
    let found = passwd(passwd_text)
        .find(|entry| entry.name == wanted)
        .or_else(|| passwd(passwd_text).find(|entry| id == Some(entry.uid)));
    match (found, id) {
        (Some(entry), _) => Ok((entry.uid, Some(entry.name), entry.gid)),
        (None, Some(uid)) => Ok((uid, None, 0)),
        (None, None) => Err(SpecError::Invalid(format!(
            "unable to find user {wanted}: no matching entries in passwd file"
        ))),
    }
}

fn find_group(wanted: &str, group_text: &str) -> Result<u32, SpecError> {
    if let Some(entry) = groups(group_text).find(|entry| entry.name == wanted) {
        return Ok(entry.gid);
    }
    wanted.parse().map_err(|_| {
        SpecError::Invalid(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/false\nbad line\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:web,other\nwebs:x:34:\n";

    fn user(image: &str, change: impl FnOnce(&mut LinuxContainerSecurityContext)) -> String {
        let mut security = LinuxContainerSecurityContext::default();
        change(&mut security);
        match resolve(&security, image, PASSWD, GROUP) {
            Ok(user) => format!("{}:{} {:?}", user.uid, user.gid, user.groups),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn users_are_found() {
        assert_eq!(user("", |_| {}), "0:0 [0]");
        assert_eq!(user("web", |_| {}), "33:34 [34, 50]");
        assert_eq!(user("33", |_| {}), "33:34 [34, 50]");
        assert_eq!(user("1000", |_| {}), "1000:0 [0]");
        assert_eq!(user("1000:50", |_| {}), "1000:50 [50]");
        assert_eq!(user("web:staff", |_| {}), "33:50 [50]");
        assert_eq!(user("web:staff", |s| s.run_as_user = Some(0)), "0:0 [0]");
        assert_eq!(user("web", |s| s.run_as_group = Some(7)), "33:7 [7, 50]");
        assert_eq!(user("", |s| s.supplemental_groups = vec![5, 5]), "0:0 [0, 5]");
        let strict = |s: &mut LinuxContainerSecurityContext| {
            s.supplemental_groups_policy = SupplementalGroupsPolicy::Strict;
        };
        assert_eq!(user("web", strict), "33:34 [34]");
    }

    #[test]
    fn unknown_names_and_impossible_numbers_are_refused() {
        assert!(user("nobody", |_| {}).starts_with("unable to find user nobody"));
        assert!(user("0:nogroup", |_| {}).starts_with("unable to find group nogroup"));
        assert_eq!(user("", |s| s.supplemental_groups = vec![-1]), "id -1 is out of range");
    }
}
