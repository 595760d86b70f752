//! What a pattern costs: how many places a compiled one has, counted repetitions written out.

use regex_syntax::ast::{
    self, Ast, ClassSet, ClassSetItem, LiteralKind, RepetitionKind, RepetitionRange,
};

use crate::domain::schema::violation::Refusal;

/// Of one pattern, and of all of a schema.
pub(super) const MAX: usize = 2_000;
pub(super) const MAX_TOGETHER: usize = 8_000;

/// What any character takes, as UTF-8.
const ANY: usize = 12;
/// What a class of Unicode takes at most, such as `\p{L}`.
const UNICODE: usize = 400;
const TOO_LARGE: Refusal = Refusal::TooCostly(
    "a pattern is too large, with what is repeated in it counted as often as it is",
);

pub(super) fn cost(pattern: &str) -> Result<usize, Refusal> {
    if pattern.len() > MAX {
        return Err(TOO_LARGE);
    }
    // The validator knows one escape more: a control character.
    let parse = |pattern: &str| ast::parse::Parser::new().parse(pattern).ok();
    let ast = parse(pattern).or_else(|| parse(&pattern.replace("\\c", "")));
    let ast = ast.ok_or(Refusal::Invalid("a pattern cannot be read"))?;
    let mut seen = Seen::default();
    let places = places(&ast, &mut seen);
    // Of each character there are several then.
    let places = if seen.has_flags { places.saturating_mul(4) } else { places };
    // The validator reads the whole pattern anew for each of these classes.
    let rewritten = seen.classes * pattern.len() / 64;
    let cost = places.saturating_add(rewritten).max(1);
    if cost > MAX { Err(TOO_LARGE) } else { Ok(cost) }
}

#[derive(Default)]
struct Seen {
    /// Such as `\d`.
    classes: usize,
    /// Such as `(?i)`.
    has_flags: bool,
}

fn places(ast: &Ast, seen: &mut Seen) -> usize {
    match ast {
        Ast::Empty(_) => 0,
        Ast::Flags(_) => {
            seen.has_flags = true;
            0
        }
        Ast::Assertion(_) => 1,
        Ast::Literal(literal) => match literal.kind {
            LiteralKind::Verbatim => literal.c.len_utf8(),
            _ => 4,
        },
        Ast::Dot(_) => ANY,
        Ast::ClassUnicode(_) => UNICODE,
        Ast::ClassPerl(_) => {
            seen.classes += 1;
            ANY
        }
        Ast::ClassBracketed(class) => {
            let set = in_set(&class.kind, seen);
            if class.negated { set + ANY } else { set }
        }
        Ast::Repetition(repetition) => {
            let one = places(&repetition.ast, seen) + 1;
            one.saturating_mul(match &repetition.op.kind {
                RepetitionKind::Range(range) => match range {
                    RepetitionRange::Exactly(times) | RepetitionRange::Bounded(_, times) => {
                        usize::try_from(*times).unwrap_or(usize::MAX)
                    }
                    RepetitionRange::AtLeast(times) => {
                        usize::try_from(*times).unwrap_or(usize::MAX).saturating_add(1)
                    }
                },
                _ => 1,
            })
        }
        Ast::Group(group) => {
            seen.has_flags |= group.flags().is_some_and(|flags| !flags.items.is_empty());
            places(&group.ast, seen).saturating_add(1)
        }
        Ast::Alternation(alternation) => {
            let all = alternation.asts.iter().map(|ast| places(ast, seen).saturating_add(1));
            all.fold(0, usize::saturating_add)
        }
        Ast::Concat(concat) => {
            let all = concat.asts.iter().map(|ast| places(ast, seen));
            all.fold(0, usize::saturating_add)
        }
    }
}

fn in_set(set: &ClassSet, seen: &mut Seen) -> usize {
    match set {
        ClassSet::Item(item) => in_item(item, seen),
        ClassSet::BinaryOp(operation) => {
            UNICODE + in_set(&operation.lhs, seen) + in_set(&operation.rhs, seen)
        }
    }
}

fn in_item(item: &ClassSetItem, seen: &mut Seen) -> usize {
    match item {
        ClassSetItem::Empty(_) => 0,
        ClassSetItem::Literal(_) | ClassSetItem::Ascii(_) => 1,
        ClassSetItem::Range(range) => {
            if range.end.c.is_ascii() {
                1
            } else {
                ANY
            }
        }
        ClassSetItem::Unicode(_) => UNICODE,
        ClassSetItem::Perl(_) => {
            seen.classes += 1;
            ANY
        }
        ClassSetItem::Bracketed(class) => {
            let set = in_set(&class.kind, seen);
            if class.negated { set + ANY } else { set }
        }
        ClassSetItem::Union(union) => union.items.iter().map(|item| in_item(item, seen)).sum(),
    }
}
