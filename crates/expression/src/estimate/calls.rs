//! What calls cost, and how large their results are.

use super::size::{CostEstimate, ONE, Range};
use super::{Estimator, extended};
use crate::functions::signatures::Overload;
use crate::syntax::{Form, Node};
use crate::types::Type;
use crate::value::Value;

/// Upstream's cost of one character.
pub(crate) const CHARACTER_COST: f64 = 0.1;
/// Upstream's cost of one character of a regular expression.
pub(crate) const REGEX_CHARACTER_COST: f64 = 0.25;
/// Upstream's cost of one question to the authorizer.
pub(crate) const AUTHORIZATION_COST: u64 = 350_000;
/// The longest regular expression of a named format.
pub(crate) const NAMED_FORMAT_CHARACTERS: f64 = 128.0;
/// Characters per requirement of a selector, and what a requirement costs.
pub(crate) const SELECTOR_REQUIREMENTS: f64 = 0.5;
pub(crate) const SELECTOR_REQUIREMENT_COST: f64 = 50.0;
/// The longest that a format is, as upstream has it.
const FORMAT_NAME_CHARACTERS: u64 = 64;
/// The largest address in bytes, and the smallest.
const ADDRESS: Range = Range { min: 4, max: 16 };

/// A call's own cost, and the size of its result where that is known.
type Estimate = (CostEstimate, Option<Range>);

