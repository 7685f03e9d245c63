//! Cookies of a request in one line, however a client has split them. HTTP/2 may do so (RFC 9113 §8.2.3), and browsers do: a
//! rule that compares cookies means all of them, and a backend of HTTP/1 takes one line.

use http::{HeaderMap, HeaderValue, header};

/// Joins the lines, with `; ` between them. In HTTP/1 there is to be one already (RFC 6265 §5.4); who sends more means no list
/// with commas, which cookies have not.
pub fn join(headers: &mut HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let all: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
    let is_sensitive = lines.iter().any(HeaderValue::is_sensitive);
    // What may stand in each of them may stand in one.
    let Ok(mut whole) = HeaderValue::from_bytes(&all.join(&b"; "[..])) else { return };
    whole.set_sensitive(is_sensitive);
    headers.insert(header::COOKIE, whole);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_cookies() {
        for (case, lines, want) in [
            ("none", &[][..], &[][..]),
            ("one", &[&b"a=1; b=2"[..]], &[&b"a=1; b=2"[..]]),
            ("split", &[b"a=1", b"b=2; c=3", b"d=4"], &[b"a=1; b=2; c=3; d=4"]),
            ("no text", &[b"a=\xe9", b"b=2"], &[b"a=\xe9; b=2"]),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x", HeaderValue::from_static("other"));
            for line in lines {
                headers.append(header::COOKIE, HeaderValue::from_bytes(line).expect("a value"));
            }
            join(&mut headers);
            let found: Vec<&[u8]> =
                headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
            assert_eq!(found, want, "{case}");
            assert_eq!(headers["x"], "other", "{case}");
        }
    }

    #[test]
    fn what_one_of_them_keeps_from_tables_all_of_it_does() {
        let mut headers = HeaderMap::new();
        let mut secret = HeaderValue::from_static("b=2");
        secret.set_sensitive(true);
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, secret);
        join(&mut headers);
        assert!(headers[header::COOKIE].is_sensitive());
    }
}
