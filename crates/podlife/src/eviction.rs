//! When the node has too little of something. Which pod has to go for that is in [`victim`]; which one has taken more
//! of the local storage than it may, whatever the node has left, in [`storage`].

pub mod storage;
pub mod usage;
pub mod victim;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use crate::quantity::{self, Form};

/// How long a pressure is reported after it ended.
pub const PRESSURE_LINGERS: Duration = Duration::from_secs(300);

/// What is watched, under the names of the kubelet's flag `--eviction-hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// `memory.available`, in bytes.
    Memory,
    /// `nodefs.available`: the kubelet's file system, in bytes.
    Disk,
    /// `nodefs.inodesFree`.
    DiskInodes,
    /// `imagefs.available`: the images' file system, in bytes.
    ImageDisk,
    /// `imagefs.inodesFree`.
    ImageDiskInodes,
    /// `pid.available`.
    ProcessIds,
}

/// Every signal, the most urgent first.
const SIGNALS: [Signal; 6] = [
    Signal::Memory,
    Signal::Disk,
    Signal::ImageDisk,
    Signal::DiskInodes,
    Signal::ImageDiskInodes,
    Signal::ProcessIds,
];

impl Signal {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::Disk => "nodefs.available",
            Self::DiskInodes => "nodefs.inodesFree",
            Self::ImageDisk => "imagefs.available",
            Self::ImageDiskInodes => "imagefs.inodesFree",
            Self::ProcessIds => "pid.available",
        }
    }

    /// The resource that there is too little of, as events and messages name it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk | Self::ImageDisk => "ephemeral-storage",
            Self::DiskInodes | Self::ImageDiskInodes => "inodes",
            Self::ProcessIds => "pids",
        }
    }

    /// How upstream writes amounts of it.
    fn form(self) -> Form {
        match self {
            Self::Memory | Self::Disk | Self::ImageDisk => Form::Binary,
            Self::DiskInodes | Self::ImageDiskInodes | Self::ProcessIds => Form::Decimal,
        }
    }
}

/// How much has to be available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Bytes, inodes or process ids.
    Amount(u64),
    /// Hundredths of a percent of what there is.
    Share(u64),
}

impl Threshold {
    /// The amount and its text: as upstream, a share is written with binary suffixes whatever it is of.
    fn of(self, total: u64, signal: Signal) -> (u64, String) {
        let amount = self.amount(total);
        let form = if matches!(self, Self::Share(_)) { Form::Binary } else { signal.form() };
        (amount, quantity::text(amount, form))
    }

    fn amount(self, total: u64) -> u64 {
        match self {
            Self::Amount(amount) => amount,
            Self::Share(share) => {
                let amount = u128::from(total) * u128::from(share) / 10_000;
                u64::try_from(amount).unwrap_or(u64::MAX)
            }
        }
    }
}

/// Why a text names no thresholds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// A part is not `SIGNAL<QUANTITY`.
    #[error("{0:?}: expected SIGNAL<QUANTITY, such as nodefs.available<10%")]
    Form(String),
    /// There is no such signal.
    #[error("{0:?}: unknown signal; there are {known}", known = SIGNALS.map(Signal::name).join(", "))]
    Signal(String),
    /// The signal's amount is neither a quantity nor a percentage of at most 100.
    #[error("{0:?}: expected a quantity such as 100Mi, or a percentage from 0% to 100%")]
    Amount(String),
    /// The signal is named twice.
    #[error("{0:?}: named twice")]
    Twice(&'static str),
}

/// From which point on the node is under pressure. A signal that is not named has no threshold; the defaults
/// are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds(BTreeMap<Signal, Threshold>);

impl Thresholds {
    /// No threshold at all.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self(BTreeMap::from([
            (Signal::Memory, Threshold::Amount(100 << 20)),
            (Signal::Disk, Threshold::Share(1000)),
            (Signal::DiskInodes, Threshold::Share(500)),
            (Signal::ImageDisk, Threshold::Share(1500)),
            (Signal::ImageDiskInodes, Threshold::Share(500)),
        ]))
    }
}

impl FromStr for Thresholds {
    type Err = ThresholdError;

    /// Reads the form of the kubelet's `--eviction-hard`: `SIGNAL<QUANTITY` separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, amount) =
                part.split_once('<').ok_or_else(|| ThresholdError::Form(part.to_owned()))?;
            let signal = SIGNALS
                .into_iter()
                .find(|signal| signal.name() == name)
                .ok_or_else(|| ThresholdError::Signal(name.to_owned()))?;
            let amount =
                threshold(amount).ok_or_else(|| ThresholdError::Amount(part.to_owned()))?;
            if all.insert(signal, amount).is_some() {
                return Err(ThresholdError::Twice(signal.name()));
            }
        }
        Ok(Self(all))
    }
}

