//! The checker: are the names declared, do the types fit. Gives every node its type and every call its
//! candidates.
//!
//! It infers as CEL defines it; what is dynamic is left to evaluation.

mod unify;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::environment::{Environment, VARIABLES};
use crate::functions::signatures::{self, Overload};
use crate::functions::{self, Native, regexes, time};
use crate::names::escaped_word;
use crate::syntax::{Element, Entry, Fault, Field, Fold, Form, Node, Parsed, qualified};
use crate::types::{ObjectType, Type};
use crate::value::Value;

use unify::Bindings;

/// A checked tree.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) root: Node,
    /// By the nodes' identifiers.
    pub(crate) types: Vec<Type>,
    pub(crate) calls: HashMap<usize, Resolved>,
    pub(crate) references: BTreeSet<Arc<str>>,
}

impl Checked {
    /// The type of the whole.
    pub(crate) fn result(&self) -> &Type {
        &self.types[self.root.id]
    }
}

/// What a call calls.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// None for what the evaluator does itself.
    pub(crate) native: Option<Native>,
    /// The overloads that fit; several where types are dynamic.
    pub(crate) overloads: Vec<&'static Overload>,
}

/// Types that are values under their name.
const TYPE_NAMES: [(&str, Type); 11] = [
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("uint", Type::Uint),
    ("double", Type::Double),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("null_type", Type::Null),
    ("dyn", Type::Dyn),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("google.protobuf.Duration", Type::Duration),
    ("kubernetes.URL", Type::Opaque("kubernetes.URL")),
];
const OPAQUE_NAMES: [&str; 4] = ["net.IP", "net.CIDR", "kubernetes.Quantity", "kubernetes.Semver"];

fn type_named(name: &str) -> Option<Type> {
    let simple = TYPE_NAMES.iter().find(|(own, _)| *own == name).map(|(_, ty)| ty.clone());
    simple.or_else(|| match name {
        "list" => Some(Type::list(Type::Dyn)),
        "map" => Some(Type::map(Type::Dyn, Type::Dyn)),
        "type" => Some(Type::Type(Arc::new(Type::Dyn))),
        "optional_type" => Some(Type::optional(Type::Dyn)),
        _ => OPAQUE_NAMES.iter().find(|own| **own == name).map(|own| Type::Opaque(own)),
    })
}

/// Checks a tree; on success the tree has its qualified names resolved.
pub(crate) fn check(environment: &Environment, parsed: Parsed) -> Result<Checked, Vec<Fault>> {
    let mut checker = Checker {
        environment,
        types: vec![Type::Error; parsed.nodes],
        calls: HashMap::new(),
        references: BTreeSet::new(),
        scopes: Vec::new(),
        bindings: Bindings::default(),
        faults: Vec::new(),
        mixing: 0,
    };
    let mut root = parsed.root;
    checker.node(&mut root);
    if !checker.faults.is_empty() {
        return Err(checker.faults);
    }
    let Checker { mut types, calls, references, bindings, .. } = checker;
    for ty in &mut types {
        *ty = bindings.resolve(ty, true);
    }
    Ok(Checked { root, types, calls, references })
}

struct Checker<'a> {
    environment: &'a Environment,
    types: Vec<Type>,
    calls: HashMap<usize, Resolved>,
    references: BTreeSet<Arc<str>>,
    /// Variables of folds, innermost last.
    scopes: Vec<(Arc<str>, Type)>,
    bindings: Bindings,
    faults: Vec<Fault>,
    /// Calls around that take lists of values of several types.
    mixing: usize,
}

