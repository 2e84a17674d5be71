//! Signature Version 4, as AWS's public reference has it: canonical request, text to sign, derived key.

use ring::hmac;
use sha2::{Digest as _, Sha256};

/// An access key.
#[derive(Clone)]
pub(super) struct Keys {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The session's token, of keys that are lent for a time.
    pub session: Option<String>,
}

impl Keys {
    /// `ID:SECRET` or `ID:SECRET:SESSION`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, ':').map(str::to_owned);
        let keys = Self { id: parts.next()?, secret: parts.next()?, session: parts.next() };
        (!keys.id.is_empty() && !keys.secret.is_empty()).then_some(keys)
    }
}

/// What is signed. Headers are in lower case and in order of their names; path and query are canonical already.
pub(super) struct Request<'a> {
    /// Method.
    pub method: &'a str,
    /// Path.
    pub path: &'a str,
    /// Query.
    pub query: &'a str,
    /// Headers, all of which are signed.
    pub headers: &'a [(String, String)],
    /// Body.
    pub body: &'a [u8],
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

/// The header `authorization` of a request at a time (`20150830T123600Z`).
pub(super) fn sign(keys: &Keys, request: &Request<'_>, region: &str, service: &str, time: &str) -> String {
    let day = time.get(..8).unwrap_or(time);
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = request.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let body = hex::encode(Sha256::digest(request.body));
    let canonical = format!("{}\n{}\n{}\n{lines}\n{names}\n{body}", request.method, request.path, request.query);
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical.as_bytes())));
    let mut key = mac(format!("AWS4{}", keys.secret).as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    let signature = hex::encode(mac(key.as_ref(), &text));
    format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` of the test suite that AWS publishes.
    #[test]
    fn the_published_example_has_its_signature() {
        let keys = Keys::parse("AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").unwrap();
        let time = "20150830T123600Z";
        let headers =
            [("host".to_owned(), "example.amazonaws.com".to_owned()), ("x-amz-date".to_owned(), time.to_owned())];
        let request = Request { method: "GET", path: "/", query: "", headers: &headers, body: b"" };
        assert_eq!(
            sign(&keys, &request, "us-east-1", "service", time),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
    }

    #[test]
    fn keys_are_two_or_three_parts() {
        let keys = Keys::parse("a:b:c:d\n").unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.as_str(), keys.session.as_deref()), ("a", "b", Some("c:d")));
        assert!(Keys::parse("a").is_none() && Keys::parse("a:").is_none() && Keys::parse(":b").is_none());
    }
}
