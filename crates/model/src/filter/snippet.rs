//! What snippets of nginx's configuration say, as far as they are understood.

use crate::condition::Pattern;
use crate::text::Text;

/// What an Ingress's snippets say of its requests and responses (`server-snippet`,
/// `configuration-snippet`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snippet {
    /// Of the whole host, which goes first.
    pub server: Block,
    /// Of its paths.
    pub location: Block,
    /// How many variables are set. In texts they are captures from [`Snippet::OWN`] on.
    pub variables: u8,
}

impl Snippet {
    /// The number of the first variable that a snippet itself has: those before it are a pattern's.
    pub const OWN: u8 = 10;
}

/// What holds in one place of nginx's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// What is done one after the other.
    pub steps: Box<[Step]>,
    /// What is done to fields, whatever the steps come to.
    pub edits: Edits,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is done.
    Do(Act),
    /// Some are done where a condition holds.
    If(Box<If>),
}

/// Steps under a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct If {
    /// When.
    pub condition: Condition,
    /// What is done.
    pub acts: Box<[Act]>,
    /// What is done to fields, where this is the last condition that holds.
    pub edits: Edits,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It is neither empty nor `0`.
    Is(Text),
    /// Two texts are the same, or are not.
    Equal {
        /// The one.
        left: Text,
        /// The other.
        right: Text,
        /// What is asked.
        is: bool,
    },
    /// A text matches, or does not.
    Matches {
        /// The text.
        left: Text,
        /// What it is compared with.
        pattern: Pattern,
        /// What is asked.
        is: bool,
    },
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A variable gets a value.
    Set {
        /// Its number, from 0 on.
        variable: u8,
        /// What it gets.
        value: Text,
    },
    /// The answer is given.
    Return {
        /// Its status.
        status: u16,
        /// What it says.
        says: Says,
    },
    /// The path is another one, where it matches.
    Rewrite {
        /// What it is compared with.
        pattern: Pattern,
        /// The path, or where the client is sent.
        to: Text,
        /// What follows.
        then: Then,
    },
    /// Nothing of this block is done any more.
    Break,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Says {
    /// What its status means.
    Status,
    /// A text.
    Text(Text),
    /// Where to go.
    Location(Text),
}

/// What follows a path's being another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next step.
    GoOn,
    /// Nothing more of this block.
    Stop,
    /// The client is sent there, with this status.
    Redirect(u16),
}

/// What is done to fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Of requests, in order.
    pub request: Box<[RequestEdit]>,
    /// Of responses, in order.
    pub response: Box<[ResponseEdit]>,
    /// The Content-Type of texts that are returned (`default_type`).
    pub default_type: Option<Text>,
}

/// What is done to a request's field; an empty value is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestEdit {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub value: Text,
    /// Whether it is done only where there is such a field.
    pub if_there: bool,
}

/// What is done to a response's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResponseEdit {
    /// `add_header`.
    Add {
        /// Its name.
        name: Box<str>,
        /// Its value; where that is empty, nothing is added.
        value: Text,
        /// Whatever the status is.
        always: bool,
    },
    /// `more_set_headers`: in the place of what there is; an empty value is none.
    Set {
        /// Its name.
        name: Box<str>,
        /// Its value.
        value: Text,
        /// Of which responses.
        of: Responses,
    },
    /// `more_clear_headers`, `proxy_hide_header`.
    Clear {
        /// Its name; an asterisk at the end is any rest.
        name: Box<str>,
        /// Of which responses.
        of: Responses,
    },
    /// `expires`.
    Expires(Expires),
}

/// Some responses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Responses {
    /// Of these statuses; none is all.
    pub statuses: Box<[u16]>,
    /// Of these types; none is all.
    pub types: Box<[Box<str>]>,
}

/// How long a response is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expires {
    /// It has been for long.
    Epoch,
    /// For ever.
    Max,
    /// For so many seconds; below zero it is stale.
    Seconds(i64),
}