impl Estimator<'_> {
    pub(super) fn call(
        &mut self,
        node: &Node,
        function: &str,
        target: Option<&Node>,
        arguments: &[Node],
    ) -> CostEstimate {
        let costs: Vec<CostEstimate> = arguments.iter().map(|node| self.node(node)).collect();
        let target_cost = target.map(|node| self.node(node));
        let operands: Vec<&Node> = target.into_iter().chain(arguments).collect();
        match (function, costs.as_slice()) {
            ("_&&_" | "_||_", [left, right]) => {
                return CostEstimate { min: left.min, max: left.plus(*right).max };
            }
            ("_?_:_", [condition, yes, no]) => {
                let size = self.size(&arguments[1]).or(self.size(&arguments[2]));
                self.set_size(node.id, size);
                return condition.plus(yes.or(*no));
            }
            ("_?._", [operand, ..]) => return operand.plus(ONE),
            _ => {}
        }
        let mut total = costs.into_iter().chain(target_cost).fold(super::ZERO, CostEstimate::plus);
        let checked = self.checked;
        let overloads = checked.calls.get(&node.id).map_or(&[][..], |call| &call.overloads);
        let mut own: Option<CostEstimate> = None;
        let mut size: Option<Range> = None;
        for overload in overloads {
            let (cost, result) = self.overload(function, overload, &operands);
            own = Some(own.map_or(cost, |own| own.or(cost)));
            size = match (size, result) {
                (Some(a), Some(b)) => Some(a.or(b)),
                (a, b) => a.or(b),
            };
            let step = match overload.id {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => continue,
            };
            self.set_path(node, extended(self.path(operands[0]), step));
        }
        if let Some(size) = size {
            self.set_size(node.id, size);
        }
        total = total.plus(own.unwrap_or(ONE));
        total
    }

    /// One overload of a call. What has no rule of its own costs one.
    fn overload(&self, function: &str, overload: &Overload, operands: &[&Node]) -> Estimate {
        let special = match overload.member || function.contains('.') || !function.contains('_') {
            true => self.library(function, overload, operands),
            false => None,
        };
        special.or_else(|| self.standard(overload.id, operands)).unwrap_or((ONE, None))
    }

    fn standard(&self, id: &str, operands: &[&Node]) -> Option<Estimate> {
        let size = |index: usize| operands.get(index).map(|node| self.size(node));
        Some(match id {
            "equals" if let Some(cost) = self.equality(operands) => (cost, None),
            "equals"
            | "not_equals"
            | "less_string"
            | "less_bytes"
            | "less_equals_string"
            | "less_equals_bytes"
            | "greater_string"
            | "greater_bytes"
            | "greater_equals_string"
            | "greater_equals_bytes" => {
                let max = size(0)?.max.min(size(1)?.max);
                let compared = Range { min: u64::from(max > 0), max };
                (compared.costs(CHARACTER_COST), None)
            }
            "add_string" | "add_bytes" => {
                let sum = size(0)?.plus(size(1)?);
                (sum.costs(CHARACTER_COST), Some(sum))
            }
            "add_list" => (ONE, Some(size(0)?.plus(size(1)?))),
            "in_list" => (size(1)?.costs(1.0), None),
            "starts_with_string" | "ends_with_string" => (size(1)?.costs(CHARACTER_COST), None),
            "contains_string" => {
                let (text, part) = (size(0)?.costs(CHARACTER_COST), size(1)?.costs(CHARACTER_COST));
                (text.times(part), None)
            }
            // The function of that name (not the method) costs one.
            "matches_string" => (self.regex(operands)?, None),
            "string_to_bytes" => {
                let text = size(0)?;
                let bytes = Range { min: text.min, max: text.max.saturating_mul(4) };
                (text.costs(CHARACTER_COST), Some(bytes))
            }
            "bytes_to_string" => {
                let bytes = size(0)?;
                let text = Range { min: bytes.min / 4, max: bytes.max };
                (bytes.costs(CHARACTER_COST), Some(text))
            }
            "strings_quote" => {
                let text = size(0)?;
                let max = text.max.saturating_mul(2).saturating_add(2);
                let quoted = Range { min: text.min.saturating_add(2), max };
                (text.costs(CHARACTER_COST), Some(quoted))
            }
            "string_format" => (size(0)?.costs(CHARACTER_COST), None),
            _ => return None,
        })
    }

    /// What it costs to compare two values of a library's type. Upstream has no such rule for `!=`, which
    /// counts them for boundless.
    fn equality(&self, operands: &[&Node]) -> Option<CostEstimate> {
        let [left, right] = operands else { return None };
        let Type::Opaque(name) = self.ty(left) else { return None };
        if self.ty(left) != self.ty(right) {
            return None;
        }
        let longest = match *name {
            "kubernetes.NamedFormat" => FORMAT_NAME_CHARACTERS,
            // Upstream looks at the right side only.
            "kubernetes.URL" => self.computed(right).map_or(1, |size| size.max),
            _ => 1,
        };
        Some(Range { min: 1, max: longest }.costs(CHARACTER_COST))
    }

    fn regex(&self, operands: &[&Node]) -> Option<CostEstimate> {
        let text = self.size(operands.first()?).plus(Range::exactly(1)).costs(CHARACTER_COST);
        let pattern = self.size(operands.get(1)?).costs(REGEX_CHARACTER_COST);
        Some(text.times(pattern))
    }

    fn library(&self, function: &str, overload: &Overload, operands: &[&Node]) -> Option<Estimate> {
        let size = |index: usize| operands.get(index).map(|node| self.size(node));
        Some(match function {
            "check" => (CostEstimate::exactly(AUTHORIZATION_COST), None),
            "fieldSelector" | "labelSelector" => (selector(size(1)?), None),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "sort"
            | "distinct" => self.traversal(operands.first()?),
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "jsonpatch.escapeKey" => {
                (size(0)?.costs(CHARACTER_COST), size(0))
            }
            "replace" => {
                (size(0)?.costs(2.0 * CHARACTER_COST), Some(replaced(size(0)?, size(1)?, size(2)?)))
            }
            "split" => {
                let most = split_limit(operands).unwrap_or(size(0)?.max);
                (size(0)?.costs(2.0 * CHARACTER_COST), Some(Range { min: 0, max: most }))
            }
            "join" => {
                let joined = self.joined(operands)?;
                (joined.costs(CHARACTER_COST), Some(joined))
            }
            "find" | "findAll" => {
                let all = Range { min: 0, max: size(0)?.max };
                (self.regex(operands)?, Some(all))
            }
            "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" | "semver" | "isSemver" => {
                (size(0)?.costs(CHARACTER_COST), None)
            }
            "ip" if overload.id != "cidr_ip" => (size(0)?.costs(CHARACTER_COST), None),
            "ip.isCanonical" => (size(0)?.costs(2.0 * CHARACTER_COST), None),
            "containsIP" | "containsCIDR" => (self.contains_address(overload, operands)?, None),
            "validate" => {
                let format = NAMED_FORMAT_CHARACTERS * REGEX_CHARACTER_COST;
                (size(1)?.costs(CHARACTER_COST).scaled(format), None)
            }
            "sets.contains" | "sets.intersects" => {
                (CostEstimate::exactly(1).plus(as_cost(size(0)?.product(size(1)?))), None)
            }
            "sets.equivalent" => {
                let both = as_cost(size(0)?.product(size(1)?));
                (ONE.plus(both).plus(both), None)
            }
            _ => return None,
        })
    }

    /// A walk over all items of a list, or all characters of a string.
    fn traversal(&self, node: &Node) -> Estimate {
        let size = self.size(node);
        match self.element(node) {
            Some((Type::String | Type::Bytes, element)) => {
                (size.times(ONE.plus(element.costs(CHARACTER_COST))), None)
            }
            Some(_) => (size.times(ONE), None),
            None => (size.costs(CHARACTER_COST), None),
        }
    }

    fn joined(&self, operands: &[&Node]) -> Option<Range> {
        let list = self.size(operands.first()?);
        let mut joined = match self.element(operands[0]) {
            Some((_, element)) => list.product(element),
            None => Range::exactly(0),
        };
        if let Some(separator) = operands.get(1) {
            let gaps = Range { min: list.min.saturating_sub(1), max: list.max.saturating_sub(1) };
            joined = joined.plus(self.size(separator).product(gaps));
        }
        Some(joined)
    }

    fn contains_address(&self, overload: &Overload, operands: &[&Node]) -> Option<CostEstimate> {
        let mut cost = ADDRESS.plus(ADDRESS).costs(CHARACTER_COST);
        if overload.id.starts_with("cidr_contains_cidr") {
            cost = cost.plus(ADDRESS.costs(CHARACTER_COST)).plus(ONE);
        }
        if overload.id.ends_with("_string") {
            cost = cost.plus(self.size(operands.get(1)?).costs(CHARACTER_COST));
        }
        Some(cost)
    }
}

