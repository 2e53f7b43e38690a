//! What backends say of themselves, in words that hold outside.

use crate::condition::Pattern;

/// Changes what responses say of where things are (nginx: `proxy_redirect`, `proxy_cookie_domain`,
/// `proxy_cookie_path`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseRewrite {
    /// Of `Location` and `Refresh`.
    pub redirect: Option<Replace>,
    /// Of the attribute `Domain` of cookies, compared as a whole, in any case and without the dot in
    /// front.
    pub cookie_domain: Option<Replace>,
    /// Of the attribute `Path` of cookies.
    pub cookie_path: Option<Replace>,
}

/// A text in the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// What is replaced.
    pub from: Replaced,
    /// What takes its place.
    pub to: Box<str>,
}

/// What is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaced {
    /// This, where it is the beginning (a cookie's domain: where it is all).
    Text(Box<str>),
    /// All, where it matches.
    Matching(Pattern),
}
