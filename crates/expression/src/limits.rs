//! The bounds of this crate. The cost limits are upstream's.

/// Longest expression, in code points.
pub(crate) const EXPRESSION_CODE_POINTS_MAX: usize = 100_000;

/// Deepest nesting of an expression. Bounds the stack of everything that walks one.
pub(crate) const EXPRESSION_DEPTH_MAX: usize = 250;

/// Deepest nesting of brackets, arguments and conditions: what the parser recurses for.
pub(crate) const NESTING_MAX: usize = 100;

/// Most faults that one compilation reports.
pub(crate) const COMPILE_ISSUES_MAX: usize = 100;

/// Deepest nesting of a shape; what lies deeper is dynamic.
pub(crate) const SHAPE_DEPTH_MAX: usize = 32;

/// Deepest nesting of a value that is compared, converted or read from JSON.
pub(crate) const VALUE_DEPTH_MAX: usize = 400;

/// Largest compiled regular expression in bytes.
pub(crate) const REGEX_BYTES_MAX: usize = 1 << 20;

/// Most values that a value which an expression builds may be made of.
pub(crate) const VALUE_WEIGHT_MAX: u64 = 4_000_000;

/// Values that may be walked at the cost of one step.
pub(crate) const WEIGHT_PER_COST: u64 = 64;

/// Regular expressions that are kept compiled.
pub(crate) const REGEXES_KEPT_MAX: usize = 256;

/// Most a single evaluation may cost (upstream's `PerCallLimit`).
pub const CALL_COST_MAX: u64 = 1_000_000;

/// Most that all rules of one object may cost (upstream's `RuntimeCELCostBudget`).
pub const OBJECT_COST_MAX: u64 = 10_000_000;

/// Most a match condition's evaluations may cost (upstream's `RuntimeCELCostBudgetMatchConditions`).
pub const MATCH_CONDITIONS_COST_MAX: u64 = 2_500_000;

/// Largest request body, from which the size of unbounded strings and lists is estimated.
pub(crate) const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
