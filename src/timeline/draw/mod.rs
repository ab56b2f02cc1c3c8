//! Draws a timeline as SVG: what stands where. Each file here draws one part.

mod badges;
mod canvas;
mod chart;
mod head;
mod nodes;
mod operations;
mod spans;
mod verdicts;

pub(crate) use head::{subtitle as head_subtitle, title as head_title};

use canvas::{Canvas, GUTTER, Px, WIDTH};

use super::model::Timeline;
use super::xml::Xml;

/// The picture as an SVG document of its own.
pub(crate) fn document(timeline: &Timeline) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&picture(timeline, Xml::default(), Above::All).finish());
    text
}

/// What stands above the chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Above {
    /// Title, verdicts, incidents, legend.
    All,
    /// The legend: the page has the others.
    Legend,
}

/// Adds the picture to `xml`.
pub(crate) fn picture(timeline: &Timeline, xml: Xml, above: Above) -> Xml {
    let mut canvas = Canvas { xml, duration: timeline.duration.max(1) };
    let top = if above == Above::All { head::height(timeline) } else { head::LEGEND };
    let layout = chart::Layout::of(timeline, top);
    let (width, height) = (Px(WIDTH), Px(layout.bottom));
    let view = format!("0 0 {width} {height}");
    let attributes: [(&'static str, &dyn std::fmt::Display); 6] = [
        ("xmlns", &"http://www.w3.org/2000/svg"),
        ("viewBox", &view),
        ("width", &width),
        ("height", &height),
        ("role", &"img"),
        ("id", &"timeline"),
    ];
    canvas.nest("svg", &attributes, |canvas| {
        canvas.xml.element("title", &[], &head::title(timeline));
        canvas.xml.own("<style>\n");
        canvas.xml.own(include_str!("style.css"));
        canvas.xml.own("</style>\n");
        canvas.xml.own(include_str!("patterns.svg"));
        canvas.rect("bg", (0.0, WIDTH), (0.0, layout.bottom), "");
        match above {
            Above::All => head::draw(canvas, timeline),
            Above::Legend => head::legend(canvas, timeline, head::LEGEND / 2.0),
        }
        chart::names(canvas, timeline, &layout);
        let inner: [(&'static str, &dyn std::fmt::Display); 5] = [
            ("id", &"chart"),
            ("x", &Px(GUTTER)),
            ("y", &"0"),
            ("width", &Px(WIDTH - GUTTER)),
            ("height", &Px(layout.bottom)),
        ];
        canvas.nest("svg", &inner, |canvas| chart::draw(canvas, timeline, &layout));
    });
    canvas.xml
}
