//! Text of nginx's configuration as directives: words, blocks, comments and quotes.

/// The longest text, in bytes.
const MOST_TEXT: usize = 64 * 1024;

/// The most directives in one text, whatever block they are in.
const MOST_DIRECTIVES: usize = 512;

/// The most blocks that are inside one another.
const MOST_DEPTH: usize = 4;

/// A directive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// Where it begins, from 1 on.
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) words: Vec<String>,
    /// What is in its braces, if it has some.
    pub(super) block: Option<Vec<Self>>,
}

/// Why a text cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadSyntax {
    pub(super) line: usize,
    pub(super) message: &'static str,
}

/// Reads a text.
pub(super) fn read(text: &str) -> Result<Vec<Directive>, BadSyntax> {
    let mut reader = Reader {
        rest: text,
        line: 1,
        count: 0,
    };
    if text.len() > MOST_TEXT {
        return Err(reader.bad("the text is longer than 64 KiB"));
    }
    reader.block(0)
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    count: usize,
}

/// What ends a word.
#[derive(PartialEq, Eq)]
enum Stop {
    Semicolon,
    Open,
    Close,
    End,
}

enum Next {
    Word(String),
    Stop(Stop),
}

impl Reader<'_> {
    fn bad(&self, message: &'static str) -> BadSyntax {
        BadSyntax {
            line: self.line,
            message,
        }
    }

    /// The directives up to the end of a block, or of the text.
    fn block(&mut self, depth: usize) -> Result<Vec<Directive>, BadSyntax> {
        let mut directives = Vec::new();
        loop {
            self.skip_blanks();
            let line = self.line;
            match self.next()? {
                Next::Word(name) => directives.push(self.directive(line, name, depth)?),
                Next::Stop(Stop::Close) if depth > 0 => return Ok(directives),
                Next::Stop(Stop::End) if depth == 0 => return Ok(directives),
                Next::Stop(Stop::End) => return Err(self.bad("a closing brace is missing")),
                Next::Stop(Stop::Close) => {
                    return Err(self.bad("there is nothing that this brace would close"));
                }
                Next::Stop(Stop::Semicolon | Stop::Open) => {
                    return Err(self.bad("a directive is missing here"));
                }
            }
        }
    }

    fn directive(
        &mut self,
        line: usize,
        name: String,
        depth: usize,
    ) -> Result<Directive, BadSyntax> {
        self.count += 1;
        if self.count > MOST_DIRECTIVES {
            return Err(self.bad("there are more than 512 directives"));
        }
        let mut words = Vec::new();
        loop {
            match self.next()? {
                Next::Word(word) => words.push(word),
                Next::Stop(stop) => {
                    let block = match stop {
                        Stop::Semicolon => None,
                        Stop::Open if depth < MOST_DEPTH => Some(self.block(depth + 1)?),
                        Stop::Open => return Err(self.bad("blocks are too deep")),
                        // These take as many words as there are: behind the last one nginx
                        // would go on reading in its own text.
                        Stop::End if depth == 0 && name.starts_with("more_") => None,
                        Stop::Close | Stop::End => {
                            return Err(self.bad("a semicolon is missing"));
                        }
                    };
                    return Ok(Directive {
                        line,
                        name,
                        words,
                        block,
                    });
                }
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = &self.rest[char.len_utf8()..];
        self.line += usize::from(char == '\n');
        Some(char)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Blanks, and comments, which are where a word could begin.
    fn skip_blanks(&mut self) {
        while let Some(char) = self.peek() {
            match char {
                ' ' | '\t' | '\r' | '\n' => {
                    self.take();
                }
                '#' => while self.take().is_some_and(|char| char != '\n') {},
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Result<Next, BadSyntax> {
        self.skip_blanks();
        match self.peek() {
            None => Ok(Next::Stop(Stop::End)),
            Some(stop @ (';' | '{' | '}')) => {
                self.take();
                Ok(Next::Stop(match stop {
                    ';' => Stop::Semicolon,
                    '{' => Stop::Open,
                    _ => Stop::Close,
                }))
            }
            Some(quote @ ('"' | '\'')) => {
                self.take();
                self.quoted(quote).map(Next::Word)
            }
            Some(_) => self.word().map(Next::Word),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, BadSyntax> {
        let begin = self.line;
        let mut word = String::new();
        loop {
            match self.take() {
                None => {
                    return Err(BadSyntax {
                        line: begin,
                        message: "a quote is not closed",
                    });
                }
                Some('\\') => self.escaped(&mut word),
                Some(char) if char == quote => break,
                Some(char) => word.push(char),
            }
        }
        match self.peek() {
            None | Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | '}' | ')') => Ok(word),
            Some(_) => Err(self.bad("something follows a closing quote")),
        }
    }

    fn word(&mut self) -> Result<String, BadSyntax> {
        let mut word = String::new();
        while let Some(char) = self.peek() {
            match char {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                // A variable's name in braces.
                '{' if word.ends_with('$') => {
                    while let Some(char) = self.take() {
                        word.push(char);
                        if char == '}' {
                            break;
                        }
                    }
                }
                '{' => break,
                '\\' => {
                    self.take();
                    self.escaped(&mut word);
                }
                _ => {
                    self.take();
                    word.push(char);
                }
            }
        }
        match word.is_empty() {
            true => Err(self.bad("a word is missing")),
            false => Ok(word),
        }
    }

    /// What follows a backslash: quotes and blanks lose it, all else keeps it.
    fn escaped(&mut self, word: &mut String) {
        match self.take() {
            Some(char @ ('"' | '\'' | '\\')) => word.push(char),
            Some('t') => word.push('\t'),
            Some('r') => word.push('\r'),
            Some('n') => word.push('\n'),
            Some(char) => word.extend(['\\', char]),
            None => word.push('\\'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(directives: &[Directive]) -> String {
        let all = directives.iter().map(|one| {
            let words = one.words.join("|");
            let block = one
                .block
                .as_ref()
                .map(|block| format!(" {{{}}}", shown(block)));
            format!(
                "{}:{} {words}{}",
                one.line,
                one.name,
                block.unwrap_or_default()
            )
        });
        all.collect::<Vec<_>>().join("; ")
    }

    fn read_ok(text: &str) -> String {
        shown(&read(text).expect("a text"))
    }

    #[test]
    fn words_quotes_comments_and_blocks_are_nginxs() {
        assert_eq!(
            read_ok("# first\nadd_header X-A \"b; 'c' \\\"d\\\"\" always; # more\nreturn 200;"),
            "2:add_header X-A|b; 'c' \"d\"|always; 3:return 200"
        );
        assert_eq!(
            read_ok("if ($http_x ~* \"^a{2}\") {\n set $y '${host}';\n}"),
            "1:if ($http_x|~*|^a{2}|) {2:set $y|${host}}"
        );
        assert_eq!(
            read_ok("rewrite ^/a/(\\d+)$ /b/${host}x\\;y last;"),
            "1:rewrite ^/a/(\\d+)$|/b/${host}x\\;y|last"
        );
        assert_eq!(read_ok(" \n\t# nothing"), "");
    }

    #[test]
    fn what_is_no_configuration_is_named_by_its_line() {
        for (text, line) in [
            ("a b", 1),
            ("a;\nb 'c;", 2),
            ("a;\n}", 2),
            ("a {\nb;", 2),
            (";", 1),
            ("a \"b\"c;", 1),
            ("a {{{", 1),
            ("a { b { c { d { e { f; } } } } }", 1),
        ] {
            let bad = read(text).expect_err(text);
            assert_eq!(bad.line, line, "{text}: {}", bad.message);
        }
        assert!(read(&"a;".repeat(MOST_DIRECTIVES + 1)).is_err());
        assert!(read(&" ".repeat(MOST_TEXT + 1)).is_err());
    }

    #[test]
    fn no_text_is_too_odd_to_read_or_refuse() {
        let alphabet: Vec<char> = "a \n\t;{}'\"\\#$()~*é${".chars().collect();
        // Reproducible: the seed stands in every message.
        for seed in 0..20_000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            let text: String = (0..seed % 40)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let index = state % alphabet.len() as u64;
                    alphabet[usize::try_from(index).unwrap_or(0)]
                })
                .collect();
            let lines = text.matches('\n').count() + 1;
            match read(&text) {
                Ok(directives) => {
                    let in_text = |one: &Directive| (1..=lines).contains(&one.line);
                    assert!(directives.iter().all(in_text), "{seed}: {text:?}");
                }
                Err(bad) => assert!((1..=lines).contains(&bad.line), "{seed}: {text:?}"),
            }
        }
    }
}