impl Checker<'_> {
    fn fault(&mut self, offset: usize, message: String) -> Type {
        self.faults.push(Fault { offset, message });
        Type::Error
    }

    fn undeclared(&mut self, offset: usize, name: &str) -> Type {
        self.fault(offset, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn mismatch(&mut self, offset: usize, expected: &Type, found: &Type) -> Type {
        let (expected, found) = (self.shown(expected), self.shown(found));
        self.fault(offset, format!("expected type '{expected}' but found '{found}'"))
    }

    fn shown(&self, ty: &Type) -> Type {
        self.bindings.resolve(ty, true)
    }

    fn node(&mut self, node: &mut Node) -> Type {
        let offset = node.offset;
        let ty = match &mut node.form {
            Form::Literal(value) => literal(value),
            Form::Name(name) => {
                let name = Arc::clone(name);
                match self.lookup(&name) {
                    Some(found) => self.constant_or(node, &name, found),
                    None => self.undeclared(offset, &name),
                }
            }
            Form::Select { .. } => self.select(node),
            Form::Call { .. } => self.call(node),
            Form::List(elements) => self.list(elements),
            Form::Map(entries) => self.map(entries),
            Form::Object { name, fields } => {
                let name = Arc::clone(name);
                self.object(offset, &name, fields)
            }
            Form::Fold(fold) => self.fold(fold),
        };
        self.types[node.id] = ty.clone();
        ty
    }

    /// The type of a variable, or of a type that is a value.
    fn lookup(&mut self, name: &str) -> Option<Found> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(own, _)| &**own == name) {
            return Some(Found::Variable(ty.clone()));
        }
        if let Some(shape) = self.environment.variable(name) {
            self.references.insert(name.into());
            return Some(Found::Variable(shape.ty.clone()));
        }
        type_named(name).map(Found::Type)
    }

    /// Names of types become constants.
    fn constant_or(&mut self, node: &mut Node, name: &Arc<str>, found: Found) -> Type {
        match found {
            Found::Variable(ty) => {
                node.form = Form::Name(Arc::clone(name));
                ty
            }
            Found::Type(ty) => {
                node.form = Form::Literal(Value::Type(ty.clone()));
                Type::Type(Arc::new(ty))
            }
        }
    }

    fn select(&mut self, node: &mut Node) -> Type {
        if let Some(name) = qualified(node)
            && !self.is_local(&name)
            && let Some(found) = self.lookup(&name)
        {
            return self.constant_or(node, &name.into(), found);
        }
        let offset = node.offset;
        let Form::Select { operand, field, test } = &mut node.form else { return Type::Error };
        let ty = self.field(offset, operand, field, false);
        if *test { Type::Bool } else { self.bindings.resolve(&ty, false) }
    }

    /// Whether the first part of a dotted name is the variable of a fold.
    fn is_local(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.scopes.iter().any(|(own, _)| &**own == first)
    }

    fn field(&mut self, offset: usize, operand: &mut Node, field: &str, optional: bool) -> Type {
        let operand = self.node(operand);
        let operand = self.bindings.resolve(&operand, false);
        let (target, was_optional) = match &operand {
            Type::Optional(inner) => (self.bindings.resolve(inner, false), true),
            _ => (operand.clone(), false),
        };
        let result = match &target {
            Type::Map(both) => both.1.clone(),
            Type::Object(object) => match object.fields.get(field) {
                Some(ty) => ty.clone(),
                None if object.open => Type::Dyn,
                None if let Some(ty) = word_field(object, field) => ty,
                None => self.fault(offset, format!("undefined field '{field}'")),
            },
            Type::Parameter(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            ty if ty.is_dyn() => Type::Dyn,
            ty => {
                self.fault(offset, format!("type '{ty}' does not support field selection"));
                Type::Dyn
            }
        };
        if optional || was_optional { Type::optional(result) } else { result }
    }

    fn call(&mut self, node: &mut Node) -> Type {
        let (id, offset) = (node.id, node.offset);
        let Form::Call { function, target, arguments } = &mut node.form else {
            return Type::Error;
        };
        if &**function == "_?._" {
            return self.optional_select(id, offset, arguments);
        }
        let mixes = usize::from(&**function == "format");
        self.mixing += mixes;
        let mut types: Vec<Type> = arguments.iter_mut().map(|node| self.node(node)).collect();
        self.mixing -= mixes;
        if matches!(&**function, "_&&_" | "_||_") {
            return self.logical(id, function, arguments, &types);
        }
        if let Some(receiver) = target {
            let name = qualified(receiver).map(|prefix| format!("{prefix}.{function}"));
            if let Some(name) = name
                && signatures::overloads(&name).is_some()
                && !self.is_local(&name)
            {
                *target = None;
                *function = name.into();
            } else {
                types.insert(0, self.node(receiver));
            }
        }
        let (function, member) = (Arc::clone(function), target.is_some());
        self.constant_argument(node);
        match signatures::overloads(&function) {
            Some(overloads) => self.resolve((id, offset), &function, overloads, &types, member),
            None => self.undeclared(offset, &function),
        }
    }

    /// Constants that are no regular expression, date or span are named before they are used.
    fn constant_argument(&mut self, node: &Node) {
        let Form::Call { function, arguments, .. } = &node.form else { return };
        let Some(last) = arguments.last() else { return };
        let valid = match (&**function, &last.form) {
            ("timestamp", Form::Literal(Value::Int(second))) => time::is_second(*second),
            ("timestamp", Form::Literal(Value::String(text))) => {
                time::parse_timestamp(text).is_some()
            }
            ("duration", Form::Literal(Value::String(text))) => {
                time::parse_duration(text).is_some()
            }
            ("matches", Form::Literal(Value::String(text))) => regexes::compiled(text).is_ok(),
            _ => true,
        };
        if !valid {
            self.fault(last.offset, format!("invalid {function} argument"));
        }
    }

    fn optional_select(&mut self, id: usize, offset: usize, arguments: &mut [Node]) -> Type {
        let [operand, field] = arguments else { return Type::Error };
        let Form::Literal(Value::String(name)) = &field.form else {
            let message = "unsupported optional field selection".to_owned();
            return self.fault(offset, message);
        };
        let name = Arc::clone(name);
        self.types[field.id] = Type::String;
        self.calls.insert(id, Resolved { native: None, overloads: Vec::new() });
        let ty = self.field(offset, operand, &name, true);
        self.bindings.resolve(&ty, false)
    }

    fn logical(&mut self, id: usize, function: &str, arguments: &[Node], types: &[Type]) -> Type {
        let mut result = Type::Bool;
        for (node, ty) in arguments.iter().zip(types) {
            if !self.bindings.assignable(ty, &Type::Bool) {
                result = self.mismatch(node.offset, &Type::Bool, ty);
            }
        }
        let overloads = signatures::overloads(function).into_iter().flatten().collect();
        self.calls.insert(id, Resolved { native: None, overloads });
        result
    }

    fn resolve(
        &mut self,
        (id, offset): (usize, usize),
        function: &str,
        overloads: &'static [Overload],
        types: &[Type],
        member: bool,
    ) -> Type {
        let mut fitting = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.member == member) {
            let (parameters, own) = self.bindings.instantiate(overload);
            if !self.bindings.all_assignable(types, &parameters) {
                continue;
            }
            fitting.push(overload);
            let own = self.bindings.resolve(&own, false);
            result = Some(match result {
                None => own,
                Some(result) if result == own => result,
                Some(_) => Type::Dyn,
            });
        }
        let native = functions::find(function);
        self.calls.insert(id, Resolved { native, overloads: fitting });
        match result {
            Some(result) => result,
            None => {
                let signature = self.signature(types, member);
                self.fault(
                    offset,
                    format!("found no matching overload for '{function}' applied to '{signature}'"),
                )
            }
        }
    }

    /// The types of a call as messages show them: `string.(int)` or `(string, int)`.
    fn signature(&self, types: &[Type], member: bool) -> String {
        let shown: Vec<String> = types.iter().map(|ty| self.shown(ty).to_string()).collect();
        match shown.split_first() {
            Some((receiver, rest)) if member => format!("{receiver}.({})", rest.join(", ")),
            _ => format!("({})", shown.join(", ")),
        }
    }

    /// The type of the elements of a list (or keys or values of a map) so far, with one more.
    fn join(&mut self, offset: usize, so_far: Option<Type>, next: Type) -> Type {
        match so_far {
            None => next,
            Some(so_far) if self.bindings.assignable(&so_far, &next) => {
                self.bindings.more_general(so_far, next)
            }
            Some(_) if self.mixing > 0 => Type::Dyn,
            Some(so_far) => {
                self.mismatch(offset, &so_far, &next);
                so_far
            }
        }
    }

    fn unwrapped(&mut self, offset: usize, ty: Type, optional: bool) -> Type {
        if !optional {
            return ty;
        }
        match self.bindings.resolve(&ty, false) {
            Type::Optional(inner) => (*inner).clone(),
            ty if ty.is_dyn() => ty,
            ty => self.mismatch(offset, &Type::optional(ty.clone()), &ty),
        }
    }

    fn list(&mut self, elements: &mut [Element]) -> Type {
        let mut joined = None;
        for element in elements {
            let offset = element.value.offset;
            let ty = self.node(&mut element.value);
            let ty = self.unwrapped(offset, ty, element.optional);
            joined = Some(self.join(offset, joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, entries: &mut [Entry]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let offset = entry.key.offset;
            let key = self.node(&mut entry.key);
            keys = Some(self.join(offset, keys, key));
            let offset = entry.value.offset;
            let value = self.node(&mut entry.value);
            let value = self.unwrapped(offset, value, entry.optional);
            values = Some(self.join(offset, values, value));
        }
        let keys = keys.unwrap_or_else(|| self.bindings.fresh());
        // What cannot be a key makes the type no larger: types stay as deep as the expression.
        let keys = match self.bindings.resolve(&keys, false) {
            Type::List(_) | Type::Map(_) | Type::Optional(_) | Type::Type(_) => Type::Dyn,
            _ => keys,
        };
        Type::map(keys, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn object(&mut self, offset: usize, name: &str, fields: &mut [Field]) -> Type {
        let patch = name == "JSONPatch";
        let known = self.environment.constructors
            && (patch || name == "Object" || name.starts_with("Object."));
        if !known {
            self.undeclared(offset, name);
        }
        for field in fields {
            let place = field.value.offset;
            let ty = self.node(&mut field.value);
            let ty = self.unwrapped(place, ty, field.optional);
            if !known || !patch {
                continue;
            }
            let wanted = match &*field.name {
                "op" | "path" | "from" => Type::String,
                "value" => Type::Dyn,
                other => {
                    self.fault(field.offset, format!("undefined field '{other}'"));
                    continue;
                }
            };
            if !self.bindings.assignable(&ty, &wanted) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{}'",
                    field.name,
                    self.shown(&ty)
                );
                self.fault(field.offset, message);
            }
        }
        if known { Type::named(name) } else { Type::Error }
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        let offset = fold.range.offset;
        let range = self.node(&mut fold.range);
        let accumulator = self.node(&mut fold.initial);
        let range = self.bindings.resolve(&range, false);
        let (first, second) = match &range {
            Type::List(element) if fold.second.is_some() => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(both) => both.as_ref().clone(),
            Type::Parameter(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            ty if ty.is_dyn() => (Type::Dyn, Type::Dyn),
            ty => {
                let message = format!(
                    "expression of type '{ty}' cannot be range of a comprehension (must be list, \
                     map, or dynamic)"
                );
                (self.fault(offset, message), Type::Error)
            }
        };
        let depth = self.scopes.len();
        self.scopes.push((Arc::clone(&fold.accumulator), accumulator.clone()));
        self.scopes.push((Arc::clone(&fold.variable), first));
        if let Some(name) = &fold.second {
            self.scopes.push((Arc::clone(name), second));
        }
        let condition = self.node(&mut fold.condition);
        self.assign(fold.condition.offset, &condition, &Type::Bool);
        let step = self.node(&mut fold.step);
        self.assign(fold.step.offset, &step, &accumulator);
        // The result sees the accumulator, but not the variables.
        self.scopes.truncate(depth + 1);
        let result = self.node(&mut fold.result);
        self.scopes.truncate(depth);
        self.bindings.resolve(&result, false)
    }

    fn assign(&mut self, offset: usize, ty: &Type, to: &Type) {
        if !self.bindings.assignable(ty, to) {
            self.mismatch(offset, to, ty);
        }
    }
}

/// The field of an object whose name is a word of the language.
fn word_field(object: &ObjectType, name: &str) -> Option<Type> {
    object.fields.get(escaped_word(name)?.as_str()).cloned()
}

/// What a name stands for.
enum Found {
    Variable(Type),
    Type(Type),
}

fn literal(value: &Value) -> Type {
    value.type_of()
}

/// Whether a node is `variables.x`; then `x`.
pub(crate) fn composed(operand: &Node) -> bool {
    matches!(&operand.form, Form::Name(name) if &**name == VARIABLES)
}