fn as_cost(range: Range) -> CostEstimate {
    CostEstimate { min: range.min, max: range.max }
}

fn selector(length: Range) -> CostEstimate {
    let parsed = length.costs(CHARACTER_COST);
    let requirements = length.costs(SELECTOR_REQUIREMENTS).scaled(SELECTOR_REQUIREMENT_COST);
    CostEstimate::exactly(super::LIST_COST).plus(parsed).plus(requirements)
}

/// The size of a string with all `from` replaced by `to`.
fn replaced(text: Range, from: Range, to: Range) -> Range {
    let max = if from.min == 0 {
        text.max.saturating_add(1).saturating_mul(to.max).saturating_add(text.max)
    } else if to.max <= from.min {
        text.max
    } else {
        text.max.div_ceil(from.min).saturating_mul(to.max)
    };
    let min = if from.max == 0 {
        text.min.saturating_add(1).saturating_mul(to.min).saturating_add(text.min)
    } else if from.max <= to.min {
        text.min
    } else {
        text.min.div_ceil(from.max).saturating_mul(to.min)
    };
    Range { min, max }
}

/// The most parts, if the expression says. Upstream reads a negative limit as a very large one.
fn split_limit(operands: &[&Node]) -> Option<u64> {
    match &operands.get(2)?.form {
        Form::Literal(Value::Int(most)) => Some(most.cast_unsigned()),
        _ => None,
    }
}
