//! The words and signs of a condition.

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, or a word of the language.
    Name(String),
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// A sign.
    Sign(&'static str),
}

/// Longer ones first, or a part of one would be taken for another.
const SIGNS: [&str; 19] =
    ["&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ".", ",", "-", "?", ":", "+"];

/// All of a text.
///
/// # Errors
/// What is none of them.
pub(super) fn all(text: &str) -> Result<Vec<Token>, String> {
    let (mut tokens, mut rest) = (Vec::new(), text.trim_start());
    while let Some(first) = rest.chars().next() {
        let (token, behind) = match first {
            '"' | '\'' => quoted(rest, first)?,
            '0'..='9' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => name(rest),
            _ => {
                let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                let sign = sign.ok_or_else(|| format!("{first:?} has no meaning in it"))?;
                (Token::Sign(sign), &rest[sign.len()..])
            }
        };
        tokens.push(token);
        rest = behind.trim_start();
    }
    Ok(tokens)
}

fn name(text: &str) -> (Token, &str) {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (Token::Name(name.to_owned()), rest)
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text.find(|char: char| !char.is_ascii_alphanumeric() && char != '.').unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let number = digits.parse().map_err(|_| format!("{digits} is no whole number"))?;
    Ok((Token::Number(number), rest))
}

/// A text in either kind of quotes. A backslash stands before a quote or a backslash, or makes a line's end or a tab.
fn quoted(text: &str, quote: char) -> Result<(Token, &str), String> {
    let mut out = String::new();
    let mut chars = text[1..].char_indices();
    while let Some((at, char)) = chars.next() {
        if char == quote {
            return Ok((Token::Text(out), &text[1 + at + 1..]));
        }
        if char != '\\' {
            out.push(char);
            continue;
        }
        out.push(match chars.next().map(|(_, char)| char) {
            Some(char @ ('\\' | '"' | '\'')) => char,
            Some('n') => '\n',
            Some('t') => '\t',
            Some(other) => return Err(format!("\\{other} has no meaning in a text")),
            None => break,
        });
    }
    Err(format!("a text has no closing {quote}"))
}
