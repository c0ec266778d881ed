"""What Linux can tell of Windows and macOS: names that they lack, their consoles, and how processes start."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import excite
from excite.cli.streams import LOOKALIKES
from excite.errors import ExciteError
from excite.study.plan import Arm, check_arms
from excite.system import files
from excite.system.text import command_line
from tests.conftest import make_pictures

PACKAGE = Path(excite.__file__).parent
# Attributes that Windows or macOS lacks.
_OF_OS = """
    fork forkpty wait waitpid wait3 wait4 getpgid setpgid getpgrp tcgetpgrp setsid getsid killpg getuid geteuid getgid
    getegid setuid setgid chown lchown fchown fchmod mkfifo mknod nice sysconf confstr pathconf uname getloadavg pread
    pwrite sendfile posix_fadvise posix_fallocate posix_spawn sched_getaffinity sched_setaffinity sched_yield statvfs
    register_at_fork memfd_create openpty ttyname execv O_DIRECTORY O_NOFOLLOW O_CLOEXEC O_DIRECT initgroups
"""  # noqa: E501
_OF_SIGNAL = """
    SIGHUP SIGCHLD SIGKILL SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGSTOP SIGCONT SIGQUIT SIGWINCH alarm setitimer sigwait
    pthread_kill pthread_sigmask pause
"""  # noqa: E501
LACKING = {
    "os": set(_OF_OS.split()),
    "signal": set(_OF_SIGNAL.split()),
    "socket": {"AF_UNIX", "SO_REUSEPORT", "AF_NETLINK", "send_fds", "recv_fds"},
    "time": {"tzset", "clock_gettime"},
}
MODULES = {"resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix"}
# The files that use one behind a question whether it is there.
GUARDED = {
    "serving/notify.py": {"AF_UNIX"},  # asks hasattr
    "serving/start.py": {"execv"},  # only where SUPERVISED
    "serving/supervisor.py": {"SIGHUP", "tcgetpgrp"},  # runs only where SUPERVISED
    "serving/worker.py": {"resource"},  # except ImportError
    "system/peak_memory.py": {"resource"},  # except ImportError
    "system/processors.py": {"sched_getaffinity"},  # asks hasattr
    "study/running/local.py": {"sched_getaffinity"},  # asks hasattr
}


@cache
def trees() -> dict[str, ast.Module]:
    return {
        str(path.relative_to(PACKAGE).as_posix()): ast.parse(path.read_text("utf-8"))
        for path in PACKAGE.rglob("*.py")
    }


def posix_names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.attr in LACKING.get(node.value.id, ()):
                yield node.attr
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            yield from {node.module} & MODULES
            yield from {alias.name for alias in node.names} & LACKING.get(node.module or "", set())


def test_names_of_posix_are_behind_a_question() -> None:
    found = {file: set(posix_names(tree)) for file, tree in trees().items()}
    assert {file: names for file, names in found.items() if names} == GUARDED


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import os\nos.fork()", ["fork"]),
        ("from signal import SIGHUP", ["SIGHUP"]),
        ("import fcntl", ["fcntl"]),
        ("import os\nos.replace(1, 2)", []),
    ],
)
def test_the_question_is_asked(code: str, names: list[str]) -> None:
    assert list(posix_names(ast.parse(code))) == names


# Modules that Python 3.12 to 3.14 no longer have, and functions that they remove or announce to remove.
GONE = set(
    """asynchat asyncore imp distutils smtpd pkg_resources aifc audioop cgi cgitb chunk crypt imghdr mailcap
    nntplib pipes sndhdr telnetlib uu xdrlib lib2to3""".split()  # noqa: SIM905
)
OLD = {
    "ast": {"Num", "Str", "Bytes", "NameConstant", "Ellipsis"},
    "asyncio": {"get_event_loop_policy", "set_event_loop_policy", "iscoroutinefunction"},
    "codecs": {"open"},
    "datetime": {"utcnow", "utcfromtimestamp"},
    "importlib": {"find_loader"},
    "locale": {"getdefaultlocale", "resetlocale"},
    "pkgutil": {"find_loader", "get_loader", "ImpImporter", "ImpLoader"},
    "typing": {"io", "re", "ByteString"},
}


def test_nothing_is_used_that_later_versions_of_python_lack() -> None:
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names]
                places = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
                assert not {place.partition(".")[0] for place in places} & GONE, file
                if isinstance(node, ast.ImportFrom):
                    assert not set(names) & OLD.get(node.module or "", set()), file
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.attr not in OLD.get(node.value.id, ()), f"{file}:{node.lineno}"


def calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                yield node


def test_no_text_is_read_or_written_in_the_encoding_of_the_system() -> None:
    """On Windows it is often cp1252; EncodingWarning would say so only where a test passes by."""
    for file, tree in trees().items():
        for call in calls(tree, "read_text", "write_text"):
            own = isinstance(call.func, ast.Name)  # excite.system.files.write_text is UTF-8
            named = any(keyword.arg == "encoding" for keyword in call.keywords)
            assert own or named, f"{file}:{call.lineno} {ast.unparse(call)[:80]}"
        for call in calls(tree, "open", "fdopen", "TextIOWrapper"):
            text = ast.unparse(call)
            modes = [
                a.value for a in call.args if isinstance(a, ast.Constant) and a.value in ("r", "w", "a", "x")
            ]
            assert not modes or "encoding=" in text, f"{file}:{call.lineno} {text[:80]}"


def test_processes_are_started_anew_and_not_forked() -> None:
    """A child imports what it needs, so that spawn, fork, and forkserver (Python 3.14) are alike."""
    for file, tree in trees().items():
        imported = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for name in (a.name for a in node.names)
        }
        imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {
            name for name in imported if name.startswith(("multiprocessing", "torch.multiprocessing"))
        }, file
        for call in calls(tree, "Popen"):
            assert "sys.executable" in ast.unparse(call) or "call" in ast.unparse(call.args[0]), file
            assert "preexec_fn" not in ast.unparse(call), file


WITHOUT = """
import asyncio, multiprocessing, os, selectors, signal, socket, ssl, subprocess, sys, tempfile, threading
# Libraries that use such names on Linux are imported before the names are removed.
for name in {libraries!r}:
    importlib = __import__("importlib")
    importlib.import_module(name)
