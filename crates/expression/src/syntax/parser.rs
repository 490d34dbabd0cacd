//! From tokens to the tree: precedence climbing with a bound on nesting.

use std::sync::Arc;

use api::name::EXPRESSION_WORDS;

use super::lexer::{Token, TokenKind, tokens};
use super::{Element, Entry, Fault, Field, Form, Node, macros};
use crate::limits::{EXPRESSION_CODE_POINTS_MAX, EXPRESSION_DEPTH_MAX, NESTING_MAX};
use crate::value::Value;

/// Binary operators: sign, name of the function, precedence (higher binds tighter).
const BINARY: [(&str, &str, u8); 14] = [
    ("||", "_||_", 1),
    ("&&", "_&&_", 2),
    ("<", "_<_", 3),
    ("<=", "_<=_", 3),
    (">=", "_>=_", 3),
    (">", "_>_", 3),
    ("==", "_==_", 3),
    ("!=", "_!=_", 3),
    ("in", "@in", 3),
    ("+", "_+_", 4),
    ("-", "_-_", 4),
    ("*", "_*_", 5),
    ("/", "_/_", 5),
    ("%", "_%_", 5),
];
const PRECEDENCE_OR: u8 = 1;
const PRECEDENCE_AND: u8 = 2;
const EXPECTED: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, \
     NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) root: Node,
    /// Identifiers given out.
    pub(crate) nodes: usize,
}

/// Reads an expression and expands its macros.
pub(crate) fn parse(source: &[char]) -> Result<Parsed, Fault> {
    if source.len() > EXPRESSION_CODE_POINTS_MAX {
        let message = format!(
            "expression code point size exceeds limit: size: {}, limit {EXPRESSION_CODE_POINTS_MAX}",
            source.len()
        );
        return Err(Fault { offset: 0, message });
    }
    let tokens = tokens(source)?;
    let mut parser = Parser { source, tokens, at: 0, builder: Builder::default(), depth: 0 };
    let root = parser.expression()?;
    if parser.token().kind != TokenKind::End {
        return parser.unexpected("<EOF>");
    }
    Ok(Parsed { root, nodes: parser.builder.next })
}

/// Makes nodes, numbered and not too deep.
#[derive(Default)]
pub(super) struct Builder {
    next: usize,
}

impl Builder {
    pub(super) fn node(&mut self, offset: usize, form: Form) -> Result<Node, Fault> {
        let depth = form.depth();
        if depth > EXPRESSION_DEPTH_MAX {
            return too_deep(offset);
        }
        let id = self.next;
        self.next += 1;
        Ok(Node { id, offset, depth, form })
    }

    pub(super) fn call(
        &mut self,
        offset: usize,
        function: &str,
        arguments: Vec<Node>,
    ) -> Result<Node, Fault> {
        self.node(offset, Form::Call { function: function.into(), target: None, arguments })
    }

    pub(super) fn name(&mut self, offset: usize, name: &str) -> Result<Node, Fault> {
        self.node(offset, Form::Name(name.into()))
    }

    pub(super) fn literal(&mut self, offset: usize, value: Value) -> Result<Node, Fault> {
        self.node(offset, Form::Literal(value))
    }
}

fn too_deep<T>(offset: usize) -> Result<T, Fault> {
    let message = format!("expression recursion limit exceeded: {EXPRESSION_DEPTH_MAX}");
    Err(Fault { offset, message })
}

struct Parser<'a> {
    source: &'a [char],
    tokens: Vec<Token>,
    at: usize,
    builder: Builder,
    depth: usize,
}

