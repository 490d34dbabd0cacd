//! Sets of completion indexes, kept and written as ranges: `1,3-5,7`.

use std::fmt;

/// A set of indexes as ordered ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads what a status says; indexes from `completions` on and whatever cannot be read are left out.
    pub fn parse(text: &str, completions: i32) -> Self {
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else {
                continue;
            };
            if first < completions && first <= last {
                ranges.push((first, last.min(completions - 1)));
            }
        }
        Self::of(ranges)
    }

    fn of(mut ranges: Vec<(i32, i32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Both sets together.
    #[must_use]
    pub fn with(&self, others: impl IntoIterator<Item = i32>) -> Self {
        let singles = others.into_iter().map(|index| (index, index));
        Self::of(self.0.iter().copied().chain(singles).collect())
    }

    /// Both sets together.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// Whether an index is in the set.
    pub fn has(&self, index: i32) -> bool {
        let after = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(after).is_some_and(|(first, _)| *first <= index)
    }

    /// Number of indexes.
    pub fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// The first `count` indexes below `completions` that are not in the set.
    pub fn gaps(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut gaps = Vec::new();
        let mut next = 0;
        let ends = self.0.iter().copied().chain([(completions, completions)]);
        for (first, last) in ends {
            gaps.extend((next..first.min(completions)).take(count - gaps.len()));
            next = last.saturating_add(1).max(next);
        }
        gaps
    }

    /// How many indexes are in both sets.
    pub fn common(&self, other: &Self) -> i32 {
        let overlap = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        let (mut left, mut right, mut common) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(left), other.0.get(right)) {
            common += overlap(a, b);
            if a.1 < b.1 {
                left += 1;
            } else {
                right += 1;
            }
        }
        common
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.0.iter().enumerate() {
            let comma = if position > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_merged_and_written() {
        let cases = [
            ("", 5, "", 0),
            ("1,3-5,7", 10, "1,3-5,7", 5),
            ("1,2", 10, "1,2", 2),
            ("1-2,3", 10, "1-3", 3),
            ("0-9", 5, "0-4", 5),
            ("x,2,y-z", 5, "2", 1),
            ("7", 5, "", 0),
        ];
        for (text, completions, written, total) in cases {
            let indexes = Indexes::parse(text, completions);
            assert_eq!((indexes.to_string().as_str(), indexes.total()), (written, total), "{text}");
        }
    }

    #[test]
    fn gaps_are_found_in_order() {
        let indexes = Indexes::parse("1,3-4", 10);
        assert_eq!(indexes.gaps(3, 10), [0, 2, 5]);
        assert_eq!(indexes.gaps(9, 6), [0, 2, 5]);
        assert_eq!(Indexes::default().gaps(2, 1), [0]);
        assert_eq!(indexes.with([0, 2]).to_string(), "0-4");
        assert!(indexes.has(3) && !indexes.has(2) && !indexes.has(5));
        assert_eq!(indexes.common(&Indexes::parse("0-3", 10)), 2);
    }
}
