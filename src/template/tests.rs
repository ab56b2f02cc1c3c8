use super::*;

fn nodes() -> Nodes {
    Nodes::new(7000, [1, 2, 3].map(|n| (format!("i00{n}"), [172, 30, 0, 1 + n].into())))
}

fn rendered(source: &str) -> String {
    render(source, "app.conf", &nodes().variables(1)).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn sentence(source: &str) -> String {
    let error = render(source, "app.conf", &nodes().variables(1)).expect_err(source).to_string();
    assert!(!error.contains('\n'), "{error}");
    assert!(error.starts_with("app.conf"), "{error}");
    error
}

#[test]
fn each_variable_has_its_value() {
    for (source, wanted) in [
        ("{{ name }}", "i002"),
        ("{{ index }}", "2"),
        ("{{ self }}", "172.30.0.3"),
        ("{{ port }}", "7000"),
        ("{{ master }}", "false"),
        ("{{ peers | join(',') }}", "172.30.0.2,172.30.0.4"),
        (
            "{% for node in nodes %}{{ node.index }}={{ node.name }}@{{ node.ip }} {% endfor %}",
            "1=i001@172.30.0.2 2=i002@172.30.0.3 3=i003@172.30.0.4 ",
        ),
        ("{{ nodes[0].ip }}:{{ port + index }}", "172.30.0.2:7002"),
        ("{{ nodes | selectattr('name', 'ne', name) | map(attribute='ip') | join('|') }}", "172.30.0.2|172.30.0.4"),
        ("{{ peers | tojson }}", r#"["172.30.0.2", "172.30.0.4"]"#),
        ("{{ 'first' if master else 'later' }}", "later"),
    ] {
        assert_eq!(rendered(source), wanted, "{source}");
    }
    assert_eq!(render("{{ master }}", "x", &nodes().variables(0)).unwrap(), "true");
    let alone = Nodes::new(1, [("i001".to_owned(), [10, 0, 0, 2].into())]);
    assert_eq!(render("{{ peers }}", "x", &alone.variables(0)).unwrap(), "[]");
}

#[test]
fn text_that_is_no_template_stays_as_it_is() {
    for text in
        ["", "\n", "no newline", "one\n", "two\n\n", "\r\n\r\n", "<a & 'b' \"c\">", "} }} %} #}", "$x ${y} %s\0"]
    {
        assert_eq!(rendered(text), text);
    }
    assert_eq!(rendered("{% raw %}{{ name }} {# {% if{% endraw %}"), "{{ name }} {# {% if");
    assert_eq!(rendered("{{ '{{' }} {{ '<&>' }}"), "{{ <&>");
}

#[test]
fn white_space_stays_but_for_what_a_dash_takes_away() {
    assert_eq!(rendered("x = {% if master %}1{% else %}2{% endif %}\ny\n"), "x = 2\ny\n");
    let source = "peers:\n{%- for peer in peers %}\n  - {{ peer }}\n{%- endfor %}\nend\n";
    assert_eq!(rendered(source), "peers:\n  - 172.30.0.2\n  - 172.30.0.4\nend\n");
}

#[test]
fn what_is_not_defined_is_an_error_that_names_it_and_its_line() {
    for (source, line, named) in [
        ("{{ nobody }}", None, "`nobody`"),
        ("a\nb {{ nobody }}\n", Some(2), "`nobody`"),
        ("\n\n{{ nodes[0].port }}", Some(3), "`nodes[0].port`"),
        ("{{ nodes[7].ip }}", None, "`nodes[7]`"),
        ("{{ name.first }}", None, "`name.first`"),
        ("{% if nobody %}x{% endif %}", None, "`nobody`"),
        ("{% for x in nobody %}x{% endfor %}", None, "`nobody`"),
        ("{{ nobody ~ 'x' }}", None, "`nobody`"),
        ("{{ nobody | upper }}", None, "`nobody`"),
        ("{{ nobody == 1 }}", None, "`nobody`"),
    ] {
        let error = render(source, "app.conf", &nodes().variables(1)).expect_err(source);
        assert_eq!(error.line, line, "{source}: {error}");
        assert!(error.why.contains(named) && error.why.contains("not defined"), "{source}: {error}");
        assert!(error.why.contains("peers"), "{error}");
    }
    assert_eq!(rendered("{{ nobody | default('x') }}{{ nobody is defined }}"), "xfalse");
}

#[test]
fn wrong_syntax_is_an_error_that_tells_how_to_write_it_literally() {
    for source in
        ["{{", "{{ name", "{% if %}", "{% for %}", "{{ 1 + }}", "${#array}", "{% nonsense %}", "{{ 'x }}", "{% raw %}"]
    {
        assert!(sentence(source).contains("endraw"), "{source}: {}", sentence(source));
    }
    assert!(sentence("one\ntwo {{ 1 + }}\n").starts_with("app.conf line 2: "));
    for source in
        ["{{ name | nonsense }}", "{{ nonsense() }}", "{{ 1 / 0 }}", "{{ port.x() }}", "{% include 'etc/passwd' %}"]
    {
        sentence(source);
    }
}

#[test]
fn a_template_without_end_ends() {
    let doubled = format!("{{% set x = 'x' %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60));
    let nested = format!("{{% set x = nodes %}}{}{{{{ x }}}}", "{% set x = [x, x] %}".repeat(40));
    for source in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ 'text' * 999 }}{% endfor %}{% endfor %}",
        "{{ 'x' * 90000000 * 90000000 }}",
        "{{ 'x' * 90000000 }}",
        "{{ range(99999999999) | list }}",
        "{{ range(9999) | join('x' * 99999) }}",
        "{{ [1, 2, 3] * 90000000 }}",
        "{{ name | indent(900000000) }}{{ 'a\nb' | indent(900000000) }}",
        "{{ '%999999999d' | format(1) }}",
        "{% for a in nodes recursive %}{{ loop(nodes) }}{% endfor %}",
        &doubled,
        &nested,
        "{{ nodes * 33333333 }}",
    ] {
        let error = sentence(source);
        assert!(error.len() < 1000, "{error}");
    }
}

