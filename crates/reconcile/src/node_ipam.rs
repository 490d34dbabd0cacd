//! Dividing the cluster's range of pod addresses among nodes.

use std::collections::BTreeSet;

use ipnet::IpNet;

/// Which node ranges are taken.
#[derive(Clone, Debug)]
pub struct Ranges {
    cluster: IpNet,
    mask: u8,
    taken: BTreeSet<IpNet>,
}

impl Ranges {
    /// All of `cluster` free, in ranges with a prefix of `mask` bits (at least the cluster's own).
    pub fn new(cluster: IpNet, mask: u8) -> Self {
        let mask = mask.max(cluster.prefix_len()).min(cluster.max_prefix_len());
        Self { cluster, mask, taken: BTreeSet::new() }
    }

    /// Notes that a range is in use.
    pub fn occupy(&mut self, range: &IpNet) {
        self.taken.insert(range.trunc());
    }

    /// Gives a range back.
    pub fn release(&mut self, range: &IpNet) {
        self.taken.remove(&range.trunc());
    }

    /// Takes the first free range; `None` when there is none.
    pub fn take(&mut self) -> Option<IpNet> {
        let overlaps = |range: &IpNet| {
            self.taken.iter().any(|taken| taken.contains(range) || range.contains(taken))
        };
        let free = self.cluster.subnets(self.mask).ok()?.find(|range| !overlaps(range))?;
        self.taken.insert(free);
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_once_and_again_after_release() {
        let mut ranges = Ranges::new("10.42.0.0/23".parse().unwrap(), 24);
        ranges.occupy(&"10.42.0.0/24".parse().unwrap());
        let second: IpNet = "10.42.1.0/24".parse().unwrap();
        assert_eq!(ranges.take(), Some(second));
        assert_eq!(ranges.take(), None);
        ranges.release(&second);
        assert_eq!(ranges.take(), Some(second));
    }
}
