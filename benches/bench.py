#!/usr/bin/env python3
"""Measures cthulhu beside what people use today, both sides in turn, and prints medians, spread and ratios.

Started by run.sh, which sets up what it needs.
"""
import argparse
import json
import os
import signal
import sys

NAMES = ("clusters-3", "clusters-30", "compose", "verbs", "death", "faults-5", "faults-50", "schedules", "reads", "files", "machines")


# Between these lines of a page, --markdown puts what was measured in place of what was there.
BEGIN, END = "<!-- measured by benches/run.sh -->\n", "<!-- end -->\n"


def arguments():
    parser = argparse.ArgumentParser(
        prog="benches/run.sh", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures cthulhu beside what people use today, both sides in turn, and prints medians, spread and ratios.",
        epilog="A FILE of - is stdout. Uses the engine of DOCKER_HOST. CTHULHU=/path/to/cthulhu measures that binary "
        "instead of\nbuilding one. docs/performance.md has the figures, and what they mean.",
    )
    parser.add_argument("--check", action="store_true", help="exit status 1 if a goal is missed or was not measured")
    parser.add_argument("--quick", action="store_true", help="few rounds, small sizes: shows that all of it works, not how fast it is")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"only these: {' '.join(NAMES)}")
    parser.add_argument("--json", metavar="FILE", help="everything, each sample too")
    parser.add_argument("--markdown", metavar="FILE", help="the table; in a page like docs/performance.md, in place of the one there")
    parser.add_argument("--svg", metavar="FILE", help="a picture of the ratios")
    parser.add_argument("--parse-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(scenario, quick):
    """Samples as {name: {who: [value]}}."""
    rounds = scenario.quick_rounds if quick else scenario.rounds
    warm_up = 0 if quick else scenario.warm_up
    begin = scenario.quick_begin if quick and scenario.quick_begin else scenario.begin
    samples = {}
    with begin() as tasks:
        for turn in range(warm_up + rounds):
            if sys.stderr.isatty():
                print(f"\r\033[K{scenario.name}: round {turn + 1} of {warm_up + rounds}", end="\r", file=sys.stderr, flush=True)
            for task in tasks:
                order = list(task)
                first = turn % len(order)
                for who in order[first:] + order[:first]:
                    for name, value in task[who]().items():
                        # One action may give samples of several.
                        for whose, sample in value.items() if isinstance(value, dict) else [(who, value)]:
                            taken = samples.setdefault(name, {}).setdefault(whose, [])
                            if turn >= warm_up:
                                taken.append(sample)
    if sys.stderr.isatty():
        print("\033[K", end="", file=sys.stderr, flush=True)
    return samples


def write_to(path, text):
    if path == "-":
        print(text, end="")
        return
    if path.endswith(".md") and os.path.exists(path):
        with open(path) as file:
            before, begin, rest = file.read().partition(BEGIN)
        _, end, after = rest.partition(END)
        if end:
            text = f"{before}{begin}{text}{end}{after}"
    with open(path, "w") as file:
        file.write(text)
    # Of who called sudo.
    if "SUDO_UID" in os.environ:
        os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def main(options):
    # They need what run.sh sets up.
    import chart
    import report
    from table import SCENARIOS

    assert NAMES == tuple(scenario.name for scenario in SCENARIOS)
    results = report.Results(options.quick)
    print(results.head(), flush=True)
    for scenario in SCENARIOS:
        if options.only and scenario.name not in options.only or options.quick and scenario.quick_rounds == 0:
            continue
        load = os.getloadavg()[0]
        section = results.add(scenario, measure(scenario, options.quick), load)
        print(report.text(section), flush=True)
    if options.json:
        write_to(options.json, json.dumps(results.everything(), indent=1) + "\n")
    if options.markdown:
        write_to(options.markdown, report.markdown(results))
    if options.svg:
        write_to(options.svg, chart.svg(results))
    missed = results.missed()
    for sentence in missed:
        print(f"goal missed: {sentence}" if options.check else f"not reached: {sentence}")
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    parsed = arguments()
    if not parsed.parse_only:
        # So that everything is taken down.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            sys.exit(main(parsed))
        except KeyboardInterrupt:
            sys.exit(130)
        except (RuntimeError, OSError, AssertionError) as e:
            sys.exit(f"benches/run.sh: {e or type(e).__name__}")
