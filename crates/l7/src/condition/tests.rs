//! Conditions that hold, that do not, and that are refused.

use super::*;

/// A request for `/v1/cart?x=1` that came to 503.
struct Request;

impl Facts for Request {
    fn text(&self, which: TextAttribute) -> Option<Cow<'_, str>> {
        match which {
            TextAttribute::Path => Some("/v1/cart?x=1".into()),
            TextAttribute::UrlPath => Some("/v1/cart".into()),
            TextAttribute::Method => Some("GET".into()),
            _ => None,
        }
    }

    fn number(&self, which: NumberAttribute) -> Option<i64> {
        match which {
            NumberAttribute::ResponseCode => Some(503),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        (name == "user-agent").then_some("Chrome/142".into())
    }
}

#[test]
fn conditions_hold_or_do_not() {
    for (text, want) in [
        ("true", true),
        ("response.code >= 400", true),
        ("response.code<500", false),
        ("response.code == 503 && request.method == 'GET'", true),
        ("response.code in [500, 503]", true),
        ("response.code in []", false),
        ("request.method in ['PUT', \"GET\"]", true),
        ("!(response.code == 503)", false),
        ("!!(response.code > -1)", true),
        ("request.url_path.contains('v1')", true),
        ("request.path.endsWith('x=1') && !request.url_path.endsWith('x=1')", true),
        ("request.url_path.startsWith('/v1/')", true),
        ("request.url_path.matches('c.rt$')", true),
        ("request.url_path.matches('^cart')", false),
        ("request.useragent.startsWith('Chrome')", true),
        ("request.headers['User-Agent'] != 'curl'", true),
        ("size(request.url_path) == 8 && request.method.size() == 3", true),
        ("has(request.useragent)", true),
        ("has(request.referer)", false),
        ("has(response.grpc_status)", false),
        ("connection.mtls", true),
        ("connection.mtls == false", false),
        // What is not there is an error, and no operand of its own accord.
        ("request.host == 'web'", false),
        ("!(request.host == 'web')", false),
        ("request.host == 'web' || response.code == 503", true),
        ("!has(request.host) || request.host == 'web'", true),
        ("request.host == 'web' && response.code == 200", false),
        ("true || false && false", true),
        (r"request.method != 'G\'E'", true),
    ] {
        let condition: Condition = text.parse().expect(text);
        assert_eq!(condition.holds(&Request), want, "{text}");
        assert_eq!(condition.as_str(), text);
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (text, why) in [
        ("", "it ends too early"),
        ("response.code", "a number stands where something true or false belongs"),
        ("response.flags == 1", "response.flags is not known"),
        ("xds.cluster_name == 'x'", "xds.cluster_name is not known"),
        ("request.duration > duration('1s')", "request.duration is not known"),
        ("response.code == '503'", "what stands around == cannot be compared"),
        ("response.code == 5.5", "5.5 is no whole number"),
        ("request.path.lowerAscii() == 'x'", ") is not expected where it stands"),
        ("request.path.frob('x')", "the function frob is not known"),
        ("request.path.matches('(')", "is no regular expression"),
        ("request.path.matches(request.host)", "matches takes a text in quotes"),
        ("request.path == 'x", "a text has no closing '"),
        ("response.code == 1 ? true : false", "? is not expected where it stands"),
        ("response.code + 1 == 2", "+ is not expected where it stands"),
        ("response.code == 1 response.code", "response is not expected where it stands"),
        ("(response.code == 1", "it ends where ) belongs"),
        ("request.headers", "it ends where [ belongs"),
        ("has('x')", "has() takes an attribute"),
        ("a % b", "'%' has no meaning in it"),
    ] {
        let error = text.parse::<Condition>().expect_err(text).to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    let deep = format!("{}true{}", "(".repeat(100), ")".repeat(100));
    assert!(deep.parse::<Condition>().is_err());
}

#[test]
fn headers_that_are_looked_at() {
    let condition: Condition =
        "has(request.useragent) && request.headers['X-User'] == 'a'".parse().expect("one");
    assert_eq!(condition.headers(), ["user-agent".into(), "x-user".into()]);
}
