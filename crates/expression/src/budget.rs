//! What evaluation may cost.

use thiserror::Error;

use crate::limits::{CALL_COST_MAX, MATCH_CONDITIONS_COST_MAX, OBJECT_COST_MAX};

/// A cost limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CostError {
    /// One evaluation cost too much.
    #[error("operation cancelled: actual cost limit exceeded")]
    Call,
    /// All evaluations together cost too much.
    #[error(
        "validation failed due to running out of cost budget, no further validation rules will be run"
    )]
    Total,
}

/// The cost that evaluations of one request may have, in upstream's units: about 50 ns each.
#[derive(Clone, Debug)]
pub struct Budget {
    remaining: u64,
    call_max: u64,
    call: u64,
    call_ceiling: u64,
}

impl Default for Budget {
    /// [`OBJECT_COST_MAX`] in all, [`CALL_COST_MAX`] for one evaluation.
    fn default() -> Self {
        Self::new(OBJECT_COST_MAX, CALL_COST_MAX)
    }
}

impl Budget {
    /// A budget of `total`, of which one evaluation may use `call`.
    pub fn new(total: u64, call: u64) -> Self {
        Self { remaining: total, call_max: call, call: 0, call_ceiling: call.min(total) }
    }

    /// The budget of a list of match conditions.
    pub fn of_match_conditions() -> Self {
        Self::new(MATCH_CONDITIONS_COST_MAX, CALL_COST_MAX)
    }

    /// What is left.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Whether nothing is left.
    pub fn is_exhausted(&self) -> bool {
        self.remaining == 0
    }

    /// Begins one evaluation.
    pub(crate) fn begin(&mut self) -> Result<(), CostError> {
        self.call = 0;
        self.call_ceiling = self.call_max.min(self.remaining);
        if self.remaining == 0 { Err(CostError::Total) } else { Ok(()) }
    }

    /// Counts a step of the evaluation.
    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), CostError> {
        self.call = self.call.saturating_add(cost);
        if self.call <= self.call_ceiling {
            return Ok(());
        }
        Err(if self.call > self.call_max { CostError::Call } else { CostError::Total })
    }

    /// Ends the evaluation; what it cost.
    pub(crate) fn end(&mut self) -> u64 {
        self.remaining = self.remaining.saturating_sub(self.call);
        self.call
    }
}
