//! Macros: calls that are rewritten when they are read. Most become a fold.
//!
//! What they expand to is what CEL's definition says, because the cost of an expression is counted on
//! the expansion.

use std::sync::Arc;

use super::parser::Builder;
use super::{ACCUMULATOR, Element, Entry, Fault, Fold, Form, Node};
use crate::value::Value;

/// The variable of a fold that loops over nothing.
const UNUSED: &str = "#unused";
/// What `optMap` and `optFlatMap` name their target.
const TARGET: &str = "@target";

/// What a fold that loops over nothing gives a name to. The estimate of the cost tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// The target of `optMap` or `optFlatMap`.
    Target,
    /// The value in that target.
    Mapped,
    /// Anything else.
    Plain,
}

/// What a fold names, if that is all it does.
pub(crate) fn naming(fold: &Fold) -> Option<Naming> {
    if &*fold.variable != UNUSED {
        return None;
    }
    if &*fold.accumulator == TARGET {
        return Some(Naming::Target);
    }
    let Form::Call { target: Some(target), .. } = &fold.initial.form else {
        return Some(Naming::Plain);
    };
    Some(if is_name(target, TARGET) { Naming::Mapped } else { Naming::Plain })
}

/// What became of a call.
pub(super) enum Expansion {
    /// It was a macro.
    Done(Node),
    /// It was not: its parts are given back.
    NotAMacro(Option<Node>, Vec<Node>),
}

/// A loop before its parts are put together.
struct Loop {
    offset: usize,
    range: Node,
    variable: Arc<str>,
    second: Option<Arc<str>>,
}

/// Expands a call if its name and number of arguments are those of a macro.
pub(super) fn expand(
    builder: &mut Builder,
    offset: usize,
    function: &str,
    target: Option<Node>,
    mut arguments: Vec<Node>,
) -> Result<Expansion, Fault> {
    let count = arguments.len();
    let Some(target) = target else {
        if function == "has" && count == 1 {
            return has(arguments.remove(0), offset).map(Expansion::Done);
        }
        return Ok(Expansion::NotAMacro(None, arguments));
    };
    if function == "bind" && count == 3 && is_name(&target, "cel") {
        return bind(builder, offset, arguments).map(Expansion::Done);
    }
    if matches!(function, "optMap" | "optFlatMap") && count == 2 {
        let flat = function == "optFlatMap";
        return opt_map(builder, offset, target, arguments, flat).map(Expansion::Done);
    }
    if function == "sortBy" && count == 2 {
        return sort_by(builder, offset, target, arguments).map(Expansion::Done);
    }
    let variables = match (function, count) {
        ("all" | "exists" | "exists_one" | "existsOne" | "filter", 2) | ("map", 2 | 3) => 1,
        ("all" | "exists" | "exists_one" | "existsOne", 3)
        | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => 2,
        _ => return Ok(Expansion::NotAMacro(Some(target), arguments)),
    };
    let rest = arguments.split_off(variables);
    let names: Vec<Arc<str>> = arguments.iter().map(loop_variable).collect::<Result<_, _>>()?;
    if names.len() == 2 && names[0] == names[1] {
        let message = format!("duplicate variable name: {}", names[0]);
        return Err(Fault { offset: arguments[1].offset, message });
    }
    let around = Loop {
        offset,
        range: target,
        variable: Arc::clone(&names[0]),
        second: names.get(1).cloned(),
    };
    fold(builder, function, around, rest).map(Expansion::Done)
}

fn is_name(node: &Node, wanted: &str) -> bool {
    matches!(&node.form, Form::Name(name) if &**name == wanted)
}

fn loop_variable(node: &Node) -> Result<Arc<str>, Fault> {
    match &node.form {
        Form::Name(name) if &**name == ACCUMULATOR => {
            let message = "iteration variable overwrites accumulator variable".to_owned();
            Err(Fault { offset: node.offset, message })
        }
        Form::Name(name) => Ok(Arc::clone(name)),
        _ => {
            let message = "argument must be a simple name".to_owned();
            Err(Fault { offset: node.offset, message })
        }
    }
}

fn has(argument: Node, offset: usize) -> Result<Node, Fault> {
    match argument.form {
        Form::Select { operand, field, test: false } => {
            Ok(Node { form: Form::Select { operand, field, test: true }, ..argument })
        }
        _ => Err(Fault { offset, message: "invalid argument to has() macro".to_owned() }),
    }
}

