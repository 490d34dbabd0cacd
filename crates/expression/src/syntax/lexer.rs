//! From text to tokens.

use std::sync::Arc;

use super::Fault;
use crate::value::Value;

/// A token and where it starts, in code points.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) offset: usize,
    pub(super) kind: TokenKind,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name(Arc<str>),
    /// A constant, `null`, `true` and `false` included.
    Literal(Value),
    /// A whole number without a sign, which the parser may have to negate.
    Whole(u64),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longest first, so that the first that fits is the right one.
const SIGNS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "+", "*", "/",
    "%", "!", "?", ":", "<", ">", "=",
];

/// Splits a whole expression.
pub(super) fn tokens(source: &[char]) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { source, at: 0 };
    let mut tokens = Vec::new();
    loop {
        lexer.skip_blanks();
        let offset = lexer.at;
        let kind = lexer.token()?;
        let end = kind == TokenKind::End;
        tokens.push(Token { offset, kind });
        if end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    source: &'a [char],
    at: usize,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.source.get(self.at + ahead).copied()
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.peek(0) {
            if c == '/' && self.peek(1) == Some('/') {
                while self.peek(0).is_some_and(|c| c != '\n') {
                    self.at += 1;
                }
            } else if matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{c}') {
                self.at += 1;
            } else {
                return;
            }
        }
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { offset: self.at, message: message.into() })
    }

    fn token(&mut self) -> Result<TokenKind, Fault> {
        let Some(first) = self.peek(0) else { return Ok(TokenKind::End) };
        if self.string_starts() {
            return self.string();
        }
        if first.is_ascii_digit()
            || (first == '.' && self.peek(1).is_some_and(|c| c.is_ascii_digit()))
        {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            return Ok(self.name());
        }
        if first == '`' {
            return self.quoted_name();
        }
        let fits =
            |sign: &&&str| sign.chars().enumerate().all(|(index, c)| self.peek(index) == Some(c));
        match SIGNS.iter().find(fits) {
            Some(sign) => {
                self.at += sign.len();
                Ok(TokenKind::Sign(sign))
            }
            None => self.fault(format!("Syntax error: token recognition error at: '{first}'")),
        }
    }

    fn name(&mut self) -> TokenKind {
        let start = self.at;
        while self.peek(0).is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            self.at += 1;
        }
        let name: String = self.source[start..self.at].iter().collect();
        match name.as_str() {
            "null" => TokenKind::Literal(Value::Null),
            "true" => TokenKind::Literal(Value::Bool(true)),
            "false" => TokenKind::Literal(Value::Bool(false)),
            _ => TokenKind::Name(name.into()),
        }
    }

    /// A field name in backquotes, which may have signs in it.
    fn quoted_name(&mut self) -> Result<TokenKind, Fault> {
        self.fault("unsupported syntax: '`'")
    }

    fn number(&mut self) -> Result<TokenKind, Fault> {
        let start = self.at;
        let digits = |lexer: &mut Self, hex: bool| {
            while lexer
                .peek(0)
                .is_some_and(|c| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() })
            {
                lexer.at += 1;
            }
        };
        let hex = self.peek(0) == Some('0')
            && matches!(self.peek(1), Some('x' | 'X'))
            && self.peek(2).is_some_and(|c| c.is_ascii_hexdigit());
        if hex {
            self.at += 2;
            digits(self, true);
        } else {
            digits(self, false);
            let mut double = false;
            if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
                double = true;
                self.at += 1;
                digits(self, false);
            }
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if matches!(self.peek(0), Some('e' | 'E'))
                && self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit())
            {
                double = true;
                self.at += 1 + sign;
                digits(self, false);
            }
            if double {
                let text: String = self.source[start..self.at].iter().collect();
                return match text.parse::<f64>() {
                    Ok(number) if number.is_finite() => {
                        Ok(TokenKind::Literal(Value::Double(number)))
                    }
                    _ => self.fault("invalid double literal"),
                };
            }
        }
        self.whole(start, hex)
    }

    fn whole(&mut self, start: usize, hex: bool) -> Result<TokenKind, Fault> {
        let digits: String = self.source[start + if hex { 2 } else { 0 }..self.at].iter().collect();
        let unsigned = matches!(self.peek(0), Some('u' | 'U'));
        if unsigned {
            self.at += 1;
        }
        match u64::from_str_radix(&digits, if hex { 16 } else { 10 }) {
            Ok(number) if unsigned => Ok(TokenKind::Literal(Value::Uint(number))),
            Ok(number) => Ok(TokenKind::Whole(number)),
            Err(_) if unsigned => {
                Err(Fault { offset: start, message: "invalid uint literal".to_owned() })
            }
            Err(_) => Err(Fault { offset: start, message: "invalid int literal".to_owned() }),
        }
    }

    /// Whether a string starts here, with any of its prefixes.
    fn string_starts(&self) -> bool {
        let mut ahead = 0;
        let (mut raw, mut bytes) = (false, false);
        loop {
            match self.peek(ahead) {
                Some('"' | '\'') => return true,
                Some('r' | 'R') if !raw => raw = true,
                Some('b' | 'B') if !bytes => bytes = true,
                _ => return false,
            }
            ahead += 1;
        }
    }

    fn string(&mut self) -> Result<TokenKind, Fault> {
        let (mut raw, mut bytes) = (false, false);
        let quote = loop {
            match self.peek(0) {
                Some('r' | 'R') => raw = true,
                Some('b' | 'B') => bytes = true,
                Some(quote) => break quote,
                None => return self.fault("Syntax error: token recognition error"),
            }
            self.at += 1;
        };
        let triple = self.peek(1) == Some(quote) && self.peek(2) == Some(quote);
        let closing = if triple { 3 } else { 1 };
        self.at += closing;
        let mut out = Literal::default();
        loop {
            let Some(c) = self.peek(0) else {
                return self.fault("Syntax error: token recognition error at: unterminated string");
            };
            if (0..closing).all(|ahead| self.peek(ahead) == Some(quote)) {
                self.at += closing;
                break;
            }
            if !triple && matches!(c, '\n' | '\r') {
                return self.fault("Syntax error: token recognition error at: unterminated string");
            }
            self.at += 1;
            if c == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                out.push(c);
            }
        }
        if bytes {
            return Ok(TokenKind::Literal(Value::Bytes(out.bytes.into())));
        }
        match String::from_utf8(out.bytes) {
            Ok(text) => Ok(TokenKind::Literal(Value::string(text))),
            Err(_) => self.fault("invalid string literal"),
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, bytes: bool, out: &mut Literal) -> Result<(), Fault> {
        let Some(c) = self.peek(0) else { return self.fault("unable to unescape string") };
        self.at += 1;
        let plain = match c {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' | '`' | '?' => c,
            'x' | 'X' => return self.code(2, 16, bytes, out),
            'u' if !bytes => return self.code(4, 16, false, out),
            'U' if !bytes => return self.code(8, 16, false, out),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, bytes, out);
            }
            _ => return self.fault("unable to unescape string"),
        };
        out.push(plain);
        Ok(())
    }

    fn code(
        &mut self,
        digits: usize,
        radix: u32,
        bytes: bool,
        out: &mut Literal,
    ) -> Result<(), Fault> {
        let text: String = (0..digits).map_while(|ahead| self.peek(ahead)).collect();
        let number = (text.chars().all(|c| c.is_digit(radix)) && text.len() == digits)
            .then(|| u32::from_str_radix(&text, radix).ok())
            .flatten();
        let Some(number) = number else { return self.fault("unable to unescape string") };
        self.at += digits;
        if bytes {
            let Ok(byte) = u8::try_from(number) else {
                return self.fault("unable to unescape string");
            };
            out.bytes.push(byte);
            return Ok(());
        }
        let Some(c) = char::from_u32(number) else {
            return self.fault("invalid unicode code point");
        };
        out.push(c);
        Ok(())
    }
}

/// The value of a string or bytes literal while it is read.
#[derive(Default)]
struct Literal {
    bytes: Vec<u8>,
}

impl Literal {
    fn push(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    }
}
