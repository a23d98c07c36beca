//! Who may ask: whoever has a token, as a bearer or by a cookie that the page got for it.
//!
//! A cookie is `EXPIRY.MAC`: the second at which it ends, and an HMAC-SHA256 of that second under the token. So
//! nothing is stored, cookies outlive a restart, and they end with the token that they were given for.

use std::fmt::{self, Write};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Uri};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::{Error, Result};

/// The name of the cookie.
pub const COOKIE_NAME: &str = "faster_rcnn_session";

/// How long a cookie is taken.
pub const SESSION_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Fewer characters could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The tokens that are taken; none where everybody may ask.
#[derive(Clone, Default)]
pub struct SignIn {
    tokens: Vec<String>,
}

/// Without the tokens, so that no log has them.
impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignIn").field("tokens", &self.tokens.len()).finish()
    }
}

/// How a request has shown that it may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedIn {
    /// Nothing needs to be shown.
    NotRequired,
    /// A token in the header `Authorization`, which other sites cannot make a browser send.
    Bearer,
    /// The page's cookie.
    Cookie,
    /// Not at all.
    No,
}

/// Which site a browser sends a request for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// This one.
    Own,
    /// Another one.
    Other,
    /// The client says nothing of it: it is no browser, or an old one.
    Unknown,
}