fn bind(builder: &mut Builder, offset: usize, arguments: Vec<Node>) -> Result<Node, Fault> {
    let message = "cel.bind() variable names must be simple identifiers".to_owned();
    let [name, initial, result] = take(arguments)?;
    let Form::Name(name) = &name.form else {
        return Err(Fault { offset: name.offset, message });
    };
    bound(builder, offset, Arc::clone(name), initial, result)
}

/// `result` with a name for `initial`: a fold over nothing.
fn bound(
    builder: &mut Builder,
    offset: usize,
    name: Arc<str>,
    initial: Node,
    result: Node,
) -> Result<Node, Fault> {
    let fold = Fold {
        range: builder.node(offset, Form::List(Vec::new()))?,
        variable: UNUSED.into(),
        second: None,
        initial,
        condition: builder.literal(offset, Value::Bool(false))?,
        step: builder.name(offset, &name)?,
        accumulator: name,
        result,
    };
    builder.node(offset, Form::Fold(Box::new(fold)))
}

fn take<const N: usize>(arguments: Vec<Node>) -> Result<[Node; N], Fault> {
    let offset = arguments.first().map_or(0, |node| node.offset);
    let wrong = |_| Fault { offset, message: "wrong number of arguments".to_owned() };
    arguments.try_into().map_err(wrong)
}

/// `target.optMap(v, e)` is `target.hasValue() ? optional.of(cel.bind(v, target.value(), e)) : none`.
fn opt_map(
    builder: &mut Builder,
    offset: usize,
    target: Node,
    arguments: Vec<Node>,
    flat: bool,
) -> Result<Node, Fault> {
    let [name, result] = take(arguments)?;
    let Form::Name(name) = &name.form else {
        let macro_name = if flat { "optFlatMap" } else { "optMap" };
        let message = format!("{macro_name}() variable name must be a simple identifier");
        return Err(Fault { offset: name.offset, message });
    };
    // The target is named first, so that it is evaluated once.
    let method = |builder: &mut Builder, function: &str| {
        let target = Some(Box::new(builder.name(offset, TARGET)?));
        let form = Form::Call { function: function.into(), target, arguments: Vec::new() };
        builder.node(offset, form)
    };
    let present = method(builder, "hasValue")?;
    let value = method(builder, "value")?;
    let mut yes = bound(builder, offset, Arc::clone(name), value, result)?;
    if !flat {
        yes = builder.call(offset, "optional.of", vec![yes])?;
    }
    let none = builder.call(offset, "optional.none", Vec::new())?;
    let choice = builder.call(offset, "_?_:_", vec![present, yes, none])?;
    bound(builder, offset, TARGET.into(), target, choice)
}

/// `target.sortBy(v, key)` sorts by the list of all keys.
fn sort_by(
    builder: &mut Builder,
    offset: usize,
    target: Node,
    arguments: Vec<Node>,
) -> Result<Node, Fault> {
    const INPUT: &str = "@sorted";
    let [name, key] = take(arguments)?;
    let variable = loop_variable(&name)?;
    let range = builder.name(offset, INPUT)?;
    let keys = collect(builder, Loop { offset, range, variable, second: None }, key, None)?;
    let input = Some(Box::new(builder.name(offset, INPUT)?));
    let function = "@sortByAssociatedKeys".into();
    let form = Form::Call { function, target: input, arguments: vec![keys] };
    let sorted = builder.node(offset, form)?;
    bound(builder, offset, INPUT.into(), target, sorted)
}

fn fold(
    builder: &mut Builder,
    function: &str,
    around: Loop,
    mut rest: Vec<Node>,
) -> Result<Node, Fault> {
    let offset = around.offset;
    // The last argument is the result of a step, one before it (if any) its condition.
    let Some(last) = rest.pop() else {
        return Err(Fault { offset, message: "wrong number of arguments".to_owned() });
    };
    let filter = rest.pop();
    match function {
        "all" | "exists" => quantifier(builder, function == "all", around, last),
        "exists_one" | "existsOne" => exists_one(builder, around, last),
        "filter" => {
            let kept = builder.name(offset, &around.variable)?;
            collect(builder, around, kept, Some(last))
        }
        "map" | "transformList" => collect(builder, around, last, filter),
        _ => transform_map(builder, function == "transformMapEntry", around, last, filter),
    }
}

