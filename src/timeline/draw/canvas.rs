//! Places on the picture, in px, and the shapes that stand at a time.

use std::fmt;

use crate::timeline::xml::{Attributes, Xml};

/// Width of the picture.
pub(crate) const WIDTH: f64 = 1280.0;
/// Where words above the chart begin, and the height of a line of them.
pub(crate) const LEFT: f64 = 16.0;
pub(crate) const LINE: f64 = 18.0;
/// Where the lanes' names end and the chart begins.
pub(crate) const GUTTER: f64 = 118.0;
/// Free space left and right of the first and last moment, for shapes that stand on them.
pub(crate) const PAD: f64 = 24.0;
/// Width of the chart, from the first moment to the last.
pub(crate) const SPAN: f64 = WIDTH - GUTTER - 2.0 * PAD;

/// A length in px, written with at most one decimal.
#[derive(Clone, Copy)]
pub(crate) struct Px(pub f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round() as i64;
        if tenths % 10 == 0 { write!(f, "{}", tenths / 10) } else { write!(f, "{:.1}", tenths as f64 / 10.0) }
    }
}

/// The picture in the making.
pub(crate) struct Canvas {
    pub(crate) xml: Xml,
    /// ns from left to right, at least 1.
    pub(crate) duration: i64,
}

impl Canvas {
    /// The x of a moment, in px.
    pub(crate) fn x(&self, at: i64) -> f64 {
        PAD + SPAN * (at as f64 / self.duration as f64)
    }

    /// A bar from one moment to another, at least `least` wide, with a tooltip.
    pub(crate) fn bar(&mut self, class: &str, (from, to): (i64, i64), (y, height): (f64, f64), least: f64, tip: &str) {
        let x = self.x(from);
        let exact = self.x(to) - x;
        // The page that zooms needs the exact width.
        self.shape(class, (x, exact.max(least)), (y, height), tip, (exact < least).then_some(exact));
    }

    /// A rectangle with a tooltip, which may be empty.
    pub(crate) fn rect(&mut self, class: &str, (x, width): (f64, f64), (y, height): (f64, f64), tip: &str) {
        self.shape(class, (x, width), (y, height), tip, None);
    }

    fn shape(&mut self, class: &str, (x, width): (f64, f64), (y, height): (f64, f64), tip: &str, exact: Option<f64>) {
        let (x, y, width, height, exact_px) = (Px(x), Px(y), Px(width), Px(height), Px(exact.unwrap_or_default()));
        let attributes: [(&'static str, &dyn fmt::Display); 6] = [
            ("class", &class),
            ("x", &x),
            ("y", &y),
            ("width", &width),
            ("height", &height),
            ("data-width", &exact_px),
        ];
        let attributes = if exact.is_some() { &attributes[..] } else { &attributes[..5] };
        if tip.is_empty() {
            self.xml.empty("rect", attributes);
        } else {
            self.xml.within("rect", attributes, |xml| xml.element("title", &[], tip));
        }
    }

    /// Text that begins at a place, or is aligned there by `class`.
    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        self.xml.element("text", &[("class", &class), ("x", &Px(x)), ("y", &Px(y))], text);
    }

    /// What `content` draws around its own 0,0, at a moment (`x` in px): it moves with the time but keeps its size.
    pub(crate) fn at(&mut self, (x, y): (f64, f64), tip: &str, content: impl FnOnce(&mut Self)) {
        let place = format!("translate({} {})", Px(x), Px(y));
        self.nest("g", &[("class", &"at"), ("transform", &place)], |canvas| {
            if !tip.is_empty() {
                canvas.xml.element("title", &[], tip);
            }
            content(canvas);
        });
    }

    /// A group of what `content` draws.
    pub(crate) fn group(&mut self, attributes: Attributes, content: impl FnOnce(&mut Self)) {
        self.nest("g", attributes, content);
    }

    /// An element around what `content` draws.
    pub(crate) fn nest(&mut self, name: &'static str, attributes: Attributes, content: impl FnOnce(&mut Self)) {
        let mut outer = std::mem::take(&mut self.xml);
        outer.within(name, attributes, |xml| {
            std::mem::swap(xml, &mut self.xml);
            content(self);
            std::mem::swap(xml, &mut self.xml);
        });
        self.xml = outer;
    }
}

/// About how wide a text of 11 px is.
pub(crate) fn width(text: &str) -> f64 {
    text.chars().map(|c| if c > '\u{2e80}' { 12.0 } else { 6.4 }).sum()
}

/// About how wide it is in bold.
pub(crate) fn bold_width(text: &str) -> f64 {
    width(text) * 1.16
}

/// The bold name of a node, cut at its beginning so that it is at most about `most` px wide: what tells the nodes of a
/// service apart stands at the end.
pub(crate) fn fitting_name(name: &str, most: f64) -> String {
    // Names are larger than other texts.
    let is_too_wide = |text: &str| bold_width(text) * 12.0 / 11.0 > most;
    if !is_too_wide(name) {
        return name.to_owned();
    }
    let ends = name.char_indices().skip(1).map(|(at, _)| format!("…{}", &name[at..]));
    ends.into_iter().find(|end| !is_too_wide(end)).unwrap_or_default()
}

/// The text, cut so that it is at most about `most` px wide; `None` if nothing sensible remains.
pub(crate) fn fitting(text: &str, most: f64) -> Option<String> {
    if width(text) <= most {
        return Some(text.to_owned());
    }
    let mut room = most - 8.0;
    let kept: String = text
        .chars()
        .take_while(|c| {
            room -= if *c > '\u{2e80}' { 12.0 } else { 6.4 };
            room >= 0.0
        })
        .collect();
    (kept.chars().count() >= 4).then(|| format!("{}…", kept.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_name_the_end_is_kept() {
        assert_eq!(fitting_name("i001", 100.0), "i001");
        let (one, two) =
            (fitting_name("kafka-controller-quorum-1", 108.0), fitting_name("kafka-controller-quorum-2", 108.0));
        assert!(one.starts_with('…') && one.ends_with("-1") && one != two, "{one}");
        assert_eq!(fitting_name("été-été-été", 30.0), "…té");
    }
}
