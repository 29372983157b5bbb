"""`classicnets serve`: answer over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from classicnets.cli.output import note as say_note
from classicnets.errors import MissingExtra

_EXAMPLES = """
[bold]Examples[/bold]

  classicnets serve runs/photos

  classicnets serve runs/photos/bundle old=runs/photos-1 --port 8080

  classicnets serve runs/photos --host 0.0.0.0 --api-key "$KEY" --allow-host models.example.org
"""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog=_EXAMPLES)(serve)


def serve(
    runs: Annotated[list[Path], typer.Argument(help="Runs, model folders or bundles: PATH or NAME=PATH.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(envvar="CLASSICNETS_API_KEY", help="A key that requests must show.", show_envvar=True),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an address that others can reach without a key.")
    ] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A name that the Host header may have. Can be given more than once.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Requests that are answered at once. Default: one for each core.")
    ] = None,
    waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 503.")] = 32,
    max_mib: Annotated[int, typer.Option(min=1, help="MiB that one request may have.")] = 64,
    max_images: Annotated[int, typer.Option(min=1, help="Images that one request may have.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long a request may take.")] = 30.0,
) -> None:
    """Answer over HTTP: an API, the Open Inference Protocol v2 and metrics, on this machine only by default.

    The address shows a page to try the models on images; /docs describes the API.

    Models whose files are replaced are loaded again while the server runs.
    SIGTERM and Ctrl-C stop it after the requests that it has accepted.
    """
    from classicnets.system.threads import usable_cores

    try:
        from classicnets.serving.limits import Limits
        from classicnets.serving.server import serve as serve_models
    except ModuleNotFoundError as missing:
        raise MissingExtra(
            f"Serving needs {missing.name}, which is not installed. Install it with: pip install 'classicnets[serve]'"
        ) from None
    limits = Limits(
        workers=workers or usable_cores(), waiting=waiting, body=max_mib * 2**20, bodies=max(8 * max_mib, 512) * 2**20,
        images=max_images, seconds=seconds,
    )  # fmt: skip

    def say(address: str) -> None:
        say_note(f"Serving on {address}, described at {address}/docs. Stop it with Ctrl-C.")

    serve_models(
        runs, host=host, port=port, key=api_key, insecure=insecure, hosts=allow_host or (), limits=limits, say=say
    )
