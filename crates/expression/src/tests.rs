//! Expressions in, values and faults out.

mod costs;

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use schema::Schema;
use serde_json::{Value as Json, json};

use crate::{
    Activation, AuthorizationDecision, AuthorizationRequest, Authorizer, Budget, CostError,
    Environment, EvaluationError, Program, Shape, Type, Value,
};

fn environment() -> Environment {
    let schema = json!({"type": "object", "properties": {
        "name": {"type": "string", "maxLength": 10},
        "count": {"type": "integer"},
        "ratio": {"type": "number"},
        "on": {"type": "boolean"},
        "when": {"type": "string", "format": "date-time"},
        "span": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": true},
        "a-b": {"type": "string"},
        "namespace": {"type": "string"},
        "list": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
        "pairs": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {
                "k": {"type": "string"}, "v": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "empty": {"type": "string", "nullable": true},
        "long": {"type": "array", "items": {"type": "string"}},
        "open": {"x-kubernetes-preserve-unknown-fields": true},
    }});
    let schema = Schema::from_openapi(&schema).expect("readable");
    let shape = Shape::of_schema(&schema, true, "selfType").expect("an object");
    Environment::new().with("self", shape).with_dynamic("object")
}

fn object() -> Json {
    json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "it", "labels": {"a": "b"}},
        "name": "abc", "count": 3, "ratio": 1.5, "on": true, "when": "2024-02-29T10:20:30Z",
        "span": "1h30m", "port": "80%", "a-b": "dash", "namespace": "ns", "list": ["x", "y"],
        "set": [1, 2], "pairs": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "map": {"m": 7}, "empty": null})
}

fn run(text: &str) -> Result<Value, String> {
    let environment = environment();
    let program = Program::compile(&environment, text).map_err(|error| {
        error.issues.first().map(|issue| issue.message.clone()).unwrap_or_default()
    })?;
    let shape = Schema::from_openapi(&schema_of()).expect("readable");
    let activation = Activation::new()
        .with("self", Value::from_resource(&object(), &shape))
        .with("object", Value::from_json(&object()));
    program.evaluate(&activation, &mut Budget::default()).map_err(|error| error.to_string())
}

