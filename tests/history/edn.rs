//! A strict reader of EDN (https://github.com/edn-format/edn), for what a history is made of.

use std::collections::HashSet;

/// Says whether a text is one map, and gives its keys with their values as they were written.
pub fn map(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut reader = Reader { text, at: 0 };
    let members = reader.map()?;
    match reader.rest() {
        "" => Ok(members),
        rest => Err(format!("more after the map: {rest}")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Result<char, String> {
        let c = self.peek().ok_or("it ends too soon")?;
        self.at += c.len_utf8();
        Ok(c)
    }

    /// White space; commas are.
    fn space(&mut self) {
        while self.peek().is_some_and(|c| c == ',' || c == ' ') {
            self.at += 1;
        }
    }

    fn map(&mut self) -> Result<Vec<(String, String)>, String> {
        let (mut members, mut keys) = (vec![], HashSet::new());
        if self.next()? != '{' {
            return Err("no map".into());
        }
        loop {
            self.space();
            if self.peek() == Some('}') {
                self.at += 1;
                return Ok(members);
            }
            let key = self.written()?;
            self.space();
            let value = self.written()?;
            if !keys.insert(key.clone()) {
                return Err(format!("twice: {key}"));
            }
            members.push((key, value));
        }
    }

    fn written(&mut self) -> Result<String, String> {
        let from = self.at;
        self.value()?;
        Ok(self.text[from..self.at].to_owned())
    }

    fn value(&mut self) -> Result<(), String> {
        match self.peek().ok_or("it ends too soon")? {
            '{' => self.map().map(drop),
            '[' => {
                self.at += 1;
                loop {
                    self.space();
                    if self.peek() == Some(']') {
                        self.at += 1;
                        return Ok(());
                    }
                    self.value()?;
                }
            }
            '"' => self.string(),
            _ => self.atom(),
        }
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.next()? {
                '"' => return Ok(()),
                '\\' => match self.next()? {
                    't' | 'r' | 'n' | '\\' | '"' => {}
                    'u' => {
                        let code = self.rest().get(..4).ok_or("a short \\u")?;
                        u32::from_str_radix(code, 16).map_err(|_| format!("\\u{code}"))?;
                        self.at += 4;
                    }
                    c => return Err(format!("no escape: \\{c}")),
                },
                c if c.is_control() => return Err(format!("a bare {c:?}")),
                _ => {}
            }
        }
    }

    fn atom(&mut self) -> Result<(), String> {
        let end = self.rest().find([' ', ',', '}', ']', '{', '[', '"']).unwrap_or(self.rest().len());
        let atom = self.rest()[..end].to_owned();
        self.at += end;
        let known = matches!(atom.as_str(), "nil" | "true" | "false");
        let good = known || atom.strip_prefix(':').map_or_else(|| is_number(&atom), is_symbol);
        if good { Ok(()) } else { Err(format!("no EDN: {atom:?}")) }
    }
}

fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let integer = |text: &str| digits(text) && (text == "0" || !text.starts_with('0'));
    if integer(text.strip_suffix('N').unwrap_or(text)) {
        return true;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let exponent = exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)));
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => integer(whole) && digits(fraction),
        None => integer(mantissa),
    };
    exponent && mantissa
}

/// A symbol, perhaps with a prefix and a slash.
fn is_symbol(text: &str) -> bool {
    let one = |text: &str| {
        let mut chars = text.chars();
        let first = chars.next();
        let begins = |c: char| c.is_ascii_alphabetic() || "*!_?$%&=<>".contains(c);
        first.is_some_and(begins) && chars.all(|c| begins(c) || c.is_ascii_digit() || "-+.#:".contains(c))
    };
    text.split('/').count() <= 2 && text.split('/').all(one)
}

#[test]
fn the_reader_is_strict() {
    for good in ["{}", "{:a 1, :b [1 -2.5 1E+9 3N nil true], \"c d\" {:x/y \"\\u0001\\n\"}}"] {
        map(good).unwrap();
    }
    for bad in ["", "{", "{:a}", "{:a 1} x", "{:a 1 :a 2}", "{:1 1}", "{a 1}", "{:a 01}", "{:a \"\\x\"}", "{:a 1.}"] {
        assert!(map(bad).is_err(), "{bad}");
    }
}
