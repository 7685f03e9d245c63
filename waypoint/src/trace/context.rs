//! What a request says of its trace: W3C's `traceparent` (Trace Context §3.2), or Zipkin's B3, in one header or several.

use http::{HeaderMap, HeaderName, HeaderValue};
use weft_tunnel::words::is_traceparent;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Context {
    /// The trace. B3's of 64 bits have zeros before.
    pub(super) trace: u128,
    /// Who sends the request.
    pub(super) parent: Option<u64>,
    /// What was decided before; `None` leaves it to this side.
    pub(super) sampled: Option<bool>,
}

impl Context {
    /// The beginning of a trace. Whoever sends the request may have decided all the same whether it is sampled: B3 does
    /// that without a trace, as for health checks that nobody wants to see.
    pub(super) fn new(trace: u128, headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
        Self { trace, parent: None, sampled: text(&B3).and_then(sampled).or_else(|| sampled_multi(&text)) }
    }

    /// What a request says, if it can be understood; W3C's form counts first.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
        text(&TRACEPARENT)
            .and_then(read_w3c)
            .or_else(|| text(&B3).and_then(read_b3))
            .or_else(|| read_multi(&text))
    }

    /// Makes `span` the sender of the request, in every form that the request has; in W3C's if it has none.
    pub(super) fn write(&self, headers: &mut HeaderMap, span: u64, sampled: bool) {
        let Self { trace, parent, .. } = self;
        let digit = u8::from(sampled);
        let has = |name: &HeaderName| headers.contains_key(name);
        let (single, multi) = (has(&B3), [B3_TRACE, B3_SAMPLED, B3_FLAGS].iter().any(has));
        if has(&TRACEPARENT) || !(single || multi) {
            set(headers, TRACEPARENT, &format!("00-{trace:032x}-{span:016x}-0{digit}"));
        }
        if single {
            let parent = parent.map(|parent| format!("-{parent:016x}")).unwrap_or_default();
            // It asks for more than a sample, so it stays what it is.
            let state = if sampled && is_debug(headers) { "d".to_owned() } else { digit.to_string() };
            set(headers, B3, &format!("{trace:032x}-{span:016x}-{state}{parent}"));
        }
        if multi {
            set(headers, B3_TRACE, &format!("{trace:032x}"));
            set(headers, B3_SPAN, &format!("{span:016x}"));
            set(headers, B3_SAMPLED, &digit.to_string());
            if let Some(parent) = parent {
                set(headers, B3_PARENT, &format!("{parent:016x}"));
            }
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    // Digits and lines may stand in a header.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

fn read_w3c(text: &str) -> Option<Context> {
    if !is_traceparent(text) {
        return None;
    }
    let mut parts = text.split('-').skip(1);
    let (trace, parent) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let flags = hex(parts.next()?)?;
    Some(Context { trace, parent: Some(parent as u64), sampled: Some(flags & 1 == 1) })
}

/// `<trace>-<span>[-<sampled>[-<parent>]]`.
fn read_b3(text: &str) -> Option<Context> {
    let mut parts = text.split('-');
    let (trace, parent) = (trace(parts.next()?)?, span(parts.next()?)?);
    Some(Context { trace, parent: Some(parent), sampled: parts.next().and_then(sampled) })
}

fn read_multi<'a>(text: &impl Fn(&HeaderName) -> Option<&'a str>) -> Option<Context> {
    let (trace, parent) = (trace(text(&B3_TRACE)?)?, span(text(&B3_SPAN)?)?);
    Some(Context { trace, parent: Some(parent), sampled: sampled_multi(text) })
}

/// What `x-b3-flags` and `x-b3-sampled` decide, with a trace or without: "debug" is sampled too.
fn sampled_multi<'a>(text: &impl Fn(&HeaderName) -> Option<&'a str>) -> Option<bool> {
    let debug = text(&B3_FLAGS).filter(|flags| *flags == "1").map(|_| true);
    debug.or_else(|| sampled(text(&B3_SAMPLED)?))
}

/// Whether `b3` says "debug", with a trace or without.
fn is_debug(headers: &HeaderMap) -> bool {
    let text = headers.get(B3).and_then(|text| text.to_str().ok()).unwrap_or_default();
    text == "d" || text.split('-').nth(2) == Some("d")
}

