//! Writes XML: the one place where text is escaped.

use std::fmt::{Display, Write};

/// XML in the making. Whatever is handed to it comes out as text or as an attribute's value, never as markup.
#[derive(Debug, Default)]
pub(crate) struct Xml {
    text: String,
}

/// Attributes of an element: names and values.
pub(crate) type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

impl Xml {
    pub(crate) fn empty(&mut self, name: &'static str, attributes: Attributes) {
        self.tag(name, attributes);
        self.text.push_str("/>\n");
    }

    /// An element with text in it.
    pub(crate) fn element(&mut self, name: &'static str, attributes: Attributes, text: &str) {
        self.tag(name, attributes);
        self.text.push('>');
        escape(text, &mut self.text);
        self.end(name);
    }

    /// An element around what `content` writes.
    pub(crate) fn within(&mut self, name: &'static str, attributes: Attributes, content: impl FnOnce(&mut Self)) {
        self.tag(name, attributes);
        self.text.push('>');
        content(self);
        self.end(name);
    }

    /// Markup of the program's own, as it is.
    pub(crate) fn own(&mut self, markup: &'static str) {
        self.text.push_str(markup);
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }

    fn tag(&mut self, name: &'static str, attributes: Attributes) {
        self.text.push('<');
        self.text.push_str(name);
        for (name, value) in attributes {
            let _ = write!(self.text, " {name}=\"");
            let _ = write!(Escaping(&mut self.text), "{value}");
            self.text.push('"');
        }
    }

    fn end(&mut self, name: &'static str) {
        self.text.push_str("</");
        self.text.push_str(name);
        self.text.push_str(">\n");
    }
}

struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// Characters that XML cannot hold, escaped or not, become U+FFFD; so do those that turn the direction of the text
/// around them.
fn escape(text: &str, to: &mut String) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            '\'' => to.push_str("&#39;"),
            '\n' => to.push('\n'),
            '\t' => to.push(' '),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => to.push('\u{fffd}'),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => to.push('\u{fffd}'),
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_handed_over_becomes_markup() {
        let mut xml = Xml::default();
        xml.within("g", &[("a", &"\"'><script>")], |xml| xml.element("text", &[], "</text><b>&\u{1b}"));
        let text = xml.finish();
        let expected =
            "<g a=\"&quot;&#39;&gt;&lt;script&gt;\"><text>&lt;/text&gt;&lt;b&gt;&amp;\u{fffd}</text>\n</g>\n";
        assert_eq!(text, expected);
    }
}
