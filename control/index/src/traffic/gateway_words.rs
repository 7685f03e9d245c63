//! What routes of several kinds say in the same way, in the words of `weft-l7`.

use super::backend::Around;
use super::gateway_route::UnknownFilter;
use std::cmp::Reverse;
use std::sync::Arc;
use weft_control_api::gateway_api::filter::headers::{Header, HeaderModifier};
use weft_control_api::gateway_api::filter::mirror::RequestMirror;
use weft_control_api::gateway_api::matching::{MatchType, ValueMatch};
use weft_l7::headers::{HeaderChange, Name as HeaderName, Value};
use weft_l7::matches::{NamedMatch, RequestMatch};
use weft_l7::pattern::Pattern;
use weft_l7::rule::{Action, Backend, Forward, Mirror, Rule, RuleOrigin};
use weft_l7::share::Share;
use weft_l7::target::{Target, Weighted};
use weft_l7::text::TextMatch;

/// A match of a route, and its rule.
pub(super) struct Line {
    pub(super) rank: Rank,
    pub(super) when: RequestMatch,
    pub(super) rule: Arc<Rule>,
}

/// What comes first among matches of one kind of route: what has more of the first, then of the second, and so on.
pub(super) type Rank = Reverse<[usize; 5]>;

/// Of several of one name the first counts (Gateway API, `HTTPHeaderMatch.name`).
pub(super) fn first_of_each(matches: &[ValueMatch], key: impl Fn(&str) -> String) -> Option<Vec<NamedMatch>> {
    let mut found: Vec<NamedMatch> = Vec::new();
    for one in matches {
        let name: Arc<str> = key(&one.name).into();
        if found.iter().any(|known| known.name == name) {
            continue;
        }
        let value = match one.match_type {
            MatchType::Exact => TextMatch::Exact(one.value.as_str().into()),
            MatchType::RegularExpression => TextMatch::Pattern(Pattern::new(one.value.as_str()).ok()?),
        };
        found.push(NamedMatch { name, value, not: false });
    }
    Some(found)
}

/// Changes of headers. What was checked when it was read is not checked again.
pub(super) fn header_change(one: &HeaderModifier) -> HeaderChange {
    let name = |text: &str| text.parse().ok().map(HeaderName);
    let pairs = |headers: &[Header]| {
        let pair = |header: &Header| Some((name(&header.name)?, Value(header.value.parse().ok()?)));
        headers.iter().filter_map(pair).collect()
    };
    HeaderChange {
        remove: one.remove.iter().filter_map(|text| name(text)).collect(),
        set: pairs(&one.set),
        add: pairs(&one.add),
    }
}

/// Where a rule was written.
pub(super) fn origin(name: Option<&str>, number: usize, around: &Around<'_>) -> RuleOrigin {
    RuleOrigin {
        kind: around.kind.name().into(),
        namespace: around.route.namespace.clone(),
        route: around.route.name.clone(),
        rule: name.map_or_else(|| number.to_string(), str::to_owned).into(),
    }
}

/// Everything gets 500, because of a filter that cannot be obeyed and may not be skipped.
pub(super) fn nowhere(why: &UnknownFilter) -> Action {
    let to = Backend::new(Target::Nowhere(why.to_string().into()));
    Action::Forward(Box::new(Forward { backends: vec![Weighted { weight: 1, to }], ..Forward::default() }))
}

/// Where copies go, and of how many.
pub(super) fn mirror(one: &RequestMirror, around: &Around<'_>) -> Mirror {
    Mirror { share: mirror_share(one), target: around.target(&one.backend_ref) }
}

fn mirror_share(one: &RequestMirror) -> Share {
    let share = match (one.percent, one.fraction) {
        (Some(percent), _) => Share::fraction(percent, 100),
        (None, Some(fraction)) => Share::fraction(fraction.numerator, fraction.denominator),
        (None, None) => None,
    };
    share.unwrap_or(Share::ALL)
}
