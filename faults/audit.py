"""Known vulnerabilities of the lock file's packages, without a network.

    python faults/audit.py FOLDER

``FOLDER`` is a checkout of PyPA's advisory database (github.com/pypa/advisory-database), whose
entries are in the format of OSV (https://ossf.github.io/osv-schema). It is as old as its newest
entry: ``make audit`` asks today's list, and needs a network.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version
from record import ROOT, write


def locked() -> dict[str, set[str]]:
    """Versions of each package in the lock; it may hold several of one, by Python."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    packages: dict[str, set[str]] = {}
    for package in lock["package"]:
        if "registry" in package["source"]:
            name = canonicalize_name(package["name"])
            packages.setdefault(name, set()).add(package["version"])
    return packages


def concerns(advisory: dict[str, Any], name: str, version: str) -> bool:
    """Tell whether an advisory holds for a version of a package.

    Parameters
    ----------
    advisory : dict
        As OSV writes it.
    name, version : str
        The name as PyPI writes it.
    """
    of_package = [
        each for each in advisory["affected"] if canonicalize_name(each["package"]["name"]) == name
    ]
    return "withdrawn" not in advisory and any(
        version in each.get("versions", ()) or _in_a_range(each.get("ranges", ()), Version(version))
        for each in of_package
    )


def _in_a_range(ranges: list[dict[str, Any]], version: Version) -> bool:
    for each in ranges:
        if each["type"] != "ECOSYSTEM":  # commits
            continue
        within = False
        for event in each["events"]:
            [(what, at)] = event.items()
            bound = Version(at) if at != "0" else Version("0.dev0")
            if what == "introduced" and version >= bound:
                within = True
            if (what == "fixed" and version >= bound) or (
                what == "last_affected" and version > bound
            ):
                within = False
        if within:
            return True
    return False


def advisories(folder: Path, packages: dict[str, set[str]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the advisories that name a package of the lock, with the package.

    Parameters
    ----------
    folder : Path
        Of the database.
    packages : dict
        Of ``locked``.
    """
    for name in sorted(packages):
        for file in sorted((folder / "vulns" / name).glob("*.yaml")):
            yield name, yaml.safe_load(file.read_text(encoding="utf-8"))


def main() -> None:
    """Compare, and write the numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="Known vulnerabilities, without a network.")
    parser.add_argument("folder", type=Path, help="checkout of pypa/advisory-database")
    given = parser.parse_args()
    files = sorted((given.folder / "vulns").rglob("*.yaml"))
    if not files:
        sys.exit(f"{given.folder}: has no vulns/*/*.yaml; name a checkout of the advisory database")
    dates = re.compile(r"^modified: [\"']?(\d{4}-\d\d-\d\d)", re.MULTILINE)
    newest = max(max(dates.findall(file.read_text(encoding="utf-8")), default="") for file in files)
    packages = locked()
    named = list(advisories(given.folder, packages))
    found = [
        f"{advisory['id']}: {name} {version}"
        for name, advisory in named
        for version in sorted(packages[name])
        if concerns(advisory, name, version)
    ]
    content = {
        "advisories": len(files),
        "newest": newest,
        "packages": len(packages),
        "named": len(named),
        "found": found,
    }
    write("audit", content)
    print(content)
    if found:
        sys.exit(1)


if __name__ == "__main__":
    main()
