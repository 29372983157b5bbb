"""`examine`: does a bundle hold on this machine, and how should it run here?

files -> engine -> golden images -> what differs from the machine that exported it -> engine and threads for here
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from classicnets.deployment.choose import Candidate, Choice, choose
from classicnets.deployment.engines import ENGINES, FILES, Session, open_session
from classicnets.deployment.golden import PNG_CHANNELS, golden_pixels, replay, tolerance
from classicnets.deployment.manifest import Manifest
from classicnets.errors import ConfigError, MissingExtra, WeightsError
from classicnets.system.machine import machine, may_overflow
from classicnets.system.progress import Report, no_report


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name, such as "golden images".
        found: what was found, in a sentence.
        verdict: "ok"; "differs" if it is not as it was where the bundle was exported; "fails" if the bundle must not be
            used here.
    """

    what: str
    found: str
    verdict: Literal["ok", "differs", "fails"] = "ok"


@dataclass(frozen=True)
class Diagnosis:
    """What `examine` found.

    Attributes:
        bundle: the folder.
        findings: in the order in which they were made. After one that does not hold there are no more.
        engine: what computes fastest here, or None if the bundle does not hold.
        threads: with how many threads, or None.
        machine: what this machine is.
    """

    bundle: Path
    findings: tuple[Finding, ...]
    engine: str | None
    threads: int | None
    machine: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether the bundle answers here as it did where it was exported."""
        return all(finding.verdict != "fails" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        findings = [vars(finding) for finding in self.findings]
        return {"bundle": str(self.bundle), "holds": self.holds, "findings": findings} | {
            "engine": self.engine, "threads": self.threads, "machine": self.machine,
        }  # fmt: skip


def examine(bundle: Path, *, measure: bool = True, progress: Report = no_report) -> Diagnosis:
    """Check a bundle on this machine. Nothing in it changes.

    Args:
        bundle: the folder that `export` wrote.
        measure: whether to measure which engine and how many threads are fastest here, which takes seconds. Otherwise
            they are the bundle's own, with at most one thread for each core that may be used.
        progress: called with what is being done, how much of it is done, and how much there is.

    Raises WeightsError if its bundle.json cannot be read or is of a newer format. Whatever else is wrong with the
    bundle is a finding.

    >>> examine(Path("bundle")).holds  # doctest: +SKIP
    True
    """
    manifest = Manifest.read(bundle)
    here = machine(ENGINES[manifest.engine], "numpy")
    findings: list[Finding] = []
    for finding in _look(bundle, manifest, here):
        findings.append(finding)
        if finding.verdict == "fails":
            return Diagnosis(bundle, tuple(findings), None, None, here)
    engine, threads = manifest.engine, manifest.settings.used_threads
    if measure and manifest.golden and (choice := _fastest(bundle, manifest, progress)):
        findings.append(_speed(choice, engine, threads))
        engine, threads = choice.best.engine, choice.settings.used_threads
    return Diagnosis(bundle, tuple(findings), engine, threads, here)


def _look(bundle: Path, manifest: Manifest, here: dict[str, Any]) -> Iterator[Finding]:
    """Yield the findings. Nothing is run before it has been checked, so the caller stops at one that does not hold."""
    there = _exporter(manifest)
    yield _files(bundle, manifest)
    try:
        session = open_session(manifest.engine, bundle, manifest.settings)
    except (MissingExtra, WeightsError) as error:
        yield Finding("engine", str(error), "fails")
        return
    yield _engine(manifest, session, here, there)
    yield _golden(bundle, manifest, session, elsewhere=_is_elsewhere(manifest, here, there))
    yield _processor(manifest, here, there)
    if manifest.settings.precision == "int8":
        yield from _int8(manifest, here)
    yield _cores(here, there)


def _exporter(manifest: Manifest) -> dict[str, Any]:
    """The machine that exported the bundle; empty if bundle.json does not describe it as `machine` does."""
    there = manifest.measured.get("machine")
    if not isinstance(there, dict) or not isinstance(there.get("versions"), dict):
        return {}
    return there if isinstance(there.get("instruction_sets"), list) else {}


def _files(bundle: Path, manifest: Manifest) -> Finding:
    try:
        manifest.check_files(bundle)
        card = manifest.read_card(bundle)
    except WeightsError as error:
        return Finding("files", str(error), "fails")
    found = f"{card.model_name}, {len(card.classes)} classes; all {len(manifest.files)} files are unchanged"
    return Finding("files", found)


def _engine(manifest: Manifest, session: Session, here: dict[str, Any], there: dict[str, Any]) -> Finding:
    asked, package = manifest.settings.precision, ENGINES[manifest.engine]
    now, then = (place.get("versions", {}).get(package) for place in (here, there))
    found = f"{manifest.engine} {now}, computes in {session.executed}"
    if session.executed != asked:
        found += f" and not in {asked}, which this processor has no instructions for"
    if then not in (None, now):
        found += f"; exported with {then}"
    return Finding("engine", found, "ok" if session.executed == asked and then in (None, now) else "differs")


def _golden(bundle: Path, manifest: Manifest, session: Session, *, elsewhere: bool) -> Finding:
    channels = manifest.input.shape[1]
    if not manifest.golden and channels > PNG_CHANNELS:
        return Finding("golden images", f"none: PNG cannot hold images of {channels} channels", "differs")
    try:
        answers = replay(session, manifest, bundle)
    except WeightsError as error:
        return Finding("golden images", str(error), "fails")
    allowed = tolerance(manifest.settings.precision, elsewhere=elsewhere)
    found = f"{answers.same} of {answers.images} get the same class; {answers.describe(allowed)}"
    if answers.within(allowed):
        return Finding("golden images", found)
    found += ". The network was changed, or is computed wrongly here: do not use it"
    return Finding("golden images", found, "fails")


def _processor(manifest: Manifest, here: dict[str, Any], there: dict[str, Any]) -> Finding:
    found = f"{here['cpu']}, {_listed(here)}"
    if not there:
        return Finding("processor", f"{found}; the bundle does not say where it was exported", "differs")
    if not _lacks(here, there) and not _lacks(there, here):
        return Finding("processor", found)
    found += f"; exported on {there.get('cpu')}, {_listed(there)}. The times in bundle.json do not hold here"
    precision = manifest.settings.precision
    if precision != "fp32" and _lacks(here, there):
        found += f", and {precision} may be slower than fp32: export on this machine with --engine auto"
    return Finding("processor", found, "differs")


def _int8(manifest: Manifest, here: dict[str, Any]) -> Iterator[Finding]:
    """Whether int8 was made for a processor such as this one; nothing if bundle.json does not say."""
    about = manifest.measured.get("int8")
    has_seven_bits = about.get("seven_bits") if isinstance(about, dict) else None
    if not isinstance(has_seven_bits, bool) or not here["instruction_sets"]:
        return
    overflows = may_overflow(here["instruction_sets"])
    if overflows == has_seven_bits:
        yield Finding("int8", f"weights use {7 if has_seven_bits else 8} bits, as this processor needs them")
    elif overflows:
        found = (
            "weights use all 8 bits, and without VNNI this processor's sums of products may overflow, which costs "
            "accuracy: export on this machine, or measure it with `classicnets evaluate`"
        )
        yield Finding("int8", found, "differs")
    else:
        found = "weights use 7 of 8 bits, which this processor does not need: an export here may be more accurate"
        yield Finding("int8", found, "differs")


def _cores(here: dict[str, Any], there: dict[str, Any]) -> Finding:
    now, then = here["usable_cores"], there.get("usable_cores")
    quota = "no quota" if here["quota"] is None else f"a quota of {here['quota']:g}"
    found = f"{now} may be used, {quota}"
    if then in (None, now):
        return Finding("cores", found)
    return Finding("cores", f"{found}; exported with {then}", "differs")


def _lacks(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The instruction sets of the other machine that the first does not have."""
    return [name for name in other.get("instruction_sets", ()) if name not in one.get("instruction_sets", ())]


