//! Tokens of JSON text, with the error texts of Go's scanner.
//!
//! Knows nothing of schemas. Broken UTF-8 and lone surrogates in strings become U+FFFD, as in Go.

use std::borrow::Cow;

use crate::{limits::DEPTH_MAX, result::DecodeError};

/// A scalar as it stands in the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal<'a> {
    Null,
    Bool(bool),
    /// The digits as written; always a valid JSON number.
    Number(&'a str),
    String(Cow<'a, str>),
}

impl Literal<'_> {
    /// What Go's type errors call this value.
    pub(crate) fn go_value(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
        }
    }
}

/// What the next value starts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Object,
    Array,
    Literal,
}

pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    position: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, position: 0, depth: 0 }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.position).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.position += 1;
        }
    }

    /// The error for the current byte, or for the end of the text.
    fn error(&self, context: &str) -> DecodeError {
        DecodeError::Syntax(match self.peek() {
            None => "unexpected end of JSON input".to_owned(),
            Some(byte) => format!("invalid character {} {context}", quote(byte)),
        })
    }

    /// What the next value is; consumes only space.
    pub(crate) fn start(&mut self) -> Result<Start, DecodeError> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => Ok(Start::Object),
            Some(b'[') => Ok(Start::Array),
            Some(b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(Start::Literal),
            _ => Err(self.error("looking for beginning of value")),
        }
    }

    /// Enters the object or array at the current byte.
    pub(crate) fn enter(&mut self) -> Result<(), DecodeError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(DecodeError::Syntax("exceeded max depth".to_owned()));
        }
        self.position += 1;
        Ok(())
    }

    /// Inside an object: the next key, or nothing at its end. `first` for the first call.
    pub(crate) fn next_key(&mut self, first: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        self.skip_space();
        match self.peek() {
            Some(b'}') => {
                self.leave();
                return Ok(None);
            }
            Some(b',') if !first => {
                self.position += 1;
                self.skip_space();
            }
            _ if !first => return Err(self.error("after object key:value pair")),
            _ => {}
        }
        if self.peek() != Some(b'"') {
            return Err(self.error("looking for beginning of object key string"));
        }
        let key = self.string()?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.error("after object key"));
        }
        self.position += 1;
        Ok(Some(key))
    }

    /// Inside an array: whether there is another item.
    pub(crate) fn next_item(&mut self, first: bool) -> Result<bool, DecodeError> {
        self.skip_space();
        match self.peek() {
            Some(b']') => {
                self.leave();
                Ok(false)
            }
            Some(b',') if !first => {
                self.position += 1;
                Ok(true)
            }
            _ if first => Ok(true),
            _ => Err(self.error("after array element")),
        }
    }

    fn leave(&mut self) {
        self.position += 1;
        self.depth -= 1;
    }

    /// Only space may follow the top-level value.
    pub(crate) fn finish(&mut self) -> Result<(), DecodeError> {
        self.skip_space();
        if self.peek().is_some() { Err(self.error("after top-level value")) } else { Ok(()) }
    }

    pub(crate) fn literal(&mut self) -> Result<Literal<'a>, DecodeError> {
        match self.peek() {
            Some(b'"') => self.string().map(Literal::String),
            Some(b't') => self.word("true").map(|()| Literal::Bool(true)),
            Some(b'f') => self.word("false").map(|()| Literal::Bool(false)),
            Some(b'n') => self.word("null").map(|()| Literal::Null),
            _ => self.number().map(Literal::Number),
        }
    }

    /// Reads past one value of any kind.
    pub(crate) fn skip(&mut self) -> Result<(), DecodeError> {
        match self.start()? {
            Start::Literal => self.literal().map(drop),
            Start::Object => {
                self.enter()?;
                let mut first = true;
                while self.next_key(first)?.is_some() {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Start::Array => {
                self.enter()?;
                let mut first = true;
                while self.next_item(first)? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), DecodeError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                let context = format!("in literal {word} (expecting '{}')", char::from(expected));
                return Err(self.error(&context));
            }
            self.position += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str, DecodeError> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.position += 1;
        }
        match self.peek() {
            Some(b'0') => self.position += 1,
            Some(b'1'..=b'9') => self.digits("in numeric literal")?,
            _ => return Err(self.error("in numeric literal")),
        }
        if self.peek() == Some(b'.') {
            self.position += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.position += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.position += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        let digits = &self.text[start..self.position];
        Ok(std::str::from_utf8(digits).expect("a number is ASCII"))
    }

    fn digits(&mut self, context: &str) -> Result<(), DecodeError> {
        let start = self.position;
        while let Some(b'0'..=b'9') = self.peek() {
            self.position += 1;
        }
        if self.position == start { Err(self.error(context)) } else { Ok(()) }
    }

    /// Reads a string whose opening quote is the current byte.
    fn string(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.position += 1;
        let start = self.position;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    let text = &self.text[start..self.position];
                    self.position += 1;
                    return Ok(String::from_utf8_lossy(text));
                }
                b'\\' => return self.escaped_string(start),
                0..=0x1f => return Err(self.error("in string literal")),
                _ => self.position += 1,
            }
        }
        Err(self.error("in string literal"))
    }

    /// The rest of a string from its first escape on.
    fn escaped_string(&mut self, start: usize) -> Result<Cow<'a, str>, DecodeError> {
        let mut text = self.text[start..self.position].to_vec();
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.position += 1;
                    let text = String::from_utf8(text)
                        .unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into());
                    return Ok(Cow::Owned(text));
                }
                b'\\' => self.escape(&mut text)?,
                0..=0x1f => return Err(self.error("in string literal")),
                _ => {
                    text.push(byte);
                    self.position += 1;
                }
            }
        }
        Err(self.error("in string literal"))
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.position += 1;
        let byte = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.position += 1;
                let unit = self.hex()?;
                return self.unicode(unit, text);
            }
            _ => return Err(self.error("in string escape code")),
        };
        text.push(byte);
        self.position += 1;
        Ok(())
    }

    fn unicode(&mut self, unit: u32, text: &mut Vec<u8>) -> Result<(), DecodeError> {
        let mut character = char::from_u32(unit);
        let follows = self.text[self.position..].starts_with(b"\\u");
        if (0xd800..0xdc00).contains(&unit) && follows {
            let before = self.position;
            self.position += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                character = char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
            } else {
                self.position = before;
            }
        }
        let mut buffer = [0; 4];
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, DecodeError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error("in \\u hexadecimal character escape"));
            };
            unit = unit * 16 + digit;
            self.position += 1;
        }
        Ok(unit)
    }
}

/// A byte as Go prints it in a syntax error.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0x07 => "'\\a'".to_owned(),
        0x08 => "'\\b'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        0x20..=0x7e => format!("'{}'", char::from(byte)),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        0xa1..=0xff => format!("'{}'", char::from(byte)),
        _ => format!("'\\x{byte:02x}'"),
    }
}