fn finish(
    builder: &mut Builder,
    around: Loop,
    [initial, condition, step, result]: [Node; 4],
) -> Result<Node, Fault> {
    let Loop { offset, range, variable, second } = around;
    let accumulator = ACCUMULATOR.into();
    let fold = Fold { range, variable, second, accumulator, initial, condition, step, result };
    builder.node(offset, Form::Fold(Box::new(fold)))
}

fn quantifier(
    builder: &mut Builder,
    all: bool,
    around: Loop,
    predicate: Node,
) -> Result<Node, Fault> {
    let offset = around.offset;
    let initial = builder.literal(offset, Value::Bool(all))?;
    let mut going = builder.name(offset, ACCUMULATOR)?;
    if !all {
        going = builder.call(offset, "!_", vec![going])?;
    }
    let condition = builder.call(offset, "@not_strictly_false", vec![going])?;
    let so_far = builder.name(offset, ACCUMULATOR)?;
    let operator = if all { "_&&_" } else { "_||_" };
    let step = builder.call(offset, operator, vec![so_far, predicate])?;
    let result = builder.name(offset, ACCUMULATOR)?;
    finish(builder, around, [initial, condition, step, result])
}

fn exists_one(builder: &mut Builder, around: Loop, predicate: Node) -> Result<Node, Fault> {
    let offset = around.offset;
    let initial = builder.literal(offset, Value::Int(0))?;
    let condition = builder.literal(offset, Value::Bool(true))?;
    let so_far = builder.name(offset, ACCUMULATOR)?;
    let one = builder.literal(offset, Value::Int(1))?;
    let more = builder.call(offset, "_+_", vec![so_far, one])?;
    let same = builder.name(offset, ACCUMULATOR)?;
    let step = builder.call(offset, "_?_:_", vec![predicate, more, same])?;
    let count = builder.name(offset, ACCUMULATOR)?;
    let one = builder.literal(offset, Value::Int(1))?;
    let result = builder.call(offset, "_==_", vec![count, one])?;
    finish(builder, around, [initial, condition, step, result])
}

/// `step` if `filter` says so, else the accumulator as it is.
fn filtered(
    builder: &mut Builder,
    offset: usize,
    step: Node,
    filter: Option<Node>,
) -> Result<Node, Fault> {
    let Some(filter) = filter else { return Ok(step) };
    let same = builder.name(offset, ACCUMULATOR)?;
    builder.call(offset, "_?_:_", vec![filter, step, same])
}

/// A list of the results of all steps.
fn collect(
    builder: &mut Builder,
    around: Loop,
    value: Node,
    filter: Option<Node>,
) -> Result<Node, Fault> {
    let offset = around.offset;
    let initial = builder.node(offset, Form::List(Vec::new()))?;
    let condition = builder.literal(offset, Value::Bool(true))?;
    let so_far = builder.name(offset, ACCUMULATOR)?;
    let one = builder.node(offset, Form::List(vec![Element { value, optional: false }]))?;
    let step = builder.call(offset, "_+_", vec![so_far, one])?;
    let step = filtered(builder, offset, step, filter)?;
    let result = builder.name(offset, ACCUMULATOR)?;
    finish(builder, around, [initial, condition, step, result])
}

/// A map of the results of all steps.
fn transform_map(
    builder: &mut Builder,
    entry: bool,
    around: Loop,
    value: Node,
    filter: Option<Node>,
) -> Result<Node, Fault> {
    let offset = around.offset;
    let initial = builder.node(offset, Form::Map(Vec::<Entry>::new()))?;
    let condition = builder.literal(offset, Value::Bool(true))?;
    let mut arguments = vec![builder.name(offset, ACCUMULATOR)?];
    if !entry {
        arguments.push(builder.name(offset, &around.variable)?);
    }
    arguments.push(value);
    let step = builder.call(offset, "cel.@mapInsert", arguments)?;
    let step = filtered(builder, offset, step, filter)?;
    let result = builder.name(offset, ACCUMULATOR)?;
    finish(builder, around, [initial, condition, step, result])
}
