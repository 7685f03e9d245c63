//! A pattern of RE2's syntax in the words of the crate that runs it. The two differ in what they take for a digit, a blank
//! and a letter: RE2 only knows those of ASCII, unless a pattern names a class of Unicode
//! (<https://github.com/google/re2/wiki/Syntax>). What one of them takes for something else than the other is refused.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{
    Assertion, AssertionKind, Ast, ClassPerl, ClassPerlKind, ClassSetBinaryOp, ClassSetBinaryOpKind,
    ClassSetItem, Flag, Flags, FlagsItemKind, GroupKind, Span, Visitor, visit,
};

/// The same pattern, or why it is none.
pub(super) fn translate(text: &str) -> Result<String, String> {
    let ast = Parser::new().parse(text).map_err(|error| super::reason(&error))?;
    let changes = visit(&ast, Changes::default())?;
    let (mut own, mut done) = (String::with_capacity(text.len()), 0);
    for (place, words) in changes {
        own.push_str(&text[done..place.start.offset]);
        own.push_str(words);
        done = place.end.offset;
    }
    own.push_str(&text[done..]);
    Ok(own)
}

/// What is written in other words, in the order of the text.
#[derive(Default)]
struct Changes(Vec<(Span, &'static str)>);

impl Visitor for Changes {
    type Output = Vec<(Span, &'static str)>;
    type Err = String;

    fn finish(self) -> Result<Self::Output, String> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::ClassPerl(class) => self.class(class),
            Ast::Assertion(assertion) => self.assertion(assertion)?,
            Ast::Flags(set) => check_flags(&set.flags)?,
            Ast::Group(group) => {
                if let GroupKind::NonCapturing(flags) = &group.kind {
                    check_flags(flags)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), String> {
        match item {
            ClassSetItem::Perl(class) => self.class(class),
            ClassSetItem::Bracketed(_) => {
                return Err("a class within a class is none in RE2: write \\[ for the bracket".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(&mut self, operation: &ClassSetBinaryOp) -> Result<(), String> {
        let sign = match operation.kind {
            ClassSetBinaryOpKind::Intersection => "&&",
            ClassSetBinaryOpKind::Difference => "--",
            ClassSetBinaryOpKind::SymmetricDifference => "~~",
        };
        Err(format!("{sign} in a class is two characters in RE2: write one of them"))
    }
}

impl Changes {
    fn class(&mut self, class: &ClassPerl) {
        let words = match (&class.kind, class.negated) {
            (ClassPerlKind::Digit, false) => "[0-9]",
            (ClassPerlKind::Digit, true) => "[^0-9]",
            (ClassPerlKind::Space, false) => r"[\t\n\f\r ]",
            (ClassPerlKind::Space, true) => r"[^\t\n\f\r ]",
            (ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, words));
    }

    fn assertion(&mut self, assertion: &Assertion) -> Result<(), String> {
        match assertion.kind {
            AssertionKind::WordBoundary => self.0.push((assertion.span, r"(?-u:\b)")),
            AssertionKind::NotWordBoundary => self.0.push((assertion.span, r"(?-u:\B)")),
            AssertionKind::StartLine
            | AssertionKind::EndLine
            | AssertionKind::StartText
            | AssertionKind::EndText => {}
            AssertionKind::WordBoundaryStart
            | AssertionKind::WordBoundaryEnd
            | AssertionKind::WordBoundaryStartAngle
            | AssertionKind::WordBoundaryEndAngle
            | AssertionKind::WordBoundaryStartHalf
            | AssertionKind::WordBoundaryEndHalf => {
                return Err("RE2 has no such word boundary: \\b and \\B are all".to_owned());
            }
        }
        Ok(())
    }
}

fn check_flags(flags: &Flags) -> Result<(), String> {
    let unknown = flags.items.iter().any(|item| match item.kind {
        FlagsItemKind::Negation => false,
        FlagsItemKind::Flag(flag) => match flag {
            Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed => false,
            Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace => true,
        },
    });
    if unknown { Err("RE2 has no such flag: i, m, s and U are all".to_owned()) } else { Ok(()) }
}