impl Parser<'_> {
    fn token(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn offset(&self) -> usize {
        self.token().offset
    }

    fn is(&self, sign: &str) -> bool {
        matches!(&self.token().kind, TokenKind::Sign(found) if *found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        if self.take(sign) { Ok(()) } else { self.unexpected(&format!("'{sign}'")) }
    }

    fn unexpected<T>(&self, expecting: &str) -> Result<T, Fault> {
        let token = self.token();
        let shown = match self.tokens.get(self.at + 1) {
            _ if token.kind == TokenKind::End => "<EOF>".to_owned(),
            Some(next) => {
                let text: String = self.source[token.offset..next.offset].iter().collect();
                text.trim_end().to_owned()
            }
            None => "<EOF>".to_owned(),
        };
        let message = format!("Syntax error: mismatched input '{shown}' expecting {expecting}");
        Err(Fault { offset: token.offset, message })
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth >= NESTING_MAX {
            return too_deep(self.offset());
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn expression(&mut self) -> Result<Node, Fault> {
        self.deeper(|parser| {
            let condition = parser.binary(PRECEDENCE_OR)?;
            let offset = parser.offset();
            if !parser.take("?") {
                return Ok(condition);
            }
            let yes = parser.binary(PRECEDENCE_OR)?;
            parser.expect(":")?;
            let no = parser.expression()?;
            parser.builder.call(offset, "_?_:_", vec![condition, yes, no])
        })
    }

    fn operator(&self) -> Option<(&'static str, u8)> {
        let sign = match &self.token().kind {
            TokenKind::Sign(sign) => *sign,
            TokenKind::Name(name) if &**name == "in" => "in",
            _ => return None,
        };
        let found = BINARY.iter().find(|(operator, _, _)| *operator == sign)?;
        Some((found.1, found.2))
    }

    fn binary(&mut self, least: u8) -> Result<Node, Fault> {
        let mut left = self.unary()?;
        while let Some((function, precedence)) = self.operator().filter(|found| found.1 >= least) {
            if precedence <= PRECEDENCE_AND {
                left = self.chain(left, function, precedence)?;
                continue;
            }
            let offset = self.offset();
            self.at += 1;
            let right = self.binary(precedence + 1)?;
            left = self.builder.call(offset, function, vec![left, right])?;
        }
        Ok(left)
    }

    /// All operands of one `&&` or `||` chain, joined into a balanced tree.
    fn chain(&mut self, first: Node, function: &str, precedence: u8) -> Result<Node, Fault> {
        let mut operands = vec![first];
        let mut offsets = Vec::new();
        while self.operator().is_some_and(|found| found.1 == precedence) {
            offsets.push(self.offset());
            self.at += 1;
            operands.push(self.binary(precedence + 1)?);
        }
        self.balance(function, &mut operands.into_iter(), &offsets)
    }

    fn balance(
        &mut self,
        function: &str,
        operands: &mut std::vec::IntoIter<Node>,
        offsets: &[usize],
    ) -> Result<Node, Fault> {
        if offsets.is_empty() {
            return match operands.next() {
                Some(operand) => Ok(operand),
                None => self.unexpected(EXPECTED),
            };
        }
        let middle = offsets.len() / 2;
        let left = self.balance(function, operands, &offsets[..middle])?;
        let right = self.balance(function, operands, &offsets[middle + 1..])?;
        self.builder.call(offsets[middle], function, vec![left, right])
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        let offset = self.offset();
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(sign) {
                continue;
            }
            if sign == "-"
                && let Some(literal) = self.negative_number()
            {
                let literal = literal?;
                return self.member(literal);
            }
            let mut count = 0;
            while self.take(sign) {
                count += 1;
            }
            let operand = self.primary()?;
            let operand = self.member(operand)?;
            // Two of the same sign cancel each other.
            return if count % 2 == 0 {
                Ok(operand)
            } else {
                self.builder.call(offset, function, vec![operand])
            };
        }
        let primary = self.primary()?;
        self.member(primary)
    }

    /// A minus sign right before a number is part of the number.
    fn negative_number(&mut self) -> Option<Result<Node, Fault>> {
        let offset = self.offset();
        let value = match &self.tokens.get(self.at + 1)?.kind {
            TokenKind::Whole(number) => 0i64.checked_sub_unsigned(*number).map(Value::Int),
            TokenKind::Literal(Value::Double(number)) => Some(Value::Double(-number)),
            _ => return None,
        };
        self.at += 2;
        Some(match value {
            Some(value) => self.builder.literal(offset, value),
            None => Err(Fault { offset, message: "invalid int literal".to_owned() }),
        })
    }

    /// Everything that may follow a value: fields, calls and indexes.
    fn member(&mut self, mut operand: Node) -> Result<Node, Fault> {
        loop {
            let offset = self.offset();
            if self.take(".") {
                let optional = self.take("?");
                let field = self.field_name()?;
                if optional {
                    let field = self.builder.literal(offset, Value::string(&*field))?;
                    operand = self.builder.call(offset, "_?._", vec![operand, field])?;
                    continue;
                }
                let open = self.offset();
                if self.take("(") {
                    let arguments = self.arguments()?;
                    operand = self.call(open, &field, Some(operand), arguments)?;
                } else {
                    let form = Form::Select { operand: Box::new(operand), field, test: false };
                    operand = self.builder.node(offset, form)?;
                }
            } else if self.take("[") {
                let function = if self.take("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.builder.call(offset, function, vec![operand, index])?;
            } else if self.is("{")
                && let Some(name) = qualified(&operand)
            {
                self.at += 1;
                operand = self.object(offset, &name)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn field_name(&mut self) -> Result<Arc<str>, Fault> {
        match &self.token().kind {
            TokenKind::Name(name) if &**name != "in" => {
                let name = Arc::clone(name);
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("IDENTIFIER"),
        }
    }

    fn call(
        &mut self,
        offset: usize,
        function: &str,
        target: Option<Node>,
        arguments: Vec<Node>,
    ) -> Result<Node, Fault> {
        match macros::expand(&mut self.builder, offset, function, target, arguments)? {
            macros::Expansion::Done(node) => Ok(node),
            macros::Expansion::NotAMacro(target, arguments) => {
                let target = target.map(Box::new);
                let function = function.into();
                self.builder.node(offset, Form::Call { function, target, arguments })
            }
        }
    }

    /// Arguments up to and including the closing bracket.
    fn arguments(&mut self) -> Result<Vec<Node>, Fault> {
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression()?);
            if !self.take(",") {
                self.expect(")")?;
                return Ok(arguments);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, Fault> {
        let offset = self.offset();
        let kind = self.token().kind.clone();
        match kind {
            TokenKind::Literal(value) => {
                self.at += 1;
                self.builder.literal(offset, value)
            }
            TokenKind::Whole(number) => {
                self.at += 1;
                match i64::try_from(number) {
                    Ok(number) => self.builder.literal(offset, Value::Int(number)),
                    Err(_) => Err(Fault { offset, message: "invalid int literal".to_owned() }),
                }
            }
            TokenKind::Sign("(") => {
                self.at += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            TokenKind::Sign("[") => self.list(offset),
            TokenKind::Sign("{") => self.map(offset),
            TokenKind::Sign(".") => {
                self.at += 1;
                self.name(offset)
            }
            TokenKind::Name(_) => self.name(offset),
            TokenKind::Sign(_) | TokenKind::End => self.unexpected(EXPECTED),
        }
    }

    fn name(&mut self, offset: usize) -> Result<Node, Fault> {
        let name = self.field_name()?;
        if EXPRESSION_WORDS.contains(&&*name) {
            return Err(Fault { offset, message: format!("reserved identifier: {name}") });
        }
        let open = self.offset();
        if self.take("(") {
            let arguments = self.arguments()?;
            return self.call(open, &name, None, arguments);
        }
        self.builder.node(offset, Form::Name(name))
    }

    fn list(&mut self, offset: usize) -> Result<Node, Fault> {
        self.at += 1;
        let mut elements = Vec::new();
        while !self.take("]") {
            let optional = self.take("?");
            elements.push(Element { value: self.expression()?, optional });
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        self.builder.node(offset, Form::List(elements))
    }

    fn map(&mut self, offset: usize) -> Result<Node, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push(Entry { key, value: self.expression()?, optional });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        self.builder.node(offset, Form::Map(entries))
    }

    /// The fields of an object, after the opening brace.
    fn object(&mut self, offset: usize, name: &str) -> Result<Node, Fault> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let offset = self.offset();
            let name = self.field_name()?;
            self.expect(":")?;
            fields.push(Field { name, offset, value: self.expression()?, optional });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        self.builder.node(offset, Form::Object { name: name.into(), fields })
    }
}

/// The dotted name that a chain of selections spells, if it is nothing else.
pub(crate) fn qualified(node: &Node) -> Option<String> {
    match &node.form {
        Form::Name(name) => Some(name.to_string()),
        Form::Select { operand, field, test: false } => {
            Some(format!("{}.{field}", qualified(operand)?))
        }
        _ => None,
    }
}
