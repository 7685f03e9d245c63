//! Reads a condition: CEL's grammar as far as it goes, with the types checked on the way.

use super::attribute::Attribute;
use super::token::{self, Token};
use super::{Number, Order, Text, Truth};
use crate::pattern::Search;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

/// Parentheses and the like inside each other; nobody writes more, and reading goes no deeper.
const DEPTH_MAX: usize = 32;
/// Longer conditions are no condition that a person writes.
const BYTES_MAX: usize = 4096;

/// The whole text.
///
/// # Errors
/// What is not understood.
pub(super) fn condition(text: &str) -> Result<Truth, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("it is longer than {BYTES_MAX} bytes"));
    }
    let mut reader = Reader { tokens: token::all(text)?.into_iter().peekable(), depth: 0 };
    let value = reader.either()?;
    match reader.tokens.next() {
        None => value.truth(),
        Some(token) => Err(format!("{} is not expected where it stands", word(&token))),
    }
}

struct Reader {
    tokens: Peekable<IntoIter<Token>>,
    depth: usize,
}

/// Of whatever type.
enum Value {
    Truth(Truth),
    Number(Number),
    Text(Text),
}

impl Value {
    fn truth(self) -> Result<Truth, String> {
        match self {
            Self::Truth(truth) => Ok(truth),
            Self::Number(_) => Err("a number stands where something true or false belongs".to_owned()),
            Self::Text(_) => Err("a text stands where something true or false belongs".to_owned()),
        }
    }

    fn text(self) -> Result<Text, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(_) => Err("a number stands where a text belongs".to_owned()),
            Self::Truth(_) => Err("something true or false stands where a text belongs".to_owned()),
        }
    }
}