def _listed(place: dict[str, Any]) -> str:
    """The instruction sets of a machine, or its architecture if the system does not tell."""
    return ", ".join(place.get("instruction_sets", ())) or str(place.get("architecture", "unknown"))


def _fastest(bundle: Path, manifest: Manifest, progress: Report) -> Choice | None:
    """The fastest of the engines that are installed and give the bundle's answers; None if none computes as asked."""
    asked = manifest.settings
    candidates = [
        Candidate(engine, bundle, asked.precision)
        for engine, files in FILES.items()
        if engine == manifest.engine or (set(files) <= manifest.files.keys() and _answers(engine, bundle, manifest))
    ]
    images = golden_pixels(manifest, bundle)
    try:
        winograd = asked.convolution == "winograd"
        return choose(candidates, images=images, goal=asked.goal, winograd=winograd, progress=progress)
    except ConfigError:
        return None


def _answers(engine: str, bundle: Path, manifest: Manifest) -> bool:
    """Whether another engine is installed and answers the golden images as the bundle's own."""
    try:
        answers = replay(open_session(engine, bundle, manifest.settings), manifest, bundle)
    except (MissingExtra, WeightsError):
        return False
    return answers.within(tolerance(manifest.settings.precision))


def _speed(choice: Choice, engine: str, threads: int) -> Finding:
    (row,) = (row for row in choice.rows if row.kept)
    fastest, usual = (row.engine, row.threads), (engine, threads)
    found = f"{row.engine} with {_named(row.threads)} is fastest: {row.images_per_second:,.0f} images/s"
    if fastest == usual:
        return Finding("speed", found)
    return Finding("speed", f"{found}; the bundle uses {engine} with {_named(threads)}", "differs")


def _is_elsewhere(manifest: Manifest, here: dict[str, Any], there: dict[str, Any]) -> bool:
    """Whether the processor or the engine's version is another than where the bundle was exported."""
    package = ENGINES[manifest.engine]
    now, then = ((place.get("instruction_sets"), place.get("versions", {}).get(package)) for place in (here, there))
    return now != then


def _named(threads: int) -> str:
    return "1 thread" if threads == 1 else f"{threads} threads"
