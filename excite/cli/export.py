"""excite export"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from excite.cli.options import ImportOption
from excite.cli.output import loading, print_json, print_labeled, print_line
from excite.config.task import MULTICLASS
from excite.errors import BAD_USAGE, ExciteError
from excite.export.formats import FORMATS, get_format, parse_formats
from excite.export.limits import Limits
from excite.plugins.loading import load_modules
from excite.system.progress import LABEL, ConsoleDisplay
from excite.system.text import command_line

if TYPE_CHECKING:
    from excite.export.export import Exported

SHOWN = 12  # names of classes
DEFAULT = Limits()


def add_to(app: typer.Typer) -> None:
    app.command(
        "export",
        epilog="Examples: [bold]excite export runs/photos --format onnx[/bold] · "
        "[bold]excite export runs/photos --format onnx,openvino[/bold] · "
        "[bold]excite export runs/photos --format onnx --int8[/bold] · "
        "[bold]excite export runs/photos --format hub --push owner/photos[/bold]",
    )(export)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="One or more, separated by commas: "
            + "; ".join(f"{name}: {each.description}" for name, each in FORMATS.items())
            + ".",
            metavar="|".join(FORMATS),
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Output file or folder. [dim]\\[default: in the run folder, with the run's name][/dim]",
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", help="Number of test images of the run for the parity check.", min=1)
    ] = 256,
    license: Annotated[
        str, typer.Option("--license", help="License of the weights, to be recorded in the file.")
    ] = "",
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantize the ONNX file, if it is as good on the test images.")
    ] = False,
    int8_accuracy: Annotated[
        float, typer.Option("--int8-accuracy", help="Largest loss of accuracy by --int8.", min=0.0)
    ] = DEFAULT.accuracy,
    int8_log_loss: Annotated[
        float, typer.Option("--int8-log-loss", help="Largest increase of the log loss by --int8.", min=0.0)
    ] = DEFAULT.log_loss,
    push: Annotated[
        str | None,
        typer.Option(
            "--push", help="Upload the folder of --format hub to this repository.", metavar="OWNER/NAME"
        ),
    ] = None,
    deploy: Annotated[
        Path | None,
        typer.Option(
            "--deploy",
            help="Also write a folder that runs the ONNX file as a service: container, systemd, Kubernetes, "
            "Triton, and KServe.",
            metavar="DIR",
        ),
    ] = None,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the run's data is in now, if it has moved."),
    ] = None,
    imports: ImportOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Export a trained classifier to other formats, and check its predictions.

    The exported model takes uint8 images of the run's input size, normalizes them, and returns calibrated
    probabilities. It is read back and compared with the run on test images of the run; if its probabilities
    differ, nothing is written.
    """
    formats = parse_formats(format)
    if push is not None and "hub" not in formats:
        raise ExciteError("needs --format hub", where="--push", exit_code=BAD_USAGE)
    if deploy is not None and "onnx" not in formats:
        raise ExciteError("needs --format onnx", where="--deploy", exit_code=BAD_USAGE)
    limits = Limits(int8_accuracy, int8_log_loss) if int8 else None
    load_modules(imports or ())
    display = ConsoleDisplay()
    with loading(display):
        from excite.export.deploy import write_deployment
        from excite.export.export import export_run
        from excite.export.publish import exists_already
        from excite.runs.hub import check_repository, upload
        from excite.runs.moved_data import open_run

    if push is not None:
        check_repository(push, where="--push")
    if deploy is not None and deploy.exists():
        raise exists_already(deploy)
    found = open_run(run, data_root)
    exported = export_run(found, formats, out, images=images, license=license, int8=limits, display=display)
    if deploy is not None:
        write_deployment(exported[formats.index("onnx")].path, deploy)
    url = None
    if push is not None:
        with display.waiting("uploading"):
            url = upload(exported[formats.index("hub")].path, push)
    if as_json:
        files = [_document(each) for each in exported]
        print_json({"files": files, "pushed": url, "deployment": None if deploy is None else str(deploy)})
        return
    for number, each in enumerate(exported):
        if number:
            print_line()
        _print(each)
    if deploy is not None:
        print_labeled("deploy", str(deploy))
    if url is not None:
        print_labeled("pushed", url)


def _document(exported: Exported) -> dict[str, object]:
    document = {**asdict(exported), "path": str(exported.path), "rule": _rule(exported)}
    if exported.task == MULTICLASS:
        del document["task"]
    return document


def _rule(exported: Exported) -> dict[str, object] | None:
    rule = exported.rule
    return None if rule is None else {"label": rule.label, "threshold": float(rule.thresholds)}


def _print(exported: Exported) -> None:
    from excite.reporting.decision_text import rule_text

    side, parity = exported.image_size, exported.parity
    size = (
        f"{exported.size / 2**20:.1f} MiB" if exported.size >= 2**20 else f"{exported.size / 2**10:.0f} KiB"
    )
    print_labeled("written", f"{exported.path} ({size})")
    names = ", ".join(exported.classes[:SHOWN]) + (", ..." if len(exported.classes) > SHOWN else "")
    print_labeled("takes", f"uint8 images {side} x {side}")
    noun, same = ("classes", "class") if exported.task == MULTICLASS else ("labels", "labels")
    print_labeled("gives", f"probabilities of {len(exported.classes)} {noun}: {names}")
    if rule := exported.rule:
        text = rule_text(rule.label, float(rule.thresholds))
        if exported.format == "keras":
            text += " model.get_layer('probabilities').decide(probabilities) applies this rule."
        print_labeled("predicts", text)
    sizes = ", ".join(map(str, parity.batch_sizes))
    print_labeled(
        "checked",
        f"on {parity.images} images of the run, in batches of {sizes}: the largest difference of a "
        f"probability is {parity.largest:.1e}, of its logarithm {parity.largest_log:.1e}; the same {same} "
        f"for {parity.same_class}",
    )
    for note in exported.notes:
        print_labeled("note", note)
    use = get_format(exported.format).use
    print_line(f"{'next':<{LABEL}}{command_line(*(word.format(str(exported.path)) for word in use))}")