/// `d` is "debug", which is sampled too; older senders write words.
fn sampled(text: &str) -> Option<bool> {
    match text {
        "1" | "d" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

fn trace(text: &str) -> Option<u128> {
    hex(text).filter(|trace| matches!(text.len(), 16 | 32) && *trace != 0)
}

fn span(text: &str) -> Option<u64> {
    hex(text).filter(|span| text.len() == 16 && *span != 0).map(|span| span as u64)
}

fn hex(text: &str) -> Option<u128> {
    // No sign, which `from_str_radix` would take.
    text.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::try_from(*value).expect("a value"))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn each_form_is_read_and_written() {
        let (low, own) = (&TRACE[16..], "00000000000000ff");
        let w3c = |flags: &str| format!("00-{TRACE}-{SPAN}-{flags}");
        let single = format!("{TRACE}-{SPAN}-1");
        for (case, has, sampled, want) in [
            (
                "W3C",
                vec![("traceparent", &*w3c("01"))],
                Some(true),
                vec![("traceparent", format!("00-{TRACE}-{own}-01"))],
            ),
            (
                "W3C, not sampled",
                vec![("traceparent", &w3c("00"))],
                Some(false),
                vec![("traceparent", format!("00-{TRACE}-{own}-00"))],
            ),
            ("B3", vec![("b3", &single)], Some(true), vec![("b3", format!("{TRACE}-{own}-1-{SPAN}"))]),
            (
                "B3 in many",
                vec![("x-b3-traceid", low), ("x-b3-spanid", SPAN)],
                None,
                vec![
                    ("x-b3-traceid", format!("{}{low}", "0".repeat(16))),
                    ("x-b3-spanid", own.to_owned()),
                    ("x-b3-parentspanid", SPAN.to_owned()),
                    ("x-b3-sampled", "0".to_owned()),
                ],
            ),
            (
                "B3 to be debugged",
                vec![("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")],
                Some(true),
                vec![("x-b3-sampled", "1".to_owned())],
            ),
            (
                "both",
                vec![("traceparent", &w3c("01")), ("b3", &single)],
                Some(true),
                vec![
                    ("traceparent", format!("00-{TRACE}-{own}-01")),
                    ("b3", format!("{TRACE}-{own}-1-{SPAN}")),
                ],
            ),
        ] {
            let mut all = headers(&has);
            let context = Context::read(&all).expect(case);
            assert_eq!(context.sampled, sampled, "{case}");
            assert_eq!(format!("{:016x}", context.parent.expect(case)), SPAN, "{case}");
            context.write(&mut all, 255, sampled.unwrap_or(false));
            for (name, value) in want {
                assert_eq!(all[name].to_str().expect("text"), value, "{case}: {name}");
            }
        }
        let debugged = format!("{TRACE}-{SPAN}-d");
        let mut all = headers(&[("b3", &debugged)]);
        Context::read(&all).expect("a trace").write(&mut all, 255, true);
        assert_eq!(all["b3"].to_str().expect("text"), format!("{TRACE}-{own}-d-{SPAN}"));
        for bad in [
            vec![],
            vec![("traceparent", "00-0-0-0")],
            vec![("b3", "0")],
            vec![("b3", "+bf92f3577b34da6-00f067aa0ba902b7")],
            vec![("x-b3-traceid", TRACE)],
        ] {
            assert_eq!(Context::read(&headers(&bad)), None, "{bad:?}");
        }
    }
    #[test]
    fn b3_decides_without_a_trace_too() {
        for (case, has, want, written) in [
            ("nothing", vec![], None, vec![("traceparent", "00-1-ff-01")]),
            ("no", vec![("b3", "0")], Some(false), vec![("b3", "1-ff-0")]),
            ("yes", vec![("b3", "1")], Some(true), vec![("b3", "1-ff-1")]),
            ("debug", vec![("b3", "d")], Some(true), vec![("b3", "1-ff-d")]),
            ("no word", vec![("b3", "x")], None, vec![("b3", "1-ff-1")]),
            (
                "no, in many",
                vec![("x-b3-sampled", "0")],
                Some(false),
                vec![("x-b3-traceid", "1"), ("x-b3-sampled", "0")],
            ),
            (
                "yes, in many",
                vec![("x-b3-sampled", "1")],
                Some(true),
                vec![("x-b3-traceid", "1"), ("x-b3-sampled", "1")],
            ),
            (
                "debug, in many",
                vec![("x-b3-flags", "1"), ("x-b3-sampled", "0")],
                Some(true),
                vec![("x-b3-traceid", "1"), ("x-b3-flags", "1"), ("x-b3-sampled", "1")],
            ),
        ] {
            let mut all = headers(&has);
            assert_eq!(Context::read(&all), None, "{case}: there is no trace");
            let context = Context::new(1, &all);
            assert_eq!(context.sampled, want, "{case}");
            context.write(&mut all, 255, want.unwrap_or(true));
            // Without the zeros before.
            let short = |text: &str| {
                let parts = text
                    .split('-')
                    .map(|part| if part.len() < 16 { part } else { part.trim_start_matches('0') });
                parts.collect::<Vec<_>>().join("-")
            };
            for (name, value) in written {
                assert_eq!(short(all[name].to_str().expect("text")), value, "{case}: {name}");
            }
            assert_eq!(
                all.contains_key("traceparent"),
                has.is_empty(),
                "{case}: it has the form that it came in"
            );
        }
    }
}
