"""excite explain"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from excite.cli.explanation_output import attention_table, shortcut_table
from excite.cli.options import ImportOption, VerboseOption
from excite.cli.output import (
    loading,
    plain_table,
    print_json,
    print_labeled,
    print_line,
    print_sentence,
    print_table,
)
from excite.errors import BAD_USAGE, ExciteError
from excite.plugins.loading import load_modules
from excite.system.progress import LABEL, ConsoleDisplay

if TYPE_CHECKING:
    from excite.explain.gate_analysis import AttentionReport
    from excite.explain.shortcuts import ShortcutReport
    from excite.reporting.explanation_page import ExplanationPage
    from excite.runs.classifier import Classifier
    from excite.runs.run import Run


def add_to(app: typer.Typer) -> None:
    app.command(
        "explain",
        epilog="Examples: [bold]excite explain runs/photos new.jpg[/bold] · "
        "[bold]excite explain runs/photos --attention[/bold] · "
        "[bold]excite explain runs/photos --shortcuts[/bold]",
    )(explain)


def explain(
    run: Annotated[Path, typer.Argument(help="Run folder.", show_default=False)],
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Image files or folders. [dim]\\[default: test images of the run][/dim]"),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="What the gates depend on, and which are constants.")
    ] = False,
    shortcuts: Annotated[
        bool, typer.Option("--shortcuts", help="What can be told from the pictures without the object.")
    ] = False,
    label: Annotated[
        str | None,
        typer.Option(
            "--class", help="Class to explain. [dim]\\[default: the predicted one][/dim]", metavar="NAME"
        ),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(
            "--objects",
            help="Where the objects of the run's images are: a folder of masks with the images' names, or a "
            "CSV of boxes with the columns path, left, top, right, bottom.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder for explain.html, PNG, and JSON. [dim]\\[default: explain-RUN][/dim]"
        ),
    ] = None,
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Show the pictures beside their maps.")
    ] = False,
    data_root: Annotated[
        Path | None,
        typer.Option("--data-root", help="Folder that the run's own data is in now, if it has moved."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps, or auto.")] = "cpu",
    imports: ImportOption = None,
    verbose: VerboseOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show why a classifier answers as it does, with tests that could refute it.

    Maps of evidence add up, with the bias, to the logit of a class. Without IMAGES, test images of the run
    are explained, and the maps are compared with maps that know nothing of the class. --attention and
    --shortcuts measure the gates, and what is left without the object, on the run's own images.
    """
    if images and (attention or shortcuts or objects is not None):
        what = "IMAGES and --attention, --shortcuts, or --objects, which use the run's own images, are"
        raise ExciteError(f"{what} mutually exclusive", exit_code=BAD_USAGE)
    load_modules(imports or ())
    display = ConsoleDisplay(verbose=verbose)
    with loading(display):
        from excite.reporting.explanation_page import checks, write_explanation
        from excite.runs.classifier import Classifier
        from excite.runs.moved_data import open_run
    opened = open_run(run, data_root, display)
    folder = _folder(opened, out, images or [])
    classifier = Classifier.load(opened, device=device)
    try:
        page = _measure(
            opened,
            classifier,
            images or [],
            {"attention": attention, "shortcuts": shortcuts},
            label,
            objects,
            thumbnails,
            display,
        )
    finally:
        display.close()
    write_explanation(page, folder)
    if as_json:
        print_json(_document(page))
        return
    _print_images(page)
    if page.attention is not None:
        _print_attention(page.attention, page.title)
    if page.shortcuts is not None:
        _print_shortcuts(page.shortcuts)
    for statement in checks(page):
        print_labeled("check" if statement.severity == "fine" else "note", statement.text)
    print_line(f"{'written':<{LABEL}}{folder}   (open explain.html)")


def _folder(run: Run, out: Path | None, images: list[Path]) -> Path:
    """The folder to write, which is no run and not among the images."""
    from excite.data.paths import refuse_inside_data
    from excite.runs.run import refuse_run_folder

    folder = Path(f"explain-{run.path.resolve().name}") if out is None else out
    refuse_run_folder(folder)
    refuse_inside_data(folder, run.data_path, run.manifest.table["path"])
    for path in images:
        if path.is_dir():
            refuse_inside_data(folder, path)
    return folder


def _measure(
    run: Run,
    classifier: Classifier,
    images: list[Path],
    parts: dict[str, bool],
    label: str | None,
    objects: Path | None,
    thumbnails: bool,
    display: ConsoleDisplay,
) -> ExplanationPage:
    """What the options ask for: images, or the run's own images, its gates, and its shortcuts."""
    from excite.explain.images import Explainer
    from excite.explain.run import explain_run
    from excite.explain.run_gates import attention_of_run
    from excite.explain.run_shortcuts import shortcuts_of_run
    from excite.reporting.explanation_page import ExplanationPage
    from excite.runs.image_inputs import single_images

    shown: dict[str, Any] = {"title": str(run.path), "classes": classifier.classes}
    if images:
        import numpy as np

        explainer = Explainer(classifier, label)
        files = [Path(str(each)) for each in single_images(images)]
        for file in files:
            if not file.is_file():
                raise ExciteError("there is no such image", where=file, exit_code=BAD_USAGE)
        pixels = np.stack([classifier.pixels_of(file) for file in files])
        found = explainer.explain(pixels, list(map(str, files)), display.stage("explaining"))
        return ExplanationPage(
            **shown, explanations=found, labels=[""] * len(found), pixels=pixels if thumbnails else None
        )
    if parts["attention"]:
        shown["attention"], shown["targets"] = attention_of_run(run, classifier, display)
    if parts["shortcuts"]:
        shown["shortcuts"] = shortcuts_of_run(run, classifier, objects=objects, display=display)
    if not any(parts.values()):
        done = explain_run(run, classifier, label=label, objects=objects, display=display)
        shown |= {
            "explanations": done.explanations,
            "labels": [text or "none" for text in done.images.manifest.table["label"]],
            "pixels": done.images.pixels if thumbnails else None,
            "faithfulness": done.faithfulness,
        }
    return ExplanationPage(**shown)


def _document(page: ExplanationPage) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if page.explanations:
        document["images"] = [each.to_dict() for each in page.explanations]
    for name in ("faithfulness", "attention", "shortcuts"):
        if (part := getattr(page, name)) is not None:
            document[name] = part.to_dict()
    return document


def _print_images(page: ExplanationPage) -> None:
    if not page.explanations or page.faithfulness is not None:
        return
    table = plain_table(
        "image", "class", "probability", "for", "against", "bias", "logit", names=("image", "class"),
        right=("probability", "for", "against", "bias", "logit"),
    )  # fmt: skip
    for each in page.explanations:
        sums = (each.map.clip(min=0).sum(), each.map.clip(max=0).sum(), each.bias, each.logit)
        table.add_row(each.path, each.label, f"{each.probability:.1%}", *(f"{v:+.2f}" for v in sums))
    print_table(table)


def _print_attention(report: AttentionReport, run: str) -> None:
    from excite.reporting.explanation_page import fold_command

    print_table(attention_table(report))
    print_sentence(
        "class, image, nothing: shares of the variance of the gates between classes, between images of a "
        "class, and between an image and its mirror image; accuracy: change in percentage points with "
        "the gates of the site at their means; *: constant in practice."
    )
    if text := fold_command(report, run):
        print_line("to fold constant gates, in Python:")
        for line in text.splitlines():
            print_line(f"  {line}")


def _print_shortcuts(report: ShortcutReport) -> None:
    print_table(shortcut_table(report))
    print_sentence("shuffled: AUROC with shuffled labels; *: above chance.")