for module, names in {lacking!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
for name in {modules!r}:
    sys.modules[name] = None
import importlib, pkgutil
import excite
failed = []
for module in pkgutil.walk_packages(excite.__path__, "excite.", onerror=lambda name: None):
    if not module.name.startswith({packages!r}) or module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("excite") or error.name in {modules!r}:
            failed.append((module.name, repr(error)))
    except Exception as error:
        failed.append((module.name, repr(error)))
print(failed)
"""
LIBRARIES = "numpy pandas torch PIL.Image typer rich.progress filelock psutil platformdirs yaml"
STARTS = {"fork", "waitpid"}  # with which libraries start processes while they are imported
OPTIONAL = "uvicorn fastapi onnxruntime prometheus_client"
OF_THE_SYSTEM = ("excite.system", "excite.serving", "excite.bundle", "excite.data", "excite.cli")


@pytest.mark.slow
def test_the_modules_of_the_system_are_imported_without_the_names_that_windows_lacks() -> None:
    installed = [name for name in OPTIONAL.split() if find_spec(name) is not None]
    code = WITHOUT.format(
        libraries=[*LIBRARIES.split(), *installed],
        lacking={name: sorted(LACKING[name] - STARTS) for name in ("os", "signal", "socket")},
        modules=sorted(MODULES - {"posix"}),
        packages=OF_THE_SYSTEM,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr[-2000:]


def printed_characters() -> set[str]:
    """What excite prints beyond ASCII; pages are UTF-8, and names of users are replaced in any case."""
    found = set()
    for file, tree in trees().items():
        if not file.startswith(
            ("cli/", "system/", "study/running/", "pipeline/", "runs/", "data/", "audit/")
        ):
            continue
        documented = (ast.Module, ast.FunctionDef, ast.ClassDef)
        texts = {
            id(node.body[0].value)  # type: ignore[attr-defined]
            for node in ast.walk(tree)
            if isinstance(node, documented) and ast.get_docstring(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
                found |= {character for character in node.value if ord(character) > 127}
    return found - set("é¹²³")  # a comment on a name, and names of devices of Windows


@pytest.mark.parametrize("page", ["cp1252", "cp437", "cp850", "cp932", "ascii"])
def test_a_console_of_windows_shows_all_that_is_printed(page: str) -> None:
    for character in printed_characters():
        try:
            character.encode(page)
        except UnicodeEncodeError:
            assert character in LOOKALIKES
            assert LOOKALIKES[character].isascii()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["cp1252", "cp437"])
def test_commands_run_on_a_console_of_windows(tmp_path: Path, page: str) -> None:
    data = make_pictures(tmp_path / "Käfer", classes=2)
    environment = {**os.environ, "PYTHONIOENCODING": page, "PYTHONUTF8": "0", "OMP_NUM_THREADS": "1"}
    for words in (
        ["audit", str(data), "--no-near-duplicates"],
        ["summary", "cifar_resnet20"],
        ["train", "--help"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "excite", *words],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        done.stdout.decode(page)


def test_a_file_that_another_program_has_open_is_replaced_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, refused = tmp_path / "metrics.csv", [PermissionError(13, "in use")] * 3
    replace = Path.replace

    def busy(self: Path, other: Path) -> Path:
        if refused:
            raise refused.pop()
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(files, "_PAUSE", 0)
    with pytest.raises(ExciteError, match="cannot be written: in use"):  # where nothing is to be waited for
        files.write_text(target, "new")
    monkeypatch.setattr(files.os, "name", "nt")
    files.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    refused[:] = [PermissionError(13, "in use")] * 100
    with pytest.raises(ExciteError, match="cannot be written: in use"):
        files.write_bytes(target, b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_commands_are_quoted_for_the_shell_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("excite", "train", "my photos", 'a"b')
    assert command_line(*words) == "excite train 'my photos' 'a\"b'"
    monkeypatch.setattr(os, "name", "nt")
    assert command_line(*words) == 'excite train "my photos" a\\"b'


@pytest.mark.parametrize("name", ["con", "aux", "end.", "LPT1"])
def test_arms_have_names_that_folders_can_have_everywhere(name: str) -> None:
    with pytest.raises(ExciteError, match="cannot have this name on Windows"):
        check_arms([Arm(name, {})])


def test_arms_that_differ_in_case_share_no_folder() -> None:
    with pytest.raises(ExciteError, match="name occurs twice"):
        check_arms([Arm("se", {}), Arm("SE", {})])


def test_several_workers_are_refused_where_a_socket_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from excite.serving import start
    from excite.serving.settings import Settings

    monkeypatch.setattr(start, "SUPERVISED", False)
    with pytest.raises(ExciteError, match=r"several processes cannot share the port .*one worker"):
        start.check_settings(Settings(str(tmp_path / "x.onnx"), workers=2))


def test_standard_streams_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw.exe, or in a service of Windows."""
    from excite.cli.streams import write_lookalikes

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    write_lookalikes()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    write_lookalikes()
