"""A page for each command with all its options, from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from excite.cli.app import app

DEFAULT = re.compile(r"\s*\[dim\]\\?\[default: (.*)\]\[/dim\]")


def cell(text: str) -> str:
    """Text for a cell of a table: one line, without the terminal's markup and without Markdown of its own."""
    text = re.sub(r"\[/?(dim|bold|italic)\]", "", " ".join(text.split())).replace("\\[", "[")
    return re.sub(r"([|*_<>\[\]`\\~])", r"\\\1", text)


def option_row(option: Any, context: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    kind = "" if option.is_flag else option.display_type(context).strip("<>")
    text, default = option.help or "", ""
    if found := DEFAULT.search(text):
        text, default = DEFAULT.sub("", text), found[1]
    elif option.show_default and option.default not in (None, False, ()):
        default = str(option.default)
    return f"| {names} | {cell(kind)} | {cell(text)} | {cell(default)} |"


def command_page(command: Any, name: str) -> str:
    context = command.context_class(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    parts = [f"# {name}", command.help or "", f"```text\n{usage}\n```"]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if arguments:
        rows = [f"| `{each.display_name_raw}` | {cell(each.help or '')} |" for each in arguments]
        parts.append("\n".join(["| argument | meaning |", "|---|---|", *rows]))
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    panels: dict[str, list[Any]] = {}
    for each in options:
        panels.setdefault(getattr(each, "rich_help_panel", None) or "Options", []).append(each)
    for panel, group in panels.items():
        rows = [option_row(each, context) for each in group]
        table = ["| option | value | meaning | default |", "|---|---|---|---|", *rows]
        parts.append("\n".join([f"## {panel}", "", *table]))
    if examples := re.findall(r"\[bold\](.*?)\[/bold\]", command.epilog or ""):
        lines = "\n".join(each.replace("\\[", "[") for each in examples)
        parts.append(f"## Examples\n\n```bash\n{lines}\n```")
    return "\n\n".join(parts) + "\n"


def commands(command: Any, name: str = "excite") -> Iterator[tuple[str, Any]]:
    """(name, command) of every command that does something, in the order of ``excite --help``."""
    children = getattr(command, "commands", None)
    if not children:
        yield name, command
        return
    for part, child in children.items():
        yield from commands(child, f"{name} {part}")


def command_pages() -> dict[str, str]:
    """Each page of the reference with its text, and an index of all."""
    found = list(commands(typer.main.get_command(app)))
    pages, rows = {}, []
    for name, command in found:
        file = "-".join(name.split()[1:]) + ".md"
        pages[f"reference/commands/{file}"] = command_page(command, name)
        first = (command.help or "").split("\n")[0]
        rows.append(f"| [`{name}`]({file}) | {cell(first)} |")
    table = "\n".join(["| command | |", "|---|---|", *rows])
    pages["reference/commands/index.md"] = (
        f"# Commands\n\nWith all options, as `--help-all` prints them.\n\n{table}\n"
    )
    return pages
