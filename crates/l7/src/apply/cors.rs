//! Requests from other origins (Fetch Standard §3.2, "CORS protocol"; Gateway API, `HTTPCORSFilter`).

use crate::rule::Cors;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use std::sync::Arc;

/// What the rule makes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes on, and its response is [`allow`]ed for this origin.
    Allowed(HeaderValue),
    /// It goes on, and its response says nothing: it is of no other origin, or of one that may not. The browser keeps the
    /// response from the page then.
    AsItIs,
    /// It is a preflight, and this is the answer.
    Answer(Response<Vec<u8>>),
}

/// Decides a request.
pub fn decide(cors: &Cors, head: &request::Parts) -> Decision {
    let Some(origin) = head.headers.get(header::ORIGIN) else { return Decision::AsItIs };
    let asks =
        head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| head.method == Method::OPTIONS);
    let may = origin.to_str().is_ok_and(|text| cors.origins.iter().any(|one| one.holds(text)));
    match (may, asks) {
        (true, Some(method)) => Decision::Answer(preflight(cors, origin, method, &head.headers)),
        (true, None) => Decision::Allowed(origin.clone()),
        // Without headers of CORS a browser takes it for a no.
        (false, Some(_)) if !cors.forward_unmatched => Decision::Answer(empty()),
        (false, _) => Decision::AsItIs,
    }
}

/// What a response has to say for pages of an origin to see it.
pub fn allow(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    allow_origin(cors, origin, headers);
    let exposed = if is_wild(&cors.exposed) && cors.credentials {
        // With credentials `*` is a header of that name (Fetch §3.2.5), so they are listed.
        let names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        HeaderValue::try_from(names.join(", ")).ok()
    } else {
        list(&cors.exposed)
    };
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}

fn preflight(
    cors: &Cors,
    origin: &HeaderValue,
    method: &HeaderValue,
    asked: &HeaderMap,
) -> Response<Vec<u8>> {
    let mut response = empty();
    let headers = response.headers_mut();
    allow_origin(cors, origin, headers);
    // `*` is a name where there are credentials (Fetch §3.2.5), so what was asked for is said instead.
    let said = |may: &[Arc<str>], asked: Option<&HeaderValue>| {
        if is_wild(may) && cors.credentials { asked.cloned() } else { list(may) }
    };
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, said(&cors.methods, Some(method)));
    let names = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
    set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, said(&cors.headers, names));
    let max_age = cors.max_age.map(|age| HeaderValue::from(age.as_secs()));
    set(headers, header::ACCESS_CONTROL_MAX_AGE, max_age);
    response
}

