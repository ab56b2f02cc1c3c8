"""A picture of the ratios: a bar for each peer, to the right where it takes longer than cthulhu does, on a logarithmic scale."""
import math
from html import escape

WIDTH, LEFT, RIGHT = 900, 390, 70
LINE, HEAD = 17, 72
# As docs/timeline.svg.
STYLE = """
text { font: 11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1b1f24 }
.bg { fill: #ffffff } .line { stroke: #d5dbe2 } .one { stroke: #57606a; stroke-width: 1.5 }
.title { font-size: 17px; font-weight: 700 } .muted { fill: #57606a } .group { font-size: 12px; font-weight: 700 }
.end { text-anchor: end } .mid { text-anchor: middle } .slower { fill: #58b09c } .faster { fill: #e69f00 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .bg { fill: #0d1117 } .line { stroke: #2c343e } .one { stroke: #9aa4af } .muted { fill: #9aa4af }
.slower { fill: #2f8f7c } .faster { fill: #b87c00 }
}
"""


def times(ratio):
    return f"{ratio:.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def svg(results):
    """What a peer takes, as a multiple of what cthulhu takes."""
    sections = [(section, [one for one in section.rows if one.row.drawn and one.peers]) for section in results.sections]
    sections = [(section, rows) for section, rows in sections if rows]
    ratios = [1 / one.ratio(peer) for _, rows in sections for one in rows for peer in one.peers]
    if not ratios:
        raise RuntimeError("--svg: nothing was measured beside a peer")
    low, high = min(math.floor(math.log10(min(ratios))), -1), max(math.ceil(math.log10(max(ratios))), 1)

    def x(ratio):
        return LEFT + (math.log10(ratio) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    body, y = [], HEAD

    def put(kind, at, line, what):
        body.append(f'<text class="{kind}" x="{at:.1f}" y="{line}">{escape(what)}</text>')

    for section, rows in sections:
        y += LINE + 8
        put("group", 16, y, section.scenario.title)
        for one in rows:
            y += 4
            for n, peer in enumerate(one.peers):
                y += LINE
                if n == 0:
                    put("", 28, y, one.row.title.replace("`", ""))
                put("end muted", LEFT - 8, y, peer.who)
                ratio = 1 / one.ratio(peer)
                begin, end = sorted((x(1), x(ratio)))
                kind = "slower" if ratio >= 1 else "faster"
                body.append(f'<rect class="{kind}" x="{begin:.1f}" y="{y - 10}" width="{max(end - begin, 1):.1f}" height="12"/>')
                put("", max(end, x(1)) + 5, y, times(ratio))
    height = y + 24
    grid = []
    for power in range(low, high + 1):
        at = x(10 ** power)
        grid.append(f'<line class="{"one" if power == 0 else "line"}" x1="{at:.1f}" y1="{HEAD}" x2="{at:.1f}" y2="{height - 12}"/>')
        grid.append(f'<text class="mid muted" x="{at:.1f}" y="{HEAD - 6}">{f"{10 ** power:g}"}</text>')
    head = [
        '<text class="title" x="16" y="24">What others take, as a multiple of what cthulhu takes</text>',
        '<text class="muted" x="16" y="42">Green: they take longer. Orange: cthulhu takes longer. Logarithmic.</text>',
    ]
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">',
        "<title>What others take, as a multiple of what cthulhu takes</title>", f"<style>{STYLE}</style>",
        f'<rect class="bg" x="0" y="0" width="{WIDTH}" height="{height}"/>', *grid, *head, *body, "</svg>", "",
    ])
