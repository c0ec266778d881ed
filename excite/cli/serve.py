"""excite serve"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from excite.cli.output import loading
from excite.errors import BAD_USAGE, ExciteError
from excite.serving.settings import Settings
from excite.system.progress import ConsoleDisplay

DEFAULT = Settings("")


def add_to(app: typer.Typer) -> None:
    app.command(
        "serve",
        epilog="Examples: [bold]excite serve photos.onnx[/bold] · [bold]excite serve runs/photos[/bold] · "
        "[bold]excite serve photos.onnx --host 0.0.0.0 --keys keys.txt[/bold]",
    )(serve)


def serve(
    run: Annotated[
        Path,
        typer.Argument(help="ONNX file of excite export, or a run folder.", show_default=False),
    ],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; beyond this machine, API keys are needed.")
    ] = DEFAULT.host,
    port: Annotated[
        int, typer.Option("--port", help="Port; 0 chooses a free one.", min=0, max=65535)
    ] = DEFAULT.port,
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open", help="Open the page in a browser. [dim]\\[default: for a run folder][/dim]"
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="File of API keys, one per line: NAME: KEY. "
            "[dim]\\[default: EXCITE_SERVE_KEYS of the environment, with commas between keys][/dim]",
            metavar="FILE",
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option("--rate", help="Images per minute for each API key; 0: no limit.", min=0)
    ] = DEFAULT.rate,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="Name by which clients call the service; several are possible. Addresses and localhost "
            "always are.",
            metavar="NAME",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", help="Number of processes; they share the processors.", min=1)
    ] = DEFAULT.workers,
    callers: Annotated[
        int,
        typer.Option(
            "--callers",
            help="Images that a process computes at the same time; 0: one per processor.",
            min=0,
        ),
    ] = DEFAULT.callers,
    queue: Annotated[
        int, typer.Option("--queue", help="Images that may wait in a process; others get 503.", min=1)
    ] = DEFAULT.queue,
    timeout: Annotated[
        float, typer.Option("--timeout", help="Seconds until an answer must begin.", min=0.1)
    ] = DEFAULT.seconds,
    body_timeout: Annotated[
        float,
        typer.Option(
            "--body-timeout", help="Seconds for the body of a request, and one more per 64 KiB.", min=0.1
        ),
    ] = DEFAULT.body_seconds,
    max_bytes: Annotated[
        int, typer.Option("--max-bytes", help="Largest body of a request, in bytes.", min=1024)
    ] = DEFAULT.max_bytes,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", help="Largest image, in pixels.", min=1)
    ] = DEFAULT.max_pixels,
    max_images: Annotated[
        int, typer.Option("--max-images", help="Largest number of images in a request.", min=1)
    ] = DEFAULT.max_images,
    formats: Annotated[
        str, typer.Option("--formats", help="Formats that are decoded, separated by commas.")
    ] = ",".join(DEFAULT.formats),
    grace: Annotated[
        float, typer.Option("--grace", help="Seconds to answer what was accepted, when stopping.", min=0)
    ] = DEFAULT.grace,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the run's data is in now, if it has moved."),
    ] = None,
) -> None:
    """Serve a classifier: a page for people, and an interface for programs.

    A run folder is exported first, unless it has been. SIGHUP loads the file again without losing a request;
    SIGTERM and Ctrl-C stop the service after its last answer.
    """
    with loading(ConsoleDisplay()):
        from excite.serving.start import become_supervisor, check_settings, parse_formats

    settings = Settings(
        file=str(_file(run, data_root)),
        host=host,
        port=port,
        workers=workers,
        callers=callers,
        queue=queue,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_images=max_images,
        formats=parse_formats(formats),
        seconds=timeout,
        body_seconds=body_timeout,
        grace=grace,
        keys=None if keys is None else str(keys.absolute()),
        rate=rate,
        hosts=tuple(allowed_host or ()),
        open_page=run.is_dir() if open_page is None else open_page,
    )
    check_settings(settings)
    become_supervisor(settings)


def _file(run: Path, data_root: Path | None) -> Path:
    """The ONNX file, exported if the path is a run folder without one."""
    if (run / "model.xml").is_file():
        hint = "excite export RUN --format onnx writes one"
        raise ExciteError("is OpenVINO IR; an ONNX file is served", where=run, hint=hint, exit_code=BAD_USAGE)
    if not run.is_dir():
        return run.absolute()
    with loading(ConsoleDisplay()):
        from excite.export.exported import exported_file

    return exported_file(run, data_root).absolute()