impl SignIn {
    /// Reads a file with a token a line.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]; [`Error::File`] and [`Error::Line`] where there is no token, or one that cannot be used.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let token = |(index, token): (usize, &str)| {
            if token.len() < SHORTEST_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                let message = format!(
                    "a token has at least {SHORTEST_TOKEN} characters, ASCII and without spaces; \
                     `openssl rand -hex 16` makes one"
                );
                return Err(Error::line(path, index + 1, message));
            }
            Ok(token.to_string())
        };
        let tokens = lines.map(token).collect::<Result<Vec<_>>>()?;
        if tokens.is_empty() {
            return Err(Error::file(path, "holds no token"));
        }
        Ok(Self { tokens })
    }

    /// Whether a token is needed at all.
    pub fn is_required(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// How a request has signed in.
    pub fn of(&self, headers: &HeaderMap) -> SignedIn {
        if !self.is_required() {
            return SignedIn::NotRequired;
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        if bearer.is_some_and(|token| self.token(token).is_some()) {
            return SignedIn::Bearer;
        }
        let now = now();
        let mut cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let is_taken = cookies.any(|cookies| {
            let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.any(|(name, value)| name == COOKIE_NAME && self.takes_cookie(value, now))
        });
        if is_taken { SignedIn::Cookie } else { SignedIn::No }
    }

    /// The value of a cookie for somebody who has a token.
    pub fn cookie(&self, token: &str) -> Option<String> {
        let ends = now() + SESSION_TIME.as_secs();
        self.token(token).map(|token| format!("{ends}.{}", mac(token, ends)))
    }

    /// The token that equals `given`. The time that this takes says nothing of the tokens.
    fn token(&self, given: &str) -> Option<&str> {
        let digest = |token: &str| Sha256::digest(token.as_bytes());
        let given = digest(given);
        let equals = |token: &&String| bool::from(digest(token).as_slice().ct_eq(given.as_slice()));
        // All are compared, whichever it is.
        let equal: Vec<&String> = self.tokens.iter().filter(equals).collect();
        equal.first().map(|token| token.as_str())
    }

    fn takes_cookie(&self, value: &str, now: u64) -> bool {
        let Some((ends, given)) = value.split_once('.') else { return false };
        let Ok(ends) = ends.parse::<u64>() else { return false };
        let equals = self.tokens.iter().fold(Choice::from(0), |equals, token| {
            equals | mac(token, ends).as_bytes().ct_eq(given.as_bytes())
        });
        bool::from(equals) && now < ends
    }
}

/// In hexadecimal digits.
fn mac(token: &str, ends: u64) -> String {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(token.as_bytes()).expect("a key of any length");
    mac.update(format!("{COOKIE_NAME} {ends}").as_bytes());
    mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Which site a request comes from.
pub fn site(headers: &HeaderMap) -> Site {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return if matches!(site, "same-origin" | "none") { Site::Own } else { Site::Other };
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return Site::Unknown };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    if authority.is_some() && authority == text(HOST.as_str()) { Site::Own } else { Site::Other }
}

/// Whether the client and this server speak through TLS, as far as a proxy or the browser says.
pub fn is_behind_tls(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text("x-forwarded-proto").eq_ignore_ascii_case("https") || text(ORIGIN.as_str()).starts_with("https://")
}

/// Whether the request names this machine by an address or as `localhost`. A site of an attacker's can give its
/// own name this machine's address; its scripts could then read a server that needs no token.
pub fn names_this_machine(headers: &HeaderMap, uri: &Uri) -> bool {
    let host = match headers.get(HOST) {
        Some(host) => host.to_str().unwrap_or_default(),
        None => uri.authority().map_or("localhost", |authority| authority.as_str()),
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn tokens_and_cookies_are_taken_and_no_others() {
        let sign_in = SignIn { tokens: vec!["another token, here".to_string(), TOKEN.to_string()] };
        let of = |name, value: &str| sign_in.of(&headers(&[(name, value)]));
        assert_eq!(of("authorization", &format!("Bearer {TOKEN}")), SignedIn::Bearer);
        assert_eq!(of("authorization", &format!("bearer  {TOKEN} ")), SignedIn::Bearer);
        for wrong in ["", "Bearer", "Bearer ", "Basic 0123456789abcdef", "Bearer 0123456789abcdeg", TOKEN] {
            assert_eq!(of("authorization", wrong), SignedIn::No, "{wrong}");
        }
        assert_eq!(sign_in.cookie("another token"), None);
        let cookie = sign_in.cookie(TOKEN).unwrap();
        assert_eq!(of("cookie", &format!("a=b; {COOKIE_NAME}={cookie}")), SignedIn::Cookie);
        let (ends, mac) = cookie.split_once('.').unwrap();
        let later = format!("{}.{mac}", ends.parse::<u64>().unwrap() + 1);
        for wrong in [later.as_str(), ends, mac, "", "1.", &format!("{ends}."), &format!("{cookie}0")] {
            assert_eq!(of("cookie", &format!("{COOKIE_NAME}={wrong}")), SignedIn::No, "{wrong}");
        }
        let ends = ends.parse().unwrap();
        assert!(sign_in.takes_cookie(&cookie, ends - 1) && !sign_in.takes_cookie(&cookie, ends));
        let changed = SignIn { tokens: vec!["fedcba9876543210".to_string()] };
        assert!(!changed.takes_cookie(&cookie, ends - 1));
        assert_eq!(SignIn::default().of(&HeaderMap::new()), SignedIn::NotRequired);
    }

    #[test]
    fn files_of_tokens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            SignIn::read(&path)
        };
        assert_eq!(read(&format!("\n {TOKEN} \r\n{TOKEN}2\n")).unwrap().tokens.len(), 2);
        assert!(read(" \n").err().unwrap().to_string().ends_with("tokens: holds no token"));
        for wrong in ["short", "with space 0123456789", "äääääääääääääääää"] {
            let error = read(&format!("{TOKEN}\n{wrong}")).err().unwrap().to_string();
            assert!(error.contains("tokens:2: a token has at least 16"), "{error}");
        }
    }

    #[test]
    fn other_sites_are_told_apart() {
        for (pairs, expected) in [
            (&[("sec-fetch-site", "same-origin"), ("origin", "http://other")][..], Site::Own),
            (&[("sec-fetch-site", "none")], Site::Own),
            (&[("sec-fetch-site", "same-site")], Site::Other),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://a:80"), ("host", "a:80")], Site::Other),
            (&[("origin", "http://a:8080"), ("host", "a:8080")], Site::Own),
            (&[("origin", "http://a:8080"), ("host", "a:8081")], Site::Other),
            (&[("origin", "null"), ("host", "null")], Site::Other),
            (&[("host", "a")], Site::Unknown),
        ] {
            assert_eq!(site(&headers(pairs)), expected, "{pairs:?}");
        }
        let uri = Uri::from_static("/");
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:8080", "[::1]", "10.0.0.5"] {
            assert!(names_this_machine(&headers(&[("host", host)]), &uri), "{host}");
        }
        for host in ["evil.com", "evil.com:8080", "localhost.evil.com", "127.0.0.1.evil.com", ""] {
            assert!(!names_this_machine(&headers(&[("host", host)]), &uri), "{host}");
        }
        assert!(is_behind_tls(&headers(&[("x-forwarded-proto", "https")])));
        assert!(is_behind_tls(&headers(&[("origin", "https://a")])) && !is_behind_tls(&HeaderMap::new()));
    }
}
