//! Conditions on requests and their responses, as `Telemetry` filters write them: a part of CEL (Common Expression Language)
//! with the attributes that Envoy has.
//!
//! What is read is understood whole: types are checked when a condition is read, and a name, a function or an operator that
//! is not known is refused by name. An attribute that a request does not have is CEL's error: it decides nothing beside an
//! operand of `&&` or `||` that decides by itself, and a condition that comes to it is not fulfilled.

mod attribute;
mod read;
mod token;

pub use attribute::{NumberAttribute, TextAttribute};

use crate::pattern::Search;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use token::Token;

/// What is known of a request that is over.
pub trait Facts {
    /// A text; `None` if there is none.
    fn text(&self, which: TextAttribute) -> Option<Cow<'_, str>>;
    /// A number; `None` if there is none.
    fn number(&self, which: NumberAttribute) -> Option<i64>;
    /// A header of the request, by its name in lower case; `None` if it did not come.
    fn header(&self, name: &str) -> Option<Cow<'_, str>>;
}

/// A condition.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Condition {
    text: Arc<str>,
    root: Truth,
}

/// Why a text is no condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not understood: {reason}")]
pub struct BadCondition {
    /// The text.
    pub text: Arc<str>,
    /// What is wrong with it.
    pub reason: String,
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        match read::condition(text) {
            Ok(root) => Ok(Self { text: text.into(), root }),
            Err(reason) => Err(BadCondition { text: text.into(), reason }),
        }
    }
}

impl Condition {
    /// Whether it is so.
    pub fn holds(&self, facts: &impl Facts) -> bool {
        self.root.of(facts) == Some(true)
    }

    /// Headers of the request that it looks at, in lower case; also `host`, which HTTP/2 has elsewhere.
    pub fn headers(&self) -> Vec<Arc<str>> {
        let mut all = Vec::new();
        self.root.headers(&mut all);
        all
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The text in an expression that is nothing but a text in quotes.
pub fn quoted(expression: &str) -> Option<String> {
    match &mut *token::all(expression).ok()? {
        [Token::Text(text)] => Some(std::mem::take(text)),
        _ => None,
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

impl TryFrom<String> for Condition {
    type Error = BadCondition;

    fn try_from(text: String) -> Result<Self, BadCondition> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.text.to_string()
    }
}

/// An expression that is true or false.
#[derive(Clone)]
enum Truth {
    Constant(bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Numbers(Number, Order, Number),
    Texts(Text, Order, Text),
    Has(Text),
    HasNumber(Number),
    AnyText(Text, Vec<Text>),
    AnyNumber(Number, Vec<Number>),
    StartsWith(Text, Text),
    EndsWith(Text, Text),
    Contains(Text, Text),
    Matches(Text, Search),
}

/// A text.
#[derive(Clone)]
enum Text {
    Constant(Arc<str>),
    Attribute(TextAttribute),
    Header(Arc<str>),
}

/// A number.
#[derive(Clone)]
enum Number {
    Constant(i64),
    Attribute(NumberAttribute),
    Size(Text),
}

/// How two of one type stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: Ord + ?Sized>(self, a: &T, b: &T) -> bool {
        let order = a.cmp(b);
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Truth {
    /// `None` is CEL's error.
    fn of(&self, facts: &impl Facts) -> Option<bool> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Not(one) => one.of(facts).map(|one| !one),
            Self::And(a, b) => match (a.of(facts), b.of(facts)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(a, b) => match (a.of(facts), b.of(facts)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Numbers(a, order, b) => Some(order.holds(&a.of(facts)?, &b.of(facts)?)),
            Self::Texts(a, order, b) => Some(order.holds(&*a.of(facts)?, &*b.of(facts)?)),
            Self::Has(text) => Some(text.of(facts).is_some()),
            Self::HasNumber(number) => Some(number.of(facts).is_some()),
            Self::AnyText(one, all) => {
                let one = one.of(facts)?;
                Some(all.iter().any(|other| other.of(facts).is_some_and(|other| other == one)))
            }
            Self::AnyNumber(one, all) => {
                let one = one.of(facts)?;
                Some(all.iter().any(|other| other.of(facts) == Some(one)))
            }
            Self::StartsWith(a, b) => Some(a.of(facts)?.starts_with(&*b.of(facts)?)),
            Self::EndsWith(a, b) => Some(a.of(facts)?.ends_with(&*b.of(facts)?)),
            Self::Contains(a, b) => Some(a.of(facts)?.contains(&*b.of(facts)?)),
            Self::Matches(a, pattern) => Some(pattern.finds(&a.of(facts)?)),
        }
    }

    fn headers(&self, all: &mut Vec<Arc<str>>) {
        match self {
            Self::Constant(_) => {}
            Self::Not(one) => one.headers(all),
            Self::And(a, b) | Self::Or(a, b) => {
                a.headers(all);
                b.headers(all);
            }
            Self::Numbers(a, _, b) => [a, b].into_iter().for_each(|one| one.headers(all)),
            Self::Texts(a, _, b) | Self::StartsWith(a, b) | Self::EndsWith(a, b) | Self::Contains(a, b) => {
                [a, b].into_iter().for_each(|one| one.header(all));
            }
            Self::Has(one) | Self::Matches(one, _) => one.header(all),
            Self::HasNumber(one) => one.headers(all),
            Self::AnyText(one, list) => std::iter::once(one).chain(list).for_each(|one| one.header(all)),
            Self::AnyNumber(one, list) => std::iter::once(one).chain(list).for_each(|one| one.headers(all)),
        }
    }
}

impl Text {
    fn of<'a>(&'a self, facts: &'a impl Facts) -> Option<Cow<'a, str>> {
        match self {
            Self::Constant(text) => Some(Cow::Borrowed(text)),
            Self::Attribute(which) => match which.header() {
                Some(header) => facts.header(header),
                None => facts.text(*which),
            },
            Self::Header(name) => facts.header(name),
        }
    }

    fn header(&self, all: &mut Vec<Arc<str>>) {
        match self {
            Self::Constant(_) => {}
            Self::Attribute(which) => all.extend(which.kept().map(Arc::from)),
            Self::Header(name) => all.push(name.clone()),
        }
    }
}

impl Number {
    fn of(&self, facts: &impl Facts) -> Option<i64> {
        match self {
            Self::Constant(number) => Some(*number),
            Self::Attribute(which) => facts.number(*which),
            // CEL counts code points.
            Self::Size(text) => i64::try_from(text.of(facts)?.chars().count()).ok(),
        }
    }

    fn headers(&self, all: &mut Vec<Arc<str>>) {
        match self {
            Self::Constant(_) | Self::Attribute(_) => {}
            Self::Size(text) => text.header(all),
        }
    }
}

#[cfg(test)]
mod tests;
