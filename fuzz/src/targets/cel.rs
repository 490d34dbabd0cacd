//! CEL: compiled, checked, estimated and evaluated within a budget, on an object that is part of the input.

use std::sync::{Arc, LazyLock};

use expression::{
    Activation, AuthorizationDecision, AuthorizationRequest, Authorizer, Budget, Environment,
    Program, Shape, Value,
};
use schema::Schema;

use super::{USUAL, halves, joined};
use crate::{Target, seeds};

pub(super) const TARGET: Target = Target {
    name: "cel",
    seeds: || {
        let widget = seeds::widget().to_string();
        EXPRESSIONS
            .iter()
            .map(|text| joined(text, &widget))
            .chain(super::texts(EXPRESSIONS))
            .collect()
    },
    words: &[
        "self.",
        "oldSelf.",
        "object.",
        "has(",
        ".all(x, ",
        ".exists(x, ",
        ".map(x, ",
        ".filter(x, ",
        ".exists_one(x, ",
        "size(",
        ".matches('",
        "==",
        "!=",
        "&&",
        "||",
        "? 1 : 2",
        " in ",
        "[1, 2]",
        "{'a': 1}",
        "\"\"\"",
        "r'",
        "b'",
        "\\u00e9",
        "0x7fffffffffffffff",
        "9223372036854775807",
        "-9223372036854775808",
        "1u",
        "1e300",
        ".?",
        "[?",
        "optional.of(",
        ".orValue(",
        "duration('1h')",
        "timestamp('2026-01-02T03:04:05Z')",
        "quantity('1Gi')",
        "url('",
        "ip('",
        "cidr('",
        "semver('1.2.3')",
        ".format([",
        "'%s %d %.3f %x'",
        ".split(',')",
        ".replace('",
        ".find('",
        ".findAll('",
        ".sort()",
        ".sum()",
        ".indexOf(",
        ".substring(",
        ".join()",
        "string(",
        "int(",
        "double(",
        "uint(",
        "bytes(",
        "dyn(",
        "type(",
        "cel.bind(x, ",
        "sets.contains(",
        "authorizer.path('/a').check('get').allowed()",
        "Object{",
        "variables.",
        "true",
        "false",
        "null",
    ],
    input_bytes_max: 8 << 10,
    run,
    ..USUAL
};

const EXPRESSIONS: &[&str] = &[
    "self.spec.replicas <= 10 && self.spec.tags.all(t, t.matches('^[a-z]+$')) || !has(self.spec.size)",
    "self.spec.parts.exists_one(p, p.name == 'p') ? self.spec.parts.map(p, p.name).join(',') : 'none'",
    "oldSelf.?spec.?size.orValue('S') == self.spec.size",
    "object.metadata.labels['app'].startsWith('w') && object.spec.containers.filter(c, c.image.contains(':')).size() > 0",
    "quantity('1Gi').isGreaterThan(quantity('512Mi')) && quantity('1').add(2).asInteger() == 3",
    "duration('1h30m') + timestamp('2026-01-02T03:04:05Z') > timestamp('2026-01-02T03:04:05.5+01:00')",
    "'%s has %d of %.2f: %x %b %e'.format(['a', 1, 2.5, 255, 7, 1.5]) + url('https://a:1/b?c=d').getHost()",
    "ip('10.0.0.1').family() == 4 && cidr('10.0.0.0/8').containsIP('10.1.2.3') && isSemver('1.2.3')",
    "authorizer.group('apps').resource('deployments').namespace('a').name('b').check('create').allowed()",
    "Object{spec: Object.spec{replicas: 1 + 2 * 3 / 4 % 5 - -6}}",
    "[1, 2.0, 3u, b'a', \"b\", null, {'a': [true]}].sort() == dyn([3]) || type(1) == int",
    "'abc'.substring(1).upperAscii().replace('B', 'x', 1).split('').reverse() == ['c'] && 'a,b'.findAll('[a-z]').size() == 2",
];

#[derive(Debug)]
struct Half;

impl Authorizer for Half {
    fn authorize(&self, request: &AuthorizationRequest) -> AuthorizationDecision {
        AuthorizationDecision {
            allowed: request.verb.len().is_multiple_of(2),
            reason: request.path.clone().unwrap_or_default(),
            error: (request.name == "error").then(|| "error".to_owned()),
        }
    }
}

static SCHEMA: LazyLock<Schema> = LazyLock::new(seeds::widget_schema);
static TYPED: LazyLock<Environment> = LazyLock::new(|| {
    let shape = Shape::of_schema(&SCHEMA, true, "object").unwrap_or_else(Shape::dynamic);
    Environment::new().with("self", shape.clone()).with("oldSelf", shape.optional())
});
static DYNAMIC: LazyLock<Environment> = LazyLock::new(|| {
    let environment =
        Environment::new().with_dynamic("self").with_dynamic("oldSelf").with_dynamic("object");
    environment.with_authorizer(false).with_constructors()
});

fn run(input: &[u8]) {
    let (text, object) = halves(input);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let object = codec::json::decode_any(object).unwrap_or_else(|_| seeds::pod());
    let typed = Value::from_resource(&object, &SCHEMA);
    evaluate(&TYPED, text, &typed);
    evaluate(&DYNAMIC, text, &Value::from_json(&object));
}

fn evaluate(environment: &Environment, text: &str, object: &Value) {
    let program = match Program::compile(environment, text) {
        Ok(program) => program,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let activation = Activation::new()
        .with("self", object.clone())
        .with("oldSelf", object.clone())
        .with("object", object.clone())
        .with("authorizer", Value::authorizer(Arc::new(Half)));
    let _cost = program.cost();
    match program.evaluate(&activation, &mut Budget::default()) {
        Ok(value) => drop(value.to_json()),
        Err(error) => drop(error.to_string()),
    }
}