fn schema_of() -> Json {
    json!({"type": "object", "properties": {
        "name": {"type": "string"}, "count": {"type": "integer"}, "ratio": {"type": "number"},
        "on": {"type": "boolean"}, "when": {"type": "string", "format": "date-time"},
        "span": {"type": "string", "format": "duration"},
        "port": {"x-kubernetes-int-or-string": true}, "a-b": {"type": "string"},
        "namespace": {"type": "string"},
        "list": {"type": "array", "items": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
        "pairs": {"type": "array", "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {
                "k": {"type": "string"}, "v": {"type": "integer"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "empty": {"type": "string", "nullable": true},
    }})
}

/// Each of these is true.
const TRUE: &str = r#"
1 + 2 * 3 == 7 && (1 + 2) * 3 == 9
7 / 2 == 3 && -7 / 2 == -3 && 7 % 3 == 1 && 7.0 / 2.0 == 3.5
1 < 2 && 2u > 1u && 1.5 >= 1 && 1 <= 1u && 'a' < 'b' && b'a' < b'b'
dyn(1) == 1.0 && 1 == dyn(1u) && dyn(1) != 1.5
-9223372036854775808 < 0 && 0xff == 255 && 1e3 == 1000.0 && .5 == 0.5
'a' + "b" == r'ab' && '\u00e9' == 'é' && "\x41\101\n" == 'AA\n' && '''x
y''' == 'x\ny'
size('äöü') == 3 && 'abc'.size() == 3 && [1,2].size() == 2 && size({'a': 1}) == 1 && size(b'ä') == 2
!false && !!true && - -1 == 1
true ? true : false
false && 1/0 == 1 || true
1/0 == 1 || true
true || 1/0 == 1
[1, 2, 3].all(x, x > 0) && [1, 2].exists(x, x == 2) && [1, 2].exists_one(x, x == 2)
[1, 2, 3].map(x, x * 2) == [2, 4, 6] && [1, 2, 3].map(x, x > 1, x * 2) == [4, 6]
[1, 2, 3].filter(x, x > 1) == [2, 3] && {'a': 1, 'b': 2}.all(k, k in ['a', 'b'])
[1, 0].exists(x, 1 / x == 1) && ![0, 1].all(x, 1 / x == 2)
[10, 20].all(i, v, v == (i + 1) * 10) && {'a': 1}.exists(k, v, k == 'a' && v == 1)
[1, 2].transformList(i, v, i + v) == [1, 3] && [1, 2].transformList(i, v, v > 1, v) == [2]
[1, 2].transformMap(i, v, v * 2) == {0: 2, 1: 4} && {'a': 1}.transformMap(k, v, v + 1) == {'a': 2}
['x', 'y'].transformMapEntry(i, v, {v: i}) == {'x': 0, 'y': 1}
cel.bind(x, 5, x * x) == 25 && cel.bind(x, [1], x + x) == [1, 1]
has(self.name) && !has(self.missing_is_an_error) || true
has(object.name) && !has(object.nothing) && has({'a': 1}.a) && !has({'a': 1}.b)
self.name == 'abc' && self.count + 1 == 4 && self.ratio > 1.0 && self.on
self.a__dash__b == 'dash' && self.__namespace__ == 'ns' && object.namespace == 'ns'
self.metadata.name == 'it' && self.kind == 'Thing' && object.metadata.labels.a == 'b'
self.when.getFullYear() == 2024 && self.when.getMonth() == 1 && self.when.getDate() == 29
self.when > timestamp('2024-01-01T00:00:00Z') && self.when.getHours('+02:00') == 12
self.when.getDayOfWeek() == 4 && self.when.getDayOfYear() == 59 && self.when.getMinutes() == 20
self.span == duration('90m') && self.span.getHours() == 1 && self.span.getMinutes() == 90
self.when + duration('1h') - self.when == duration('3600s')
type(self.port) == string && (type(self.port) == int ? self.port > 5 : self.port.endsWith('%'))
self.list == ['x', 'y'] && self.list[0] == 'x' && 'y' in self.list && self.list + ['z'] == ['x', 'y', 'z']
self.set == [2, 1] && self.set + [2, 3] == [1, 2, 3]
self.pairs == dyn([{'k': 'b', 'v': dyn(2)}, {'k': 'a', 'v': dyn(1)}])
self.map.m == 7 && self.map['m'] == 7 && 'm' in self.map && self.map.all(k, self.map[k] > 1)
[dyn(1), 2.0, 'a'].size() == 3
self.?name.orValue('x') == 'abc' && object.?nothing.orValue('x') == 'x' && !object.?a.?b.hasValue()
object.list[?0].value() == 'x' && !object.list[?9].hasValue() && {'a': 1}[?'b'].or(optional.of(3)).value() == 3
optional.of(1).optMap(x, x + 1) == optional.of(2) && !optional.none().hasValue()
[?object.?nothing, 1] == [1] && {?'a': object.?nothing, 'b': 2}.size() == 1
optional.of(1).optFlatMap(x, optional.of(x + 1)).value() == 2 && !optional.ofNonZeroValue('').hasValue()
'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo') && 'hello'.matches('^h.*o$')
'hello'.charAt(1) == 'e' && 'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3 && 'hello'.indexOf('z') == -1
'aBc'.lowerAscii() == 'abc' && 'aBc'.upperAscii() == 'ABC' && ' a '.trim() == 'a'
'a-b-c'.replace('-', '.') == 'a.b.c' && 'a-b-c'.replace('-', '.', 1) == 'a.b-c'
'a,b,c'.split(',') == ['a', 'b', 'c'] && 'abc'.split('') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']
'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco' && ['a', 'b'].join('-') == 'a-b'
'%s is %d years, %.2f%% and %x'.format(['he', dyn(3), 1.234, 255]) == 'he is 3 years, 1.23% and ff'
'%s %s'.format([dyn([dyn(1), 'a']), {'k': true}]) == '[1, "a"] {"k": true}'
strings.quote('a"b') == '"a\\"b"' && jsonpatch.escapeKey('a/b~c') == 'a~1b~0c'
[1, 2, 3].sum() == 6 && [1, 3, 2].max() == 3 && [2, 1].min() == 1 && [1, 2, 2].isSorted() && ![2, 1].isSorted()
[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [duration('1s')].sum() == duration('1s')
[3, 1, 2].sort() == [1, 2, 3] && ['bb', 'a'].sortBy(x, size(x)) == ['a', 'bb'] && [1, 1, 2].distinct() == [1, 2]
[[1], [2, 3]].flatten() == [1, 2, 3] && [1, 2, 3].slice(1, 3) == [2, 3] && lists.range(3) == [0, 1, 2]
sets.contains([1, 2], [2]) && sets.equivalent([1, 2, 2], [2, 1]) && sets.intersects([1, 2], [2, 3])
'abc 123'.find('[0-9]+') == '123' && '1 2 3'.findAll('[0-9]') == ['1', '2', '3'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2']
url('https://user@ex.com:80/a?k=v&k=w').getHost() == 'ex.com:80' && url('https://ex.com:80/a').getPort() == '80'
url('https://[::1]:80/a b?x=y').getHostname() == '::1' && url('/a b').getEscapedPath() == '/a%20b'
url('https://e.com/?k=v&k=w').getQuery() == {'k': ['v', 'w']} && isURL('/abs') && !isURL('rel') && url('http://a/b').getScheme() == 'http'
ip('192.168.0.1').family() == 4 && ip('::1').isLoopback() && isIP('1.2.3.4') && !isIP('1.2.3') && !isIP('::ffff:1.2.3.4')
ip.isCanonical('::1') && !ip.isCanonical('0:0::1') && string(ip('::1')) == '::1' && ip('8.8.8.8').isGlobalUnicast()
cidr('192.168.0.0/24').containsIP('192.168.0.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8')
cidr('10.0.0.1/8').prefixLength() == 8 && cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && !isCIDR('10.0.0.0')
quantity('1Gi').isGreaterThan(quantity('1G')) && quantity('500m').add(quantity('500m')).asInteger() == 1 && quantity('1k') == quantity('1000')
isQuantity('20') && !isQuantity('a') && quantity('-1').sign() == -1 && quantity('1.5').asApproximateFloat() == 1.5 && !quantity('50m').isInteger()
quantity('5').sub(2).compareTo(quantity('3')) == 0
semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('1.0.0-a') && !isSemver('1.0') && semver('v01.2', true).minor() == 2
!format.dns1123Label().validate('abc').hasValue() && format.named('uuid').value().validate('x').value() == ['does not match the UUID format']
int('5') == 5 && string(5) == '5' && double('1.5') == 1.5 && uint(5) == 5u && bool('true') && string(1.0) == '1' && int(5.9) == 5
bytes('a') == b'a' && string(b'a') == 'a' && string(duration('90s')) == '90s' && base64.encode(b'hi') == 'aGk=' && base64.decode('aGk=') == b'hi'
type(1) == int && type('a') == string && type([]) == list && type({}) == map && type(null) == null_type && type(1) != type(1.0)
[].sum() == 0 && duration('0s') == dyn([duration('1s')].filter(x, false).sum())
'%e'.format([3.14]) == '3.140000 × 10⁰⁰' && '%d %s'.format([1, 'abc']) == '1 abc'
self.namespace == 'ns' && has(self.namespace) && url('https:://kubernetes.io/').getHostname() == ''
optional.ofNonZeroValue(timestamp('0001-01-01T00:00:00Z')) == optional.none() && !has(self.empty)
dyn('a') != 1 && null == null && dyn(null) != 1
format.dns1123Label().validate('abc') != null && null != optional.none() && optional.of(1) != null
{'a': {'b': [1]}} == {'a': {'b': [1]}} && {1: 'a'}[1] == 'a' && {1: 'a'}[dyn(1u)] == 'a' && {true: 1}[true] == 1
google.protobuf.Duration == type(duration('1s')) && [1, 2][dyn(1.0)] == 2
"#;

#[test]
fn expressions_that_are_true() {
    let mut text = String::new();
    let mut wrong = Vec::new();
    for line in TRUE.lines().filter(|line| !line.is_empty()) {
        // One of them has a line break in a string.
        text.push_str(line);
        if line.ends_with("'''x") {
            text.push('\n');
            continue;
        }
        let result = run(&text);
        let excused = text.contains("|| true");
        if !excused && result != Ok(Value::Bool(true)) {
            wrong.push(format!("{text}: {result:?}"));
        }
        text.clear();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn failures_read_as_upstreams() {
    for (text, expected) in [
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 > 0", "integer overflow"),
        ("object.nothing == 1", "no such key: nothing"),
        ("self.list[5] == 'a'", "index out of bounds: 5"),
        ("{'a': 1}['b'] == 1", "no such key: b"),
        ("object.name + 1 == 2", "no such overload"),
        ("object.name && true", "no such overload"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("int('x') == 1", "type conversion error from 'x' to 'int'"),
        ("{'a': 1, 'a': 2}.size() == 1", "Failed with repeated key: a"),
        ("[dyn(1)].map(x, x.size()) == []", "no such overload"),
    ] {
        assert_eq!(run(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn faults_read_as_upstreams() {
    for (text, expected) in [
        ("x", "undeclared reference to 'x' (in container '')"),
        ("self.foo", "undefined field 'foo'"),
        ("self.open", "undefined field 'open'"),
        ("self.metadata.labels", "undefined field 'labels'"),
        ("foo(1)", "undeclared reference to 'foo' (in container '')"),
        ("self.name.foo()", "undeclared reference to 'foo' (in container '')"),
        ("self.name && true", "expected type 'bool' but found 'string'"),
        ("self.name + 1", "found no matching overload for '_+_' applied to '(string, int)'"),
        ("self.name == 1", "found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.name == null", "found no matching overload for '_==_' applied to '(string, null)'"),
        (
            "self.name.startsWith(1)",
            "found no matching overload for 'startsWith' applied to 'string.(int)'",
        ),
        ("self.count.x", "type 'int' does not support field selection"),
        ("[1, 'a']", "expected type 'int' but found 'string'"),
        (
            "self.count.all(x, true)",
            "expression of type 'int' cannot be range of a comprehension (must be list, map, or \
             dynamic)",
        ),
        ("self.name.matches('(')", "invalid matches argument"),
        ("self.name.matches('x++')", "invalid matches argument"),
        ("timestamp(-62135596801) == timestamp(0)", "invalid timestamp argument"),
        ("duration('x') == duration('1s')", "invalid duration argument"),
        ("timestamp('x') == timestamp('y')", "invalid timestamp argument"),
        ("[1].all(x.y, true)", "argument must be a simple name"),
        ("has(1)", "invalid argument to has() macro"),
        ("for", "reserved identifier: for"),
        (
            "1 +",
            "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', \
             'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
        ),
        ("Object{}", "undeclared reference to 'Object' (in container '')"),
    ] {
        assert_eq!(run(text), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn faults_show_their_place() {
    let error = Program::compile(&environment(), "1 == 1 &&\n  self.foo").expect_err("a fault");
    assert_eq!(
        error.to_string(),
        "ERROR: <input>:2:7: undefined field 'foo'\n |   self.foo\n | ......^"
    );
}

#[test]
fn costs_are_estimated_as_upstream_does() {
    let max = |text: &str| Program::compile(&environment(), text).expect("compiles").cost().max;
    for (text, expected) in [
        ("true", 0),
        ("self.count > 1", 3),
        ("self.name == 'abc'", 3),
        // The longest name has 10 characters of up to 4 bytes: 40 / 10 characters a step.
        ("self.name.contains('abc')", 2 + 4),
        ("self.name + self.name == 'a'", 4 + 8 + 1),
        // Per item: the condition (2), the accumulator, the item, and comparing one character.
        ("self.list.all(x, x == 'a')", 2 + 1 + 5 * (2 + 1 + 1 + 1)),
        ("self.list.exists(x, self.list.exists(y, x == y))", 2 + 1 + 5 * (3 + 1 + 3 + 5 * 8)),
        // With two variables the value has the size of an item, and what `cel.bind` names that of its
        // value, unlike in Kubernetes v1.32, where new rules may use neither.
        ("self.list.all(i, x, x.contains('abc'))", 2 + 1 + 5 * (2 + 1 + 1 + 2)),
        ("cel.bind(x, self.name, x.contains('abc'))", 10 + 2 + 1 + 4),
    ] {
        assert_eq!(max(text), expected, "{text}");
    }
    assert!(max("self.long.all(x, self.long.all(y, x == y))") > 100_000_000_000);
}

#[test]
fn sizes_that_nothing_bounds_are_estimated_from_the_request() {
    let array = |items: Json| json!({"type": "array", "items": items});
    let map = |values: Json| json!({"type": "object", "additionalProperties": values});
    let bounded = |mut schema: Json, keyword: &str, max: u64| {
        schema[keyword] = json!(max);
        schema
    };
    let plain = |ty: &str| json!({"type": ty});
    let dated = |format: &str| json!({"type": "string", "format": format});
    for (schema, rule, expected) in [
        (array(plain("number")), "self.all(x, true)", 4_718_591),
        (array(plain("string")), "self.all(x, true)", 3_145_727),
        (array(plain("boolean")), "self.all(x, true)", 1_887_437),
        (bounded(array(plain("number")), "maxItems", 10), "self.all(x, true)", 32),
        (array(array(plain("number"))), "self.all(x, true)", 3_145_727),
        (map(plain("number")), "self.all(x, true)", 1_348_169),
        (map(plain("string")), "self.all(x, true)", 1_179_647),
        (map(dated("date-time")), "self.all(x, true)", 349_526),
        (array(dated("date")), "self.all(x, true)", 725_936),
        (plain("string"), "self.contains('test')", 314_574),
        (bounded(plain("string"), "maxLength", 10), "self.contains('test')", 5),
        (plain("string"), "self.startsWith('test')", 2),
        (plain("string"), "size(self + \"hello\") > size(\"hello\")", 314_578),
        (array(plain("number")), "self[1] == 0.0", 2),
        (array(plain("string")), "self[1] == self[1]", 314_577),
        (bounded(array(plain("number")), "maxItems", 10), "self.all(x, self.all(y, true))", 352),
        (plain("string"), "self.matches(\"x\")", 314_574),
        (plain("string"), "self.matches(\"\")", 1),
        (array(plain("number")), "self.all(x, x == 0.0)", 6_291_454),
        (map(plain("number")), "self[\"x\"] == 0.0", 2),
        (array(dated("duration")), "self[0].getHours() == 2", 4),
        (plain("string"), "self.find('[0-9]+') == ''", 629_147),
    ] {
        let parsed = Schema::from_openapi(&schema).expect("readable");
        let shape = Shape::of_schema(&parsed, false, "selfType").expect("a shape");
        let environment = Environment::new().with("self", shape);
        let program = Program::compile(&environment, rule).expect("compiles");
        assert_eq!(program.cost().max, expected, "{schema} {rule}");
    }
}

#[test]
fn costs_are_counted_and_bounded() {
    let environment = Environment::new().with_dynamic("x");
    let evaluate = |text: &str, budget: &mut Budget| {
        let program = Program::compile(&environment, text).expect("compiles");
        let numbers: Vec<Value> = (0..2000).map(Value::Int).collect();
        let activation = Activation::new().with("x", Value::list(numbers));
        program.evaluate(&activation, budget)
    };
    let mut budget = Budget::new(100, 50);
    assert_eq!(evaluate("1 + 1 == 2 && x.size() > 1", &mut budget), Ok(Value::Bool(true)));
    assert_eq!(budget.remaining(), 100 - 5);
    let error = evaluate("x.all(i, i >= 0)", &mut budget);
    assert_eq!(error, Err(EvaluationError::Cost(CostError::Call)));
    let mut budget = Budget::new(100, 1000);
    let error = evaluate("x.all(i, i >= 0)", &mut budget);
    assert_eq!(error, Err(EvaluationError::Cost(CostError::Total)));
    assert!(budget.is_exhausted());
    // A failure for its cost is not absorbed by what could decide otherwise.
    let error = evaluate("x.all(i, x.all(j, i + j >= 0)) || true", &mut Budget::default());
    assert_eq!(error, Err(EvaluationError::Cost(CostError::Call)));
}

#[test]
fn values_cannot_grow_without_bound() {
    let environment = Environment::new();
    let double = (0..60).fold("x".to_owned(), |inner, _| format!("cel.bind(x, [x, x], {inner})"));
    let text = format!("cel.bind(x, [1], {double}) == [1]");
    let program = Program::compile(&environment, &text);
    if let Ok(program) = program {
        let error = program.evaluate(&Activation::new(), &mut Budget::default());
        assert!(matches!(error, Err(EvaluationError::Failed(_))), "{error:?}");
    }
}

#[test]
fn variables_are_evaluated_once_and_in_order() {
    let mut environment = Environment::new().with_dynamic("object").with_variables();
    let names = ["a", "b", "broken"];
    let texts = ["object.n + 1", "variables.a * 2", "object.nothing"];
    let mut programs = Vec::new();
    for (name, text) in names.iter().zip(texts) {
        let program = Program::compile(&environment, text).expect("compiles");
        environment.add_variable(name, &program);
        programs.push(program);
    }
    let error = Program::compile(&environment, "variables.c").expect_err("a fault");
    assert_eq!(error.issues[0].message, "undefined field 'c'");
    let mut activation = Activation::new().with("object", Value::from_json(&json!({"n": 1})));
    for (name, program) in names.iter().zip(&programs) {
        activation.add_variable(name, program);
    }
    let rule = Program::compile(&environment, "variables.b == 4 && variables.b == variables.a * 2")
        .expect("compiles");
    let mut budget = Budget::default();
    assert_eq!(rule.evaluate(&activation, &mut budget), Ok(Value::Bool(true)));
    let first = budget.remaining();
    assert_eq!(rule.evaluate(&activation, &mut budget), Ok(Value::Bool(true)));
    assert!(first - budget.remaining() < 10_000_000 - first, "evaluated again");
    let rule = Program::compile(&environment, "variables.broken == 1").expect("compiles");
    assert_eq!(
        rule.evaluate(&activation, &mut budget).expect_err("fails").to_string(),
        "composited variable \"broken\" fails to evaluate: no such key: nothing"
    );
}

#[derive(Default)]
struct Recorder(Mutex<Vec<AuthorizationRequest>>);

impl Authorizer for Recorder {
    fn authorize(&self, request: &AuthorizationRequest) -> AuthorizationDecision {
        self.0.lock().expect("no panic").push(request.clone());
        AuthorizationDecision { allowed: true, reason: "because".to_owned(), error: None }
    }
}

#[test]
fn the_authorizer_is_asked() {
    let environment = Environment::new().with_authorizer(true);
    let recorder = Arc::new(Recorder::default());
    let authorizer: Arc<dyn Authorizer> = recorder.clone();
    let resource = AuthorizationRequest { resource: "pods".to_owned(), ..Default::default() };
    let activation = Activation::new()
        .with("authorizer", Value::authorizer(Arc::clone(&authorizer)))
        .with("authorizer.requestResource", Value::request_resource(authorizer, resource));
    for text in [
        "authorizer.group('apps').resource('deployments').subresource('scale').namespace('n').name('x').check('get').allowed()",
        "authorizer.path('/healthz').check('get').reason() == 'because'",
        "!authorizer.requestResource.check('create').errored()",
        "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').allowed()",
    ] {
        let program = Program::compile(&environment, text).expect("compiles");
        let result = program.evaluate(&activation, &mut Budget::default());
        assert_eq!(result, Ok(Value::Bool(true)), "{text}");
    }
    let asked = recorder.0.lock().expect("no panic");
    assert_eq!(asked[0].subresource, "scale");
    assert_eq!(asked[1].path.as_deref(), Some("/healthz"));
    assert_eq!((asked[2].resource.as_str(), asked[2].verb.as_str()), ("pods", "create"));
    assert_eq!(asked[3].service_account, Some(("ns".to_owned(), "sa".to_owned())));
}

#[test]
fn objects_are_made_and_written() {
    let environment = Environment::new().with_constructors().with_dynamic("object");
    let text = "Object{spec: Object.spec{replicas: object.n, ?none: object.?nothing}}";
    let program = Program::compile(&environment, text).expect("compiles");
    assert_eq!(program.result_type().to_string(), "Object");
    let activation = Activation::new().with("object", Value::from_json(&json!({"n": 3})));
    let value = program.evaluate(&activation, &mut Budget::default()).expect("fine");
    assert_eq!(value.to_json(), Ok(json!({"spec": {"replicas": 3}})));
    let text = "[JSONPatch{op: 'add', path: '/a', value: {'b': 1}}]";
    let program = Program::compile(&environment, text).expect("compiles");
    assert_eq!(*program.result_type(), Type::list(Type::named("JSONPatch")));
    let value = program.evaluate(&activation, &mut Budget::default()).expect("fine");
    assert_eq!(value.to_json(), Ok(json!([{"op": "add", "path": "/a", "value": {"b": 1}}])));
    let error = Program::compile(&environment, "JSONPatch{x: 1}").expect_err("a fault");
    assert_eq!(error.issues[0].message, "undefined field 'x'");
}

#[test]
fn deep_and_long_texts_are_refused_in_time() {
    let environment = environment();
    for text in [
        "(".repeat(50_000),
        "[".repeat(50_000),
        format!("{}1", "-".repeat(50_001)),
        format!("{}true", "!".repeat(50_001)),
        format!("1{}", " + 1".repeat(20_000)),
        format!("true{}", " && true".repeat(10_000)),
        format!("self{}", ".a".repeat(40_000)),
        format!("x{}", "[0]".repeat(30_000)),
        "true ? ".repeat(10_000),
        "{1:".repeat(10_000),
        "a".repeat(200_000),
        (0..200).fold("1".to_owned(), |inner, _| format!("cel.bind(a, {{1: 1}}, {inner})")),
    ] {
        if let Ok(program) = Program::compile(&environment, &text) {
            let _ = program.evaluate(&Activation::new(), &mut Budget::default());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_text_does_not_panic(text in any::<String>()) {
        let _ = run(&text);
    }

    #[test]
    fn text_of_pieces_does_not_panic(pieces in prop::collection::vec(prop::sample::select(vec![
        "self", "object", ".name", ".list", "[0]", "(", ")", "[", "]", "{", "}", ",", ":", "?", " + ",
        " - ", " * ", " / ", " % ", " == ", " in ", "!", "-", "&&", "||", "1", "0", "2u", "1.5", "'a'",
        "b'a'", "null", "true", ".all(x, ", ".map(x, x)", ".exists(x, x == ", "x", ".size()", "size(",
        "string(", "duration('1s')", "timestamp('2024-01-01T00:00:00Z')", ".getHours()", ".?name", "[?0]",
        "optional.none()", ".orValue(", "cel.bind(x, ", "9223372036854775807", ".split('')",
        ".replace('', 'aa')", ".join()", ".sum()", ".max()", ".sort()", "ip('::1')", "quantity('1Gi')",
        ".format([", "'%s %d'", ".transformMap(i, v, ", ".flatten()", ".substring(", "lists.range(5)",
    ]), 0..24)) {
        let _ = run(&pieces.concat());
    }
}
