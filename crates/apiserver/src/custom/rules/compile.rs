//! One rule, compiled.

use expression::{Environment, Program, Shape};
use serde_json::Value;

use crate::handle::text;

/// A rule with what it says and does when it fails.
pub(crate) struct Compiled {
    /// None for an empty rule.
    pub(crate) program: Option<Result<Program, String>>,
    /// The expression of the message, if there is one.
    pub(crate) message: Option<Result<Program, String>>,
    /// Whether the rule is about a change.
    pub(crate) uses_old_self: bool,
    /// Whether `oldSelf` is optional.
    pub(crate) optional_old_self: bool,
    /// What the message is without an expression.
    pub(crate) fixed_message: String,
    /// How messages name the rule.
    pub(crate) name: String,
    pub(crate) reason: String,
    /// The path below the value that faults are reported at; empty for the value itself.
    pub(crate) field_path: String,
}

/// Compiles a rule of a schema whose values have a shape.
pub(crate) fn compile(rule: &Value, schema: &Value, shape: &Shape) -> Compiled {
    let expression = text(rule, "/rule");
    let optional_old_self = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
    let old = if optional_old_self { shape.clone().optional() } else { shape.clone() };
    let environment = Environment::new().with("self", shape.clone()).with("oldSelf", old);
    let message_expression = text(rule, "/messageExpression");
    let message = text(rule, "/message").trim();
    let name = if message.is_empty() { expression.trim() } else { message };
    let program = (!expression.trim().is_empty()).then(|| rule_program(&environment, expression));
    let old_used = |program: &Program| program.references().contains("oldSelf");
    Compiled {
        uses_old_self: matches!(&program, Some(Ok(program)) if old_used(program)),
        program,
        message: (!message_expression.is_empty())
            .then(|| message_program(&environment, message_expression)),
        optional_old_self,
        fixed_message: if message.is_empty() {
            format!("failed rule: {name}")
        } else {
            message.to_owned()
        },
        name: name.to_owned(),
        reason: text(rule, "/reason").to_owned(),
        field_path: field_path(schema, text(rule, "/fieldPath")).unwrap_or_default(),
    }
}

fn rule_program(environment: &Environment, expression: &str) -> Result<Program, String> {
    let program = Program::compile(environment, expression)
        .map_err(|error| format!("compilation failed: {error}"))?;
    match program.result_type() {
        expression::Type::Bool => Ok(program),
        _ => Err("cel expression must evaluate to a bool".to_owned()),
    }
}

fn message_program(environment: &Environment, expression: &str) -> Result<Program, String> {
    let program = Program::compile(environment, expression)
        .map_err(|error| format!("messageExpression compilation failed: {error}"))?;
    match program.result_type() {
        expression::Type::String => Ok(program),
        _ => Err("messageExpression must evaluate to a string".to_owned()),
    }
}

/// A path of a rule as faults show it; none if the schema has no such field.
pub(crate) fn field_path(schema: &Value, path: &str) -> Option<String> {
    let mut shown = String::new();
    let mut schema = schema;
    for name in names(path)? {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            schema = properties.get(&name)?;
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(&name);
        } else {
            schema = schema.get("additionalProperties").filter(|values| values.is_object())?;
            shown.push_str(&format!("[{name}]"));
        }
    }
    Some(shown)
}

/// The names in a path such as `.spec['a.b'].c`.
fn names(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix("['") {
            let (name, tail) = quoted_name(quoted)?;
            names.push(name);
            rest = tail.strip_prefix(']')?;
        } else {
            let plain = rest.strip_prefix('.')?;
            let end = plain.find(['.', '[', ']']).unwrap_or(plain.len());
            let name = &plain[..end];
            if name.is_empty() {
                return None;
            }
            names.push(name.to_owned());
            rest = &plain[end..];
        }
    }
    (!names.is_empty()).then_some(names)
}

/// A name up to its closing quote, and what follows that.
fn quoted_name(quoted: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = quoted.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '\'' => return Some((name, &quoted[index + 1..])),
            '\\' => name.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                c @ ('\'' | '\\') => c,
                _ => return None,
            }),
            other => name.push(other),
        }
    }
    None
}