fn threshold(text: &str) -> Option<Threshold> {
    let nanos = quantity::nanos(text.strip_suffix('%').unwrap_or(text))?;
    if !text.ends_with('%') {
        return Some(Threshold::Amount(u64::try_from(nanos / 1_000_000_000).ok()?));
    }
    let share = u64::try_from(nanos / 10_000_000).ok()?;
    (share <= 10_000).then_some(Threshold::Share(share))
}

/// What there is of something, and how much of it is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// All of it; 0: not known.
    pub total: u64,
    /// What is free.
    pub free: u64,
}

/// What was measured; what could not be is absent.
pub type Levels = BTreeMap<Signal, Level>;

/// Something there is too little of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// What was watched.
    pub signal: Signal,
    /// The threshold as text.
    pub threshold: String,
    /// What is available as text.
    pub available: String,
}

impl Shortage {
    /// `memory`, `ephemeral-storage`, `inodes` or `pids`.
    pub fn resource(&self) -> &'static str {
        self.signal.resource()
    }

    /// Whether it is one of bytes or inodes on a disk.
    pub fn is_of_disk(&self) -> bool {
        !matches!(self.signal, Signal::Memory | Signal::ProcessIds)
    }
}

/// What there is too little of, the most urgent first.
pub fn shortages(levels: &Levels, thresholds: &Thresholds) -> Vec<Shortage> {
    let shortage = |signal: Signal| {
        let level = levels.get(&signal).filter(|level| level.total > 0)?;
        let (least, threshold) = thresholds.0.get(&signal)?.of(level.total, signal);
        (level.free < least).then(|| Shortage {
            signal,
            threshold,
            available: quantity::text(level.free, signal.form()),
        })
    };
    SIGNALS.into_iter().filter_map(shortage).collect()
}

/// A pressure that is reported until it has been over for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    last_seen: Option<Timestamp>,
}

impl Pressure {
    /// Takes in what is the case now; whether it is to be reported.
    pub fn observe(&mut self, under_pressure: bool, now: Timestamp) -> bool {
        if under_pressure {
            self.last_seen = Some(now);
        }
        self.last_seen.is_some_and(|seen| {
            Duration::try_from(now.duration_since(seen)).unwrap_or_default() < PRESSURE_LINGERS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortages_are_named() {
        let mut levels = Levels::from([
            (Signal::Memory, Level { total: 1 << 30, free: 50 << 20 }),
            (Signal::Disk, Level { total: 1000 << 20, free: 99 << 20 }),
            (Signal::DiskInodes, Level { total: 1000, free: 50 }),
            (Signal::ImageDiskInodes, Level { total: 20 << 20, free: 10_000 }),
            (Signal::ImageDisk, Level::default()),
        ]);
        let found = shortages(&levels, &Thresholds::default());
        let names: Vec<&str> = found.iter().map(Shortage::resource).collect();
        assert_eq!(names, ["memory", "ephemeral-storage", "inodes"]);
        assert_eq!(found.iter().map(Shortage::is_of_disk).collect::<Vec<_>>(), [false, true, true]);
        let texts = |at: usize| (found[at].threshold.as_str(), found[at].available.as_str());
        assert_eq!((texts(0), texts(2)), (("100Mi", "50Mi"), ("1Mi", "10k")));
        assert!(shortages(&levels, &Thresholds::none()).is_empty());
        levels.insert(Signal::Memory, Level { total: 1 << 30, free: 1 << 30 });
        levels.insert(Signal::Disk, Level { total: 1000 << 20, free: 100 << 20 });
        levels.remove(&Signal::ImageDiskInodes);
        assert!(shortages(&levels, &Thresholds::default()).is_empty());
    }

    #[test]
    fn thresholds_are_read_as_the_kubelet_reads_them() {
        let usual = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%, \
                     imagefs.available<15%,imagefs.inodesFree<5%";
        assert_eq!(usual.parse(), Ok(Thresholds::default()));
        assert_eq!("".parse(), Ok(Thresholds::none()));
        let fraction = Thresholds(BTreeMap::from([(Signal::ProcessIds, Threshold::Share(50))]));
        assert_eq!("pid.available<0.5%".parse(), Ok(fraction));
        for (text, says) in [
            ("nodefs.available=10%", "expected SIGNAL<QUANTITY"),
            ("disk<10%", "unknown signal; there are memory.available, nodefs.available"),
            ("nodefs.available<much", "expected a quantity"),
            ("nodefs.available<101%", "from 0% to 100%"),
            ("memory.available<-1Mi", "expected a quantity"),
            ("pid.available<1,pid.available<2", "named twice"),
        ] {
            let error = text.parse::<Thresholds>().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn pressure_lingers() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let mut pressure = Pressure::default();
        assert!(!pressure.observe(false, at(0)));
        assert!(pressure.observe(true, at(1)));
        assert!(pressure.observe(false, at(300)));
        assert!(!pressure.observe(false, at(301)));
    }
}