impl Reader {
    fn either(&mut self) -> Result<Value, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let mut left = self.both()?;
        while self.take("||") {
            let right = self.both()?.truth()?;
            left = Value::Truth(Truth::Or(Box::new(left.truth()?), Box::new(right)));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Value, String> {
        let mut left = self.compared()?;
        while self.take("&&") {
            let right = self.compared()?.truth()?;
            left = Value::Truth(Truth::And(Box::new(left.truth()?), Box::new(right)));
        }
        Ok(left)
    }

    fn compared(&mut self) -> Result<Value, String> {
        let left = self.unary()?;
        if self.tokens.next_if_eq(&Token::Name("in".to_owned())).is_some() {
            return self.listed(left).map(Value::Truth);
        }
        let signs = [
            ("==", Order::Equal),
            ("!=", Order::Unequal),
            ("<=", Order::LessOrEqual),
            (">=", Order::GreaterOrEqual),
            ("<", Order::Less),
            (">", Order::Greater),
        ];
        let Some((sign, order)) = signs.into_iter().find(|(sign, _)| self.take(sign)) else {
            return Ok(left);
        };
        Ok(Value::Truth(match (left, self.unary()?) {
            (Value::Number(a), Value::Number(b)) => Truth::Numbers(a, order, b),
            (Value::Text(a), Value::Text(b)) => Truth::Texts(a, order, b),
            (Value::Truth(a), Value::Truth(Truth::Constant(b)))
                if matches!(order, Order::Equal | Order::Unequal) =>
            {
                if b == (order == Order::Equal) {
                    a
                } else {
                    Truth::Not(Box::new(a))
                }
            }
            _ => return Err(format!("what stands around {sign} cannot be compared")),
        }))
    }

    /// What stands behind `in`.
    fn listed(&mut self, one: Value) -> Result<Truth, String> {
        self.expect("[")?;
        let mut all = Vec::new();
        while !self.take("]") {
            all.push(self.unary()?);
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        match one {
            Value::Text(one) => {
                Ok(Truth::AnyText(one, all.into_iter().map(Value::text).collect::<Result<_, _>>()?))
            }
            Value::Number(one) => {
                let number = |value| match value {
                    Value::Number(number) => Ok(number),
                    Value::Text(_) | Value::Truth(_) => {
                        Err("a list of numbers has something else".to_owned())
                    }
                };
                Ok(Truth::AnyNumber(one, all.into_iter().map(number).collect::<Result<_, _>>()?))
            }
            Value::Truth(_) => Err("a text or a number stands before in".to_owned()),
        }
    }

    fn unary(&mut self) -> Result<Value, String> {
        let mut turned = 0_usize;
        while self.take("!") {
            turned += 1;
        }
        if turned > 0 {
            let one = self.member()?.truth()?;
            return Ok(Value::Truth(if turned % 2 == 1 { Truth::Not(Box::new(one)) } else { one }));
        }
        if self.take("-") {
            return match self.member()? {
                Value::Number(Number::Constant(number)) => Ok(Value::Number(Number::Constant(-number))),
                _ => Err("- stands before what is no number".to_owned()),
            };
        }
        self.member()
    }

    /// Something, and the functions that are called of it.
    fn member(&mut self) -> Result<Value, String> {
        let mut value = match self.tokens.next() {
            Some(Token::Text(text)) => Value::Text(Text::Constant(text.into())),
            Some(Token::Number(number)) => Value::Number(Number::Constant(number)),
            Some(Token::Sign("(")) => {
                let inner = self.either()?;
                self.expect(")")?;
                inner
            }
            Some(Token::Name(name)) => self.named(name)?,
            Some(token) => return Err(format!("{} is not expected where it stands", word(&token))),
            None => return Err("it ends too early".to_owned()),
        };
        while self.take(".") {
            let function = self.name()?;
            value = self.called(value.text()?, &function)?;
        }
        Ok(value)
    }

    fn called(&mut self, text: Text, function: &str) -> Result<Value, String> {
        self.expect("(")?;
        if function == "size" {
            self.expect(")")?;
            return Ok(Value::Number(Number::Size(text)));
        }
        let argument = self.either()?.text()?;
        self.expect(")")?;
        Ok(Value::Truth(match (function, argument) {
            ("startsWith", argument) => Truth::StartsWith(text, argument),
            ("endsWith", argument) => Truth::EndsWith(text, argument),
            ("contains", argument) => Truth::Contains(text, argument),
            ("matches", Text::Constant(pattern)) => {
                Truth::Matches(text, Search::new(pattern).map_err(|bad| bad.to_string())?)
            }
            ("matches", _) => return Err("matches takes a text in quotes".to_owned()),
            (other, _) => {
                let known = "startsWith, endsWith, contains, matches and size are";
                return Err(format!("the function {other} is not known; {known}"));
            }
        }))
    }

    fn named(&mut self, first: String) -> Result<Value, String> {
        match &*first {
            "true" => return Ok(Value::Truth(Truth::Constant(true))),
            "false" => return Ok(Value::Truth(Truth::Constant(false))),
            "has" if self.take("(") => {
                let inner = self.either()?;
                self.expect(")")?;
                return Ok(Value::Truth(match inner {
                    Value::Text(text @ (Text::Attribute(_) | Text::Header(_))) => Truth::Has(text),
                    Value::Number(number @ Number::Attribute(_)) => Truth::HasNumber(number),
                    _ => return Err("has() takes an attribute".to_owned()),
                }));
            }
            "size" if self.take("(") => {
                let text = self.either()?.text()?;
                self.expect(")")?;
                return Ok(Value::Number(Number::Size(text)));
            }
            _ => {}
        }
        self.attribute(first)
    }

    /// All attributes are of two words, and headers are looked up by their names.
    fn attribute(&mut self, first: String) -> Result<Value, String> {
        let name = if self.take(".") { format!("{first}.{}", self.name()?) } else { first };
        if name == "request.headers" {
            self.expect("[")?;
            let Some(Token::Text(header)) = self.tokens.next() else {
                return Err("request.headers is followed by a name in brackets and quotes".to_owned());
            };
            self.expect("]")?;
            return Ok(Value::Text(Text::Header(Arc::from(header.to_ascii_lowercase()))));
        }
        match Attribute::named(&name) {
            Some(Attribute::Text(one)) => Ok(Value::Text(Text::Attribute(one))),
            Some(Attribute::Number(one)) => Ok(Value::Number(Number::Attribute(one))),
            Some(Attribute::Mtls) => Ok(Value::Truth(Truth::Constant(true))),
            None => Err(format!("{name} is not known; {} are", Attribute::names())),
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.tokens.next() {
            Some(Token::Name(name)) => Ok(name),
            Some(token) => Err(format!("{} stands where a name belongs", word(&token))),
            None => Err("it ends too early".to_owned()),
        }
    }

    fn take(&mut self, sign: &'static str) -> bool {
        self.tokens.next_if_eq(&Token::Sign(sign)).is_some()
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), String> {
        match self.tokens.next() {
            Some(Token::Sign(found)) if found == sign => Ok(()),
            Some(token) => Err(format!("{} stands where {sign} belongs", word(&token))),
            None => Err(format!("it ends where {sign} belongs")),
        }
    }
}

fn word(token: &Token) -> String {
    match token {
        Token::Name(name) => name.clone(),
        Token::Text(text) => format!("{text:?}"),
        Token::Number(number) => number.to_string(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}