/// The origin itself, never `*`: that is right with credentials and without, and caches are told that it varies.
fn allow_origin(cors: &Cors, origin: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    if cors.credentials {
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

/// An empty list says nothing, and so leaves what a backend said.
fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn list(names: &[Arc<str>]) -> Option<HeaderValue> {
    if names.is_empty() {
        return None;
    }
    HeaderValue::try_from(if is_wild(names) { "*".to_owned() } else { names.join(", ") }).ok()
}

fn is_wild(names: &[Arc<str>]) -> bool {
    names.iter().any(|name| **name == *"*")
}

fn empty() -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextMatch;
    use std::time::Duration;

    fn head(method: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut builder = http::Request::builder().method(method).uri("/a");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    fn cors(credentials: bool, names: &[&str]) -> Cors {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        Cors {
            origins: vec![TextMatch::Exact("https://shop.org".into()), TextMatch::Suffix(".test".into())],
            methods: names.clone(),
            headers: names.clone(),
            exposed: names,
            max_age: Some(Duration::from_secs(60)),
            credentials,
            forward_unmatched: false,
        }
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<String> = headers
            .iter()
            .filter_map(|(name, value)| {
                let short = name.as_str().strip_prefix("access-control-")?;
                Some(format!("{short}: {}", value.to_str().expect("text")))
            })
            .collect();
        lines.sort();
        lines
    }

    const ORIGIN: (&str, &str) = ("origin", "https://shop.org");
    const ASKS: [(&str, &str); 3] =
        [ORIGIN, ("access-control-request-method", "PUT"), ("access-control-request-headers", "x-a, x-b")];

    #[test]
    fn preflights() {
        for (case, cors, want) in [
            (
                "named",
                cors(false, &["GET", "PUT"]),
                &[
                    "allow-headers: GET, PUT",
                    "allow-methods: GET, PUT",
                    "allow-origin: https://shop.org",
                    "max-age: 60",
                ][..],
            ),
            (
                "all",
                cors(false, &["*"]),
                &["allow-headers: *", "allow-methods: *", "allow-origin: https://shop.org", "max-age: 60"],
            ),
            (
                "all, with credentials",
                cors(true, &["*"]),
                &[
                    "allow-credentials: true",
                    "allow-headers: x-a, x-b",
                    "allow-methods: PUT",
                    "allow-origin: https://shop.org",
                    "max-age: 60",
                ],
            ),
            ("nothing named", cors(false, &[]), &["allow-origin: https://shop.org", "max-age: 60"]),
        ] {
            let Decision::Answer(response) = decide(&cors, &head("OPTIONS", &ASKS)) else { panic!("{case}") };
            assert_eq!(
                (response.status().as_u16(), &shown(response.headers())[..]),
                (200, &want.map_owned()[..]),
                "{case}"
            );
            assert_eq!(response.headers()["vary"], "origin", "{case}");
        }
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn what_becomes_of_a_request() {
        let strict = cors(false, &["GET"]);
        let lax = Cors { forward_unmatched: true, ..cors(false, &["GET"]) };
        let foreign = ("origin", "https://evil.org");
        for (case, cors, method, headers, want) in [
            ("no origin", &strict, "GET", &[][..], "as it is"),
            ("an origin that may", &strict, "GET", &[ORIGIN], "allowed"),
            ("one by its end", &strict, "POST", &[("origin", "http://a.test")], "allowed"),
            ("one that may not", &strict, "GET", &[foreign], "as it is"),
            ("OPTIONS that asks nothing", &strict, "OPTIONS", &[ORIGIN], "allowed"),
            ("a preflight", &strict, "OPTIONS", &ASKS, "answer 5"),
            ("a preflight that may not", &strict, "OPTIONS", &[foreign, ASKS[1]], "answer 0"),
            ("a preflight that may not, and goes on", &lax, "OPTIONS", &[foreign, ASKS[1]], "as it is"),
            ("a preflight that asks as GET", &strict, "GET", &ASKS, "allowed"),
        ] {
            let got = match decide(cors, &head(method, headers)) {
                Decision::Allowed(_) => "allowed".to_owned(),
                Decision::AsItIs => "as it is".to_owned(),
                Decision::Answer(response) => format!("answer {}", response.headers().len() - 1),
            };
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn what_pages_see() {
        let origin = HeaderValue::from_static("https://shop.org");
        for (credentials, names, want) in [
            (false, &["x-a", "x-b"][..], &["allow-origin: https://shop.org", "expose-headers: x-a, x-b"][..]),
            (false, &["*"], &["allow-origin: https://shop.org", "expose-headers: *"]),
            (false, &[], &["allow-origin: https://shop.org", "expose-headers: own"]),
            (
                true,
                &["x-a"],
                &["allow-credentials: true", "allow-origin: https://shop.org", "expose-headers: x-a"],
            ),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
            headers.insert("access-control-expose-headers", HeaderValue::from_static("own"));
            allow(&cors(credentials, names), &origin, &mut headers);
            assert_eq!(shown(&headers), want, "{credentials} {names:?}");
        }
        let mut headers: HeaderMap = [(header::ETAG, HeaderValue::from_static("1"))].into_iter().collect();
        allow(&cors(true, &["*"]), &origin, &mut headers);
        assert!(headers["access-control-expose-headers"].to_str().is_ok_and(|names| names.contains("etag")));
    }
}
