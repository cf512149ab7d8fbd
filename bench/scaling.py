"""What several ranks and several hosts bring: measured on this machine, predicted for a cluster.

Hosts are network namespaces, joined by veth pairs over a bridge whose rate `tc` sets; that needs Linux and root. A model of
a step from what one rank computes, the exchange's bytes, latency and bandwidth predicts what is measured, and 2 to 64 nodes.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import click
from scaling_rank import NODES

from fastlstm.benchmark.machine import cpu_name
from fastlstm.benchmark.report import columns, figure
from fastlstm.benchmark.shapes import SHAPES
from fastlstm.engine.cores import available_cores
from fastlstm.errors import FastLSTMError

RANK = Path(__file__).with_name("scaling_rank.py")
BRIDGE, HERE = "fastlstm", "10.77.0.254"
LAUNCHER = """#!/bin/sh
# As ssh is called: options, a host, a command. Its namespace bears the address's last number.
while [ "${1#-}" != "$1" ]; do shift; done
host=$1; shift
exec ip netns exec "fastlstm-${host##*.}" sh -c "$*"
"""


class Link(NamedTuple):
    """Between any two ranks: ms before anything arrives, and bytes a ms."""

    latency: float
    bandwidth: float

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Link:
        """From a small and a large sum over two ranks, in which each sends all of it once."""
        small, large = found["latency"][0], found["exchange"][0]
        return cls(small / 2, found["bytes"] / max(large - small, 1e-6))

    def exchange(self, nodes: int, size: int) -> float:
        """ms to sum so many bytes: scattered and gathered by halves, twice log₂ n messages, twice (n − 1) / n of the bytes."""
        rounds = 2 * math.ceil(math.log2(nodes))
        return rounds * self.latency + 2 * (nodes - 1) / nodes * size / self.bandwidth


def step(found: Mapping[str, Any], nodes: int, link: Link, crowd: float = 1.0) -> float:
    """ms of a step on so many nodes: gradients of their rows, the exchange, the update; `crowd` ranks share a core."""
    alone = found[f"gradients {nodes}"][0] + found["update"][0]
    return alone * crowd + (link.exchange(nodes, found["bytes"]) if nodes > 1 else 0.0)


def run(ranks: int, seconds: float, shapes: Sequence[str], *words: str, **environment: str) -> dict[str, Any]:
    """What `scaling_rank.py` finds."""
    start = ["mpiexec", *words, "-n", str(ranks)] if ranks > 1 else []
    done = subprocess.run(
        [*start, sys.executable, str(RANK), str(seconds), *shapes],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise FastLSTMError(f"{' '.join(start)}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout)


@contextmanager
def hosts(count: int, gbit: float) -> Iterator[list[str]]:
    """So many namespaces whose links carry so much; mpiexec's words for ranks in them."""

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            raise FastLSTMError(f"ip {' '.join(words)}: {done.stderr.strip()}")

    with ExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory()))
        launcher = folder / "launcher"
        launcher.write_text(LAUNCHER, encoding="utf-8")
        launcher.chmod(0o700)
        ip("link", "add", BRIDGE, "type", "bridge")
        undo.callback(ip, "link", "del", BRIDGE)
        ip("addr", "add", f"{HERE}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for number in range(1, count + 1):
            space = f"fastlstm-{number}"
            ip("netns", "add", space)
            undo.callback(ip, "netns", "del", space)
            ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", space)
            # A namespace takes its end with it only some time later.
            undo.callback(ip, "link", "del", space)
            ip("link", "set", space, "master", BRIDGE, "up")
            ip("-n", space, "addr", "add", f"10.77.0.{number}/24", "dev", "eth0")
            ip("-n", space, "link", "set", "eth0", "up")
            ip("-n", space, "link", "set", "lo", "up")
            shaped = f"tc qdisc add dev eth0 root tbf rate {gbit}gbit burst 256kb latency 50ms"
            ip("netns", "exec", space, *shaped.split())
        names = ",".join(f"10.77.0.{number}" for number in range(1, count + 1))
        yield ["-launcher", "ssh", "-launcher-exec", str(launcher), "-hosts", names, "-localhost", HERE]


def compared(
    title: str,
    ranks: int,
    found: Mapping[str, Any],
    alone: Mapping[str, Any],
    links: Mapping[str, Link],
    local: bool,
) -> str:
    """A table of what was measured, and predicted beside it."""
    crowd = max(1.0, ranks / available_cores())
    head = ["", "1 × 1", *([f"1 × {available_cores()}"] if local else []), f"{ranks} × 1"]
    head += ["predicted", "gain", *(["against threads"] if local else []), "weak", "exchange"]
    rows = [head]
    for shape, f in found.items():
        one, threads, strong = (f[name][0] for name in ("one thread", "all threads", "strong"))
        row = [shape, figure(one), *([figure(threads)] if local else []), figure(strong)]
        row += [figure(step(alone[shape], ranks, links[shape], crowd)), f"{one / strong:.2f}×"]
        row += [f"{threads / strong:.2f}×"] if local else []
        rows.append([*row, f"{ranks * one / f['weak'][0]:.2f}×", figure(f["exchange"][0])])
    return f"{title}, ms a step\n{columns(rows)}"


def forecast(title: str, alone: Mapping[str, Any], links: Mapping[str, Link]) -> str:
    """A table of gains on 2 to 64 nodes, and of the characters a batch from which two are faster than one."""
    rows = [["", *(f"{nodes} nodes" for nodes in NODES[1:]), "two help from"]]
    for shape, found in alone.items():
        one = step(found, 1, links[shape])
        gains = [f"{one / step(found, nodes, links[shape]):.1f}×" for nodes in NODES[1:]]
        saved = found["gradients 1"][0] - found["gradients 2"][0]
        share = links[shape].exchange(2, found["bytes"]) / saved
        characters = SHAPES[shape].T * SHAPES[shape].B
        rows.append([shape, *gains, f"{share * characters:,.0f} of {characters:,}"])
    return (
        f"{title}: predicted gain, and from how many characters a batch a second node helps\n{columns(rows)}"
    )


@click.command()
@click.option("--shape", "shapes", multiple=True, default=("names", "charrnn", "charrnn-large"), show_default=True,
              type=click.Choice(list(SHAPES)))  # fmt: skip
@click.option("--ranks", multiple=True, default=(2, 4), show_default=True, type=click.IntRange(2, 200))
@click.option(
    "--gbit", multiple=True, default=(10.0, 1.0), show_default=True, help="Rates of the hosts' links."
)
@click.option("--no-hosts", is_flag=True, help="On this machine alone; needs no root.")
@click.option("--seconds", default=0.4, show_default=True, help="A block of steps.")
@click.option("--json", "file", type=click.Path(dir_okay=False), help="Keep all that is measured.")
def main(
    shapes: Sequence[str],
    ranks: Sequence[int],
    gbit: Sequence[float],
    no_hosts: bool,
    seconds: float,
    file: str | None,
) -> None:
    """Measure ranks on this machine and on hosts in network namespaces, and predict up to 64 nodes."""
    kept: dict[str, Any] = {"processor": cpu_name(), "cores": available_cores()}
    click.echo(f"{kept['processor']}, {kept['cores']} cores; one thread a rank, medians of 5 blocks")
    try:
        kept["alone"] = alone = run(1, seconds, shapes)
        places = [("this machine", 0.0), *((f"{rate:g} Gbit/s", rate) for rate in gbit if not no_hosts)]
        for place, rate in places:
            links: dict[str, Link] = {}
            for count in sorted({2, *ranks}):
                with ExitStack() as up:
                    words = up.enter_context(hosts(count, rate)) if rate else []
                    # Whatever else UCX finds between namespaces, it is not to be used.
                    network = {"UCX_TLS": "tcp,self", "UCX_NET_DEVICES": "eth0"} if rate else {}
                    found = run(count, seconds, shapes, *words, **network)
                kept[f"{count} ranks, {place}"] = found
                links = links or {shape: Link.of(f) for shape, f in found.items()}
                where = f"{count} hosts, {place}" if rate else f"{count} ranks, {place}"
                click.echo(f"\n{compared(where, count, found, alone, links, not rate)}")
            if rate:
                link = links[max(shapes, key=lambda shape: alone[shape]["bytes"])]
                facts = f"{place} ({link.latency * 1e3:.0f} µs, {link.bandwidth / 1e6:.2f} GB/s measured)"
                click.echo(f"\n{forecast(facts, alone, links)}")
    except FastLSTMError as error:
        raise click.ClickException(str(error)) from None
    if file:
        Path(file).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
