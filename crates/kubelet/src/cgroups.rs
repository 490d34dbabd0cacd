//! The groups of all pods and of their classes, and limits in the kernel's terms.

use linux::cgroup::{CgroupError, Cgroups, Limits};
use podlife::cgroup::of_class;
use podlife::qos::Class;

/// Limits of a pod's group.
pub(crate) fn limits(resources: &cri::LinuxContainerResources) -> Limits {
    let unlimited = |value: i64| if value > 0 { value } else { -1 };
    Limits {
        cpu_shares: u64::try_from(resources.cpu_shares).ok().filter(|shares| *shares > 0),
        cpu_quota_us: Some(unlimited(resources.cpu_quota)),
        cpu_period_us: u64::try_from(resources.cpu_period).ok().filter(|period| *period > 0),
        memory_bytes: Some(unlimited(resources.memory_limit_in_bytes)),
        ..Limits::default()
    }
}

/// Makes the groups that all pods are in. Best-effort pods together weigh as little as can be.
pub(crate) fn make_classes(cgroups: &Cgroups, prefix: &str) -> Result<(), CgroupError> {
    for class in [Class::Guaranteed, Class::Burstable, Class::BestEffort] {
        let group = cgroups.group(&of_class(prefix, class))?;
        group.create()?;
        if class == Class::BestEffort {
            group.set(&Limits { cpu_shares: Some(2), ..Limits::default() })?;
        }
    }
    Ok(())
}

/// Gives the burstable pods together the weight of what they ask for.
pub(crate) fn weigh_burstable(
    cgroups: &Cgroups,
    prefix: &str,
    cpu_milli: i64,
) -> Result<(), CgroupError> {
    let shares = u64::try_from(podlife::resources::shares(cpu_milli)).unwrap_or(2);
    let group = cgroups.group(&of_class(prefix, Class::Burstable))?;
    group.set(&Limits { cpu_shares: Some(shares), ..Limits::default() })
}