#[test]
fn an_endless_text_is_refused_while_a_block_captures_it() {
    let endless = format!("{{% set x = nodes %}}{}", "{% set x = [x, x] %}".repeat(40));
    for keeps in [
        "{{ x }}",
        "{% set y %}{{ x }}{% endset %}",
        "{% set y %}{% set y %}{{ {'a': x} }}{% endset %}{% endset %}",
        "{% filter upper %}{{ x }}{% endfilter %}",
    ] {
        let error = sentence(&format!("{endless}{keeps}"));
        assert!(error.contains("MiB of text"), "{keeps}: {error}");
    }
}

#[test]
fn a_rendering_is_given_up_when_it_takes_too_much_memory() {
    let (send, receive) = channel();
    let (grown, looks) = (std::cell::Cell::new(0), 7);
    let resident = || {
        grown.set(grown.get() + 1);
        grown.get() * MAX_MEMORY / looks
    };
    let error = rendered_by(&receive, "app.conf", resident).unwrap_err().to_string();
    assert_eq!(error, "app.conf: it takes more than 512 MiB of memory");
    send.send(Ok("text".to_owned())).unwrap();
    assert_eq!(rendered_by(&receive, "app.conf", || 0).unwrap(), "text");
}

#[test]
fn a_template_that_nests_as_deep_as_it_can_ends() {
    let deep = |begin: &str, middle: &str, end: &str| {
        let times = (MAX_SIZE - begin.len() - end.len()) / middle.len();
        format!("{begin}{}{end}", middle.repeat(times))
    };
    for source in [
        deep("{{ ", "(", " }}"),
        deep("{{ ", "[", " }}"),
        deep("", "{% if 1 %}", ""),
        deep("{% if 1 %}", "{%elif 1%}", "{% endif %}"),
        deep("{{ ", "-", "1 }}"),
        deep("{{ ", "not ", "1 }}"),
        deep("{{ 1", "+1", " }}"),
        deep("{{ name", ".a", " }}"),
        deep("{{ name", "()", " }}"),
        deep("{{ name", "|e", " }}"),
        deep("{{ 1", " if 1 else 1", " }}"),
    ] {
        let _ = render(&source, "deep", &nodes().variables(1));
    }
}

#[test]
fn nothing_lives_on_from_turn_to_turn_of_a_loop() {
    assert!(sentence("{% set ns = namespace(x=1) %}").contains("namespace"));
    assert_eq!(rendered("{% set x = 1 %}{% for n in nodes %}{% set x = [x] %}{% endfor %}{{ x }}"), "1");
}

#[test]
fn a_long_text_is_refused_only_if_it_has_tags() {
    let long = "text { } ".repeat(MAX_SIZE);
    assert_eq!(rendered(&long), long);
    assert!(sentence(&format!("{long}{{{{ name }}}}")).contains("128 KiB"));
}

#[test]
fn a_check_renders_for_every_node() {
    assert_eq!(check("{{ name }}", "x", &nodes()), Ok(()));
    let last = check("{% if index == 3 %}{{ nobody }}{% endif %}", "-e X", &nodes()).unwrap_err();
    assert!(last.to_string().starts_with("-e X: `nobody` is not defined"), "{last}");
    assert_eq!(check("{{ nobody }}", "x", &Nodes::new(1, [])), Ok(()));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 1000, failure_persistence: None, ..Default::default() })]

    /// Whatever is written, there is a text or a sentence.
    #[test]
    fn nonsense_is_no_more_than_an_error(pieces in proptest::collection::vec(piece(), 0..20)) {
        if let Err(error) = render(&pieces.concat(), "app.conf", &nodes().variables(0)) {
            let error = error.to_string();
            proptest::prop_assert!(error.starts_with("app.conf") && !error.contains('\n'), "{error}");
        }
    }
}

/// What templates are made of, and other text.
fn piece() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    const WORDS: [&str; 64] = [
        "{{ ",
        " }}",
        "{% ",
        " %}",
        "{# ",
        " #}",
        "{%- ",
        " -%}",
        "if ",
        "else",
        "elif ",
        "endif",
        "for ",
        "in ",
        "endfor",
        "set ",
        "endset",
        "raw",
        "endraw",
        "with ",
        "filter ",
        "endfilter",
        "x",
        "name",
        "nodes",
        "peers",
        "self",
        "loop",
        "master",
        ".ip",
        "[0]",
        "[:1]",
        "[-1]",
        "|",
        "join",
        "first",
        "sort",
        "tojson",
        "length",
        "round",
        "map('x')",
        "batch(0)",
        "slice(0)",
        "range(",
        "dict(",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "+",
        "-",
        "*",
        "**",
        "//",
        "%",
        "~",
        "not ",
        "is ",
        "9999999999999999999",
        "'\\u",
        "\"",
        "\n",
    ];
    prop_oneof![9 => proptest::sample::select(&WORDS[..]).prop_map(String::from), 1 => ".{0,8}"]
}
