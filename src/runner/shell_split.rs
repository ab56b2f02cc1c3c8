//! A command in one string, as `--node-command` takes it: words as a shell splits them, templates whole.

/// A character that no command needs: it stands for a template while the words are split.
const STAND_IN: char = '\u{f8ff}';

/// Splits a line as a POSIX shell does, by blanks outside of quotes. What is between `{{` and `}}`, `{%` and `%}` or `{#`
/// and `#}` is a template's business, quotes and blanks too. Nothing is expanded.
///
/// # Errors
/// A sentence.
pub(crate) fn words(line: &str) -> Result<Vec<String>, String> {
    if line.contains(STAND_IN) {
        return Err(format!("it has the character {} in it", STAND_IN.escape_unicode()));
    }
    let (mut plain, mut templates) = (String::new(), vec![]);
    let mut rest = line;
    while let Some((at, close)) = next_tag(rest) {
        let (before, tag) = rest.split_at(at);
        let length = tag_length(tag, close);
        plain.push_str(before);
        plain.push(STAND_IN);
        templates.push(&tag[..length]);
        rest = &tag[length..];
    }
    plain.push_str(rest);
    let split = shlex::split(&plain).ok_or("a quote or a backslash in it is without its other half")?;
    let mut templates = templates.into_iter();
    let words: Vec<String> = split.iter().map(|word| with_templates(word, &mut templates)).collect();
    // Of a comment nothing is left, and then the templates in it would be given to others.
    if templates.next().is_some() {
        return Err("it has a template in a comment".into());
    }
    if words.is_empty() { Err("it is empty".into()) } else { Ok(words) }
}

/// Where the next template begins, and how it ends.
fn next_tag(text: &str) -> Option<(usize, &'static str)> {
    let tags = [("{{", "}}"), ("{%", "%}"), ("{#", "#}")];
    tags.iter().filter_map(|(open, close)| Some((text.find(open)?, *close))).min()
}

/// How long the template is that `text` begins with: up to its end, or up to the end of the `endraw` if it is `raw`.
fn tag_length(text: &str, close: &str) -> usize {
    let one = |text: &str| text.find(close).map_or(text.len(), |end| end + close.len());
    let is = |tag: &str, word| tag.trim_matches(|c: char| "{%-+}".contains(c) || c.is_whitespace()) == word;
    let mut length = one(text);
    if close == "%}" && is(&text[..length], "raw") {
        while let Some(at) = text[length..].find("{%") {
            let begin = length + at;
            length = begin + one(&text[begin..]);
            if is(&text[begin..length], "endraw") {
                return length;
            }
        }
        return text.len();
    }
    length
}

fn with_templates<'a>(word: &str, templates: &mut impl Iterator<Item = &'a str>) -> String {
    let mut whole = String::new();
    for c in word.chars() {
        if c == STAND_IN { whole.push_str(templates.next().unwrap_or_default()) } else { whole.push(c) }
    }
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_as_in_a_shell_and_templates_whole() {
        for (line, wanted) in [
            ("my-kv --config /etc/x", &["my-kv", "--config", "/etc/x"][..]),
            ("sh -c 'echo \"$A\" b'  c", &["sh", "-c", "echo \"$A\" b", "c"]),
            (r#"kv --join {{ peers | join(",") }} -x"#, &["kv", "--join", r#"{{ peers | join(",") }}"#, "-x"]),
            (r#"kv '--id={{ index }}' "{{ name }} x""#, &["kv", "--id={{ index }}", "{{ name }} x"]),
            ("kv {% if master %}--lead --fast{% endif %}", &["kv", "{% if master %}--lead", "--fast{% endif %}"]),
            ("kv {# it's #} {{ unfinished", &["kv", "{# it's #}", "{{ unfinished"]),
            ("kv ''", &["kv", ""]),
            ("bash -c \"echo {% raw %}${#a}{% endraw %}; x\"", &["bash", "-c", "echo {% raw %}${#a}{% endraw %}; x"]),
            ("kv {% raw %}{{{%- endraw %} 'a b' c", &["kv", "{% raw %}{{{%- endraw %}", "a b", "c"]),
            ("kv {% raw %}{{ 'a", &["kv", "{% raw %}{{ 'a"]),
        ] {
            assert_eq!(words(line).unwrap(), wanted, "{line}");
        }
        for wrong in ["", "  ", "kv 'x", "kv \"", "kv \\", "kv # {{ x }}", "\u{f8ff}"] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(given in proptest::collection::vec("[^\0{}\u{f8ff}]{0,12}", 1..6)) {
            let line = shlex::try_join(given.iter().map(String::as_str)).unwrap();
            prop_assert_eq!(words(&line).unwrap(), given);
        }

        #[test]
        fn no_template_gets_lost(line in r#"[ab '"{}%#\\]{0,40}"#) {
            if let Ok(words) = words(&line) {
                let (mut rest, mut templates) = (line.as_str(), vec![]);
                while let Some((at, close)) = next_tag(rest) {
                    let (template, behind) = rest[at..].split_at(tag_length(&rest[at..], close));
                    templates.push(template);
                    rest = behind;
                }
                // Each is whole, within one word, and they stand in the order they were given in.
                let (mut words, mut word) = (words.iter(), "");
                for template in templates {
                    while !word.contains(template) {
                        word = words.next().expect("a word with the template in it");
                    }
                    word = &word[word.find(template).expect("just seen") + template.len()..];
                }
            }
        }
    }
}
