use model::filter::snippet::{Act, Condition, ResponseEdit, Says, Step, Then};
use model::text::{Piece, Variable};

use super::*;

fn read(server: Option<&str>, location: Option<&str>) -> Understood {
    let own = Snippets {
        server: server.map(Into::into),
        location: location.map(Into::into),
    };
    read_over(&own, &Snippets::default())
}

fn location(text: &str) -> Understood {
    read(None, Some(text))
}

#[test]
fn steps_keep_their_order_and_variables_their_numbers() {
    let read = read(
        Some("set $one 1;"),
        Some(
            "set $two \"$one-$host\";\nif ($http_x ~* '^a') { set $one $1; return 403; }\n\
             rewrite ^/a(.*)$ /b$1 break;",
        ),
    );
    assert_eq!((read.server, read.location), (None, None));
    assert_eq!(read.snippet.variables, 2);
    let [
        Step::Do(Act::Set { variable: 1, value }),
        Step::If(one),
        Step::Do(rewrite),
    ] = &*read.snippet.location.steps
    else {
        panic!("{:?}", read.snippet.location.steps);
    };
    let first = value.pieces().first();
    assert_eq!(first, Some(&Piece::Variable(Variable::Capture(10))));
    assert!(matches!(one.condition, Condition::Matches { is: true, .. }));
    assert!(matches!(
        &*one.acts,
        [
            Act::Set { variable: 0, .. },
            Act::Return {
                status: 403,
                says: Says::Status
            }
        ]
    ));
    let Act::Rewrite { then, .. } = rewrite else {
        panic!("{rewrite:?}");
    };
    assert_eq!(*then, Then::Stop);
}

#[test]
fn fields_limits_and_times_are_read() {
    let read = location(
        "more_set_headers -s '404 500' -t text/html 'X-A: a' \"X-B:b: c\";\n\
         more_clear_headers X-C*; add_header X-D $upstream_http_x always;\n\
         proxy_hide_header X-E; expires 1h; client_max_body_size 8m; proxy_read_timeout 2m;",
    );
    assert_eq!(read.location, None);
    let names: Vec<&str> = read
        .snippet
        .location
        .edits
        .response
        .iter()
        .map(name)
        .collect();
    assert_eq!(names, ["X-A", "X-B", "X-C*", "X-D", "X-E", "(expires)"]);
    assert_eq!(read.overrides.max_body, Some(8 << 20));
    assert_eq!(read.overrides.read, Some(Duration::from_mins(2)));
}

fn name(edit: &ResponseEdit) -> &str {
    match edit {
        ResponseEdit::Add { name, .. }
        | ResponseEdit::Set { name, .. }
        | ResponseEdit::Clear { name, .. } => name,
        ResponseEdit::Expires(_) => "(expires)",
    }
}

#[test]
fn what_is_not_understood_is_named_and_refuses_only_its_own_snippet() {
    let read = read(
        Some("more_set_headers 'X-A: a';"),
        Some("client_max_body_size 1m;\nset $a 1;\nproxy_pass http://evil;"),
    );
    let refused = read.location.expect("refused");
    assert_eq!(refused.line, 3);
    assert!(
        refused.message.contains("proxy_pass"),
        "{}",
        refused.message
    );
    assert_eq!(read.snippet.location, Block::default());
    assert_eq!(
        (read.snippet.variables, read.overrides),
        (0, Overrides::default())
    );
    assert_eq!(read.snippet.server.edits.response.len(), 1);
    for (text, line) in [
        ("location /a { return 200; }", 1),
        ("content_by_lua_block { os.execute() }", 1),
        ("\nset $host x;", 2),
        ("return 444;", 1),
        ("return abc;", 1),
        ("if ($a) { return 200; }", 1),
        ("if (-f $host) { return 200; }", 1),
        ("if ($host) {\nif ($host) { return 200; } }", 2),
        ("if ($host) {\nproxy_set_header X-A b; }", 2),
        ("add_header 'X A' b;", 1),
        ("rewrite ^(?=a)$ /b;", 1),
        ("rewrite ^/a$ /b?c=d;", 1),
        ("add_header X-A $no_such;", 1),
        ("more_set_headers -x 'X-A: a';", 1),
        ("include /etc/passwd;", 1),
        ("return 200", 1),
        ("add_header X-A b", 1),
        ("if ($host) { more_set_headers 'X-A: a' }", 1),
    ] {
        let refused = location(text).location.expect(text);
        assert_eq!(refused.line, line, "{text}: {}", refused.message);
    }
}

#[test]
fn a_directive_of_as_many_words_as_there_are_may_end_with_its_text() {
    let read = location("more_clear_headers X-B;\nmore_set_headers 'X-A: a'");
    assert_eq!(read.location, None);
    assert_eq!(read.snippet.location.edits.response.len(), 2);
}

#[test]
fn conditions_have_their_parentheses_anywhere() {
    for text in [
        "if ($host = a) { break; }",
        "if ( $host = a ) { break; }",
        "if ($host = \"a\") { break; }",
        "if ($host != '') { break; }",
        "if ($host){ break; }",
        "if ( $host ) { break; }",
        "if ($http_user_agent !~* \"bot (a|b)\") { break; }",
    ] {
        assert_eq!(location(text).location, None, "{text}");
    }
}

#[test]
fn no_directives_are_too_odd_to_read_or_refuse() {
    const WORDS: [&str; 34] = [
        "set",
        "if",
        "return",
        "rewrite",
        "break",
        "add_header",
        "more_set_headers",
        "more_clear_headers",
        "proxy_set_header",
        "expires",
        "client_max_body_size",
        "$a",
        "$host",
        "$1",
        "${a}",
        "($a",
        "=",
        "~*",
        "a)",
        "(",
        ")",
        "'X-A: b'",
        "-s",
        "404",
        "302",
        "^/(.*)$",
        "/b/$1",
        "last",
        "always",
        ";",
        ";",
        "{",
        "}",
        "\n",
    ];
    // Reproducible: the seed stands in every message.
    for seed in 0..20_000_u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let words = (0..seed % 24).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let index = state % WORDS.len() as u64;
            WORDS[usize::try_from(index).unwrap_or(0)]
        });
        let text = words.collect::<Vec<_>>().join(" ");
        let lines = text.matches('\n').count() + 1;
        let understood = read(Some(&text), Some(&text));
        for refused in [&understood.server, &understood.location]
            .into_iter()
            .flatten()
        {
            assert!((1..=lines).contains(&refused.line), "{seed}: {text:?}");
        }
        let again = read(Some(&text), Some(&text));
        assert_eq!(understood.snippet, again.snippet, "{seed}: {text:?}");
    }
}

#[test]
fn what_holds_for_all_stays_where_an_ingresss_own_is_refused() {
    let text = |name: &str| format!("more_set_headers \"{name}: 1\";").into();
    let own = |server: Box<str>| Snippets {
        server: Some(server),
        location: None,
    };
    let all = own(text("All"));
    let nobody = read_over(&Snippets::default(), &all);
    let both = read_over(&own(text("Own")), &all);
    assert!(both.server.is_none() && both.snippet != nobody.snippet);
    for refused in [
        "nonsense on;",
        "more_set_headers \"X: ",
        "if ($a) {",
        "return 200",
    ] {
        let read = read_over(&own(refused.into()), &all);
        assert!(read.server.is_some(), "{refused}");
        assert_eq!(read.snippet, nobody.snippet, "{refused}");
    }
}
