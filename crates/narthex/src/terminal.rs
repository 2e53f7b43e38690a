//! Colours, where they are read by people.

use std::fmt;

/// What a text is written in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    /// As it should be.
    Green,
    /// Doubtful.
    Yellow,
    /// Wrong.
    Red,
}

/// A text in a colour, if there are any.
pub(crate) struct Painted<T> {
    text: T,
    colour: Option<Colour>,
}

/// Paints a text, where `colours` says that there are any.
pub(crate) fn painted<T: fmt::Display>(text: T, colour: Colour, colours: bool) -> Painted<T> {
    Painted {
        text,
        colour: colours.then_some(colour),
    }
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bold, each of them.
        let on = match self.colour {
            None => return self.text.fmt(f),
            Some(Colour::Green) => "\x1b[1;32m",
            Some(Colour::Yellow) => "\x1b[1;33m",
            Some(Colour::Red) => "\x1b[1;31m",
        };
        write!(f, "{on}{}\x1b[0m", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_end_with_the_text_and_are_not_there_for_machines() {
        let paint = |colours| painted("no", Colour::Red, colours).to_string();
        assert_eq!(
            (paint(true), paint(false)),
            ("\x1b[1;31mno\x1b[0m".to_owned(), "no".to_owned())
        );
    }
}
