//! Ranges of sizes and costs, with arithmetic that stops at the largest number.

/// Between what bounds a cost lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostEstimate {
    /// At least this.
    pub min: u64,
    /// At most this.
    pub max: u64,
}

pub(super) const ZERO: CostEstimate = CostEstimate::exactly(0);
pub(super) const ONE: CostEstimate = CostEstimate::exactly(1);

impl CostEstimate {
    pub(super) const fn exactly(cost: u64) -> Self {
        Self { min: cost, max: cost }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { min: scale(self.min, factor), max: scale(self.max, factor) }
    }
}

/// Between what bounds a size lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

/// The size of what nothing is known of.
pub(super) const ANY: Range = Range { min: 0, max: u64::MAX };

impl Range {
    pub(super) const fn exactly(size: u64) -> Self {
        Self { min: size, max: size }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn product(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// So many times a cost.
    pub(super) fn times(self, cost: CostEstimate) -> CostEstimate {
        CostEstimate { min: self.min, max: self.max }.times(cost)
    }

    /// A cost in proportion to the size, rounded up.
    pub(super) fn costs(self, factor: f64) -> CostEstimate {
        CostEstimate { min: self.min, max: self.max }.scaled(factor)
    }
}

/// A number times a factor, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast stops at the largest number, which is what is wanted"
)]
pub(crate) fn scale(number: u64, factor: f64) -> u64 {
    (number as f64 * factor).ceil() as u64
}
