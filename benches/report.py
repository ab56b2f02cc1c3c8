"""Medians, spread, ratios and goals of what was measured, as text, Markdown and JSON."""
import os
import platform
import statistics
from dataclasses import dataclass

from engine import Engine, keeps_count_of_endpoints
from setting import COMPOSE, CTHULHU, TMP, run


@dataclass
class Figures:
    """Of one side: the median, and the 10th and the 90th percentile; with few samples, the least and the greatest."""

    who: str
    samples: list

    @property
    def median(self):
        return statistics.median(self.samples)

    @property
    def spread(self):
        ordered = sorted(self.samples)
        edge = round(0.1 * (len(ordered) - 1))
        return ordered[edge], ordered[-1 - edge]


@dataclass
class Judged:
    """A goal in words, whether it was met (None: not measured), and the peer that it names."""

    words: str
    met: bool | None
    peer: str | None


@dataclass
class Measured:
    """A row with its figures."""

    row: object
    ours: Figures
    peers: list[Figures]
    goals: list[Judged]

    def ratio(self, peer):
        return self.ours.median / peer.median


@dataclass
class Section:
    scenario: object
    load: float
    rows: list


class Results:
    def __init__(self, quick):
        self.quick = quick
        self.sections = []
        self.engine = Engine().version()
        self.counts_endpoints = not keeps_count_of_endpoints(self.engine)
        with open(f"{TMP}/skipped") as file:
            self.skipped = file.read().splitlines()

    def versions(self):
        versions = [run(CTHULHU, "--version").strip(), f"Docker Engine {self.engine}", f"Linux {platform.release()}"]
        if COMPOSE:
            versions.append(f"compose {run(*COMPOSE, 'version', '--short').strip()}")
        disk = run("findmnt", "-no", "FSTYPE", "-T", TMP).strip()
        return ", ".join([*versions, f"{os.cpu_count()} cores", f"{disk} for files"])

    def head(self):
        lines = [self.versions(), f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}"]
        lines += [f"SKIPPED {why}" for why in self.skipped]
        return "\n".join(lines)

    def add(self, scenario, samples, load):
        """load: the machine's average of the minute before the scenario."""
        measured = [self.judge(row, samples[row.name]) for row in scenario.rows if row.name in samples]
        section = Section(scenario, load, measured)
        self.sections.append(section)
        return section

    def judge(self, row, samples):
        ours = Figures(row.ours, samples[row.ours])
        whose = row.peers or [who for who in samples if who != row.ours]
        peers = [Figures(who, samples[who]) for who in whose if who in samples]
        goals = []
        for goal in row.goals:
            if goal.counts_endpoints not in (None, self.counts_endpoints):
                continue
            peer = next((one for one in peers if one.who == goal.peer), None)
            if goal.at_most is not None:
                words, limit = f"at most {goal.at_most:g} {row.unit}", goal.at_most
            elif goal.times is not None:
                words, limit = f"at most {goal.times:g} × {goal.peer}", peer and goal.times * peer.median
            else:
                words, limit = f"at most {goal.over:g} {row.unit} over {goal.peer}", peer and goal.over + peer.median
            goals.append(Judged(words, None if limit is None else ours.median <= limit, peer and peer.who))
        return Measured(row, ours, peers, goals)

    def missed(self):
        return [
            f"{section.scenario.name}, {one.row.title.replace('`', '')}: {goal.words}"
            + (", not measured" if goal.met is None else f" (median {number(one.ours.median)} {one.row.unit})")
            for section in self.sections for one in section.rows for goal in one.goals if not goal.met
        ]

    def everything(self):
        def figures(one):
            low, high = one.spread
            return {"who": one.who, "median": one.median, "p10": low, "p90": high, "samples": one.samples}

        return {
            "versions": self.versions(), "quick": self.quick, "skipped": self.skipped,
            "sections": [{
                "name": section.scenario.name, "title": section.scenario.title, "load": section.load,
                "rows": [{
                    "name": one.row.name, "title": one.row.title, "unit": one.row.unit, "ours": figures(one.ours),
                    "peers": [figures(peer) | {"ratio": one.ratio(peer)} for peer in one.peers],
                    "goals": [{"goal": goal.words, "met": goal.met} for goal in one.goals],
                } for one in section.rows],
            } for section in self.sections],
        }


def number(value):
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def spread(figures):
    low, high = figures.spread
    return f"{number(low)} – {number(high)}"


def judged(one):
    words = {True: "met", False: "MISSED", None: "not measured"}
    return "; ".join(f"{goal.words}: {words[goal.met]}" for goal in one.goals)


def text(section):
    lines = [f"\n{section.scenario.title} (load {section.load:.1f})"]
    for one in section.rows:
        lines.append(f"  {one.row.title} [{one.row.unit}]{'   ' + judged(one) if one.goals else ''}")
        for figures in [one.ours, *one.peers]:
            ratio = "" if figures is one.ours else f"{one.ratio(figures):10.3g} x"
            lines.append(f"    {figures.who:26} {number(figures.median):>8}   {spread(figures):20}{ratio}")
    return "\n".join(lines)


def amount(value, unit):
    """Microseconds and seconds where they are easier to read."""
    if unit == "ms" and value < 1:
        return f"{number(value * 1000)} µs"
    if unit == "ms" and value >= 1000:
        return f"{number(value / 1000)} s"
    return f"{number(value)} {unit}"


def markdown(results):
    """One table, a line a row."""
    lines = [
        results.versions() + (", with --quick" if results.quick else "") + ".", "",
        "| | ours: median (p10 – p90) | beside it: median, ours divided by it | goal |", "|---|---|---|---|",
    ]
    for section in results.sections:
        lines.append(f"| **{section.scenario.title}** (load {section.load:.1f}) | | | |")
        for one in section.rows:
            low, high = one.ours.spread
            ours = f"{amount(one.ours.median, one.row.unit)} ({amount(low, one.row.unit)} – {amount(high, one.row.unit)})"
            peers = "; ".join(f"{peer.who} {amount(peer.median, one.row.unit)}, **{one.ratio(peer):.2g}**" for peer in one.peers)
            lines.append(f"| {one.row.title} | {ours} | {peers} | {'; '.join(mark(goal) for goal in one.goals)} |")
    lines += ["", f"Skipped: {'; '.join(results.skipped)}."] if results.skipped else []
    return "\n".join(lines) + "\n"


def mark(goal):
    return goal.words if goal.met else f"**missed**: {goal.words}" if goal.met is False else f"not measured: {goal.words}"
