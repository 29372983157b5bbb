"""`classicnets study`: run the experiment behind a claim of the field, or list the claims."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from classicnets.cli.options import Device
from classicnets.cli.output import JsonFlag, print_json, print_table, progress_bars, say

if TYPE_CHECKING:
    from classicnets.studies.claim import Claim, Preset, PresetName

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets study

  classicnets study relu

  classicnets study residual --data cifar10 --images 10000 --set epochs=30

  classicnets study all --json
"""


class PresetChoice(StrEnum):
    """How large a study is."""

    quick = "quick"
    full = "full"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(study)


def study(
    claim: Annotated[
        str | None, typer.Argument(help="A claim's name, or all. Without it, the claims are listed.")
    ] = None,
    preset: Annotated[
        PresetChoice, typer.Option(help="quick: minutes on two CPU cores. full: the paper's setting, hours or days.")
    ] = PresetChoice.quick,
    data: Annotated[
        str | None,
        typer.Option(help="What to train on: fashion-mnist, cifar10, a folder of images. Default: the preset's."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="How many training images are used. Default: the preset's number.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the preset's recipe; repeatable."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, help="How many times each network is trained.")] = 3,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the studies. If it is one, its studies go on.")
    ] = Path("studies"),
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Test a claim of the field: is it shown, not shown or contradicted by its experiment?

    Each claim states its hypothesis before it runs, and the numbers alone decide. A study that was stopped goes on
    where it was when the same command is given again: trainings that were measured are kept.
    """
    if claim is None:
        _list(preset.value, as_json=as_json)
        return
    from classicnets.studies.claims import find_claim

    if claim != "all":
        find_claim(claim)
    from classicnets.studies.run import run_all, run_study
    from classicnets.system.threads import limit_threads

    limit_threads()
    try:
        with progress_bars() as progress:
            options: dict[str, Any] = {
                "preset": preset.value, "data": data, "images": images, "settings": set_ or (), "seeds": seeds,
                "out": out, "device": device, "progress": progress, "say": say,
            }  # fmt: skip
            if claim == "all":
                outcomes, page = run_all(**options)
            else:
                outcomes, page = [run_study(claim, **options)], None
    except (KeyboardInterrupt, SystemExit):
        say("Stopped. The trainings measured so far are kept: run the same command again to go on.", "yellow")
        raise
    if as_json:
        answers = [outcome.to_dict() for outcome in outcomes]
        print_json(answers if claim == "all" else answers[0])
    elif claim == "all":
        print_table(
            ("claim", "verdict", "what it says"), [(o.claim.name, str(o.verdict), o.claim.sentence) for o in outcomes]
        )
        typer.echo(f"\npage: {page}")
    else:
        typer.echo(outcomes[0].to_text())


def _list(preset: PresetName, *, as_json: bool) -> None:
    from classicnets.studies.claims import CLAIMS

    if as_json:
        print_json([_entry(claim, claim.preset(preset)) for claim in CLAIMS.values()])
        return
    print_table(
        ("claim", "what it says", "quick", "full"),
        [(one.name, one.sentence, _time(one.quick), _time(one.full)) for one in CLAIMS.values()],
    )
    say("Times: three seeds on two CPU cores. --json has sources and hypotheses. Run: classicnets study CLAIM", "dim")


def _entry(claim: Claim, preset: Preset) -> dict[str, object]:
    return {
        "name": claim.name,
        "claim": claim.sentence,
        "source": claim.source,
        "disputed": claim.disputed,
        "minutes": preset.minutes,
        "data": preset.data if preset.arms else "",
        "hypotheses": [str(hypothesis) for hypothesis in claim.hypotheses],
    }


def _time(preset: Preset) -> str:
    """ "3 min", "12 h"."""
    if not preset.arms:
        return "seconds"
    return f"{preset.minutes:g} min" if preset.minutes < 90 else f"{preset.minutes / 60:,.0f} h"
