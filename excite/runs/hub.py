"""Folders on the Hugging Face hub: download and upload, with errors in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from excite.errors import BAD_USAGE, ExciteError
from excite.models.third_party import is_reachable

PREFIX = "hub:"
_FILES = ("*.json", "*.safetensors", "README.md", "example.py")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def check_repository(name: str, *, where: str) -> None:
    """Raises: ExciteError unless a name has the form ``owner/name``."""
    if not _REPOSITORY.fullmatch(name) or ".." in name:
        raise ExciteError(f"must have the form owner/name, got {name!r}", where=where, exit_code=BAD_USAGE)


def download(repository: str) -> Path:
    """The local copy of a repository; if the hub cannot be reached, the copy of an earlier download.

    Args:
        repository: ``owner/name``.

    Raises:
        ExciteError: if it does not exist, or can neither be reached nor was downloaded before.
    """
    check_repository(repository, where=PREFIX)
    from huggingface_hub import constants, snapshot_download

    with _hub_errors(f"{PREFIX}{repository}"):
        offline = not is_reachable(constants.ENDPOINT)
        return Path(snapshot_download(repository, allow_patterns=list(_FILES), local_files_only=offline))


def upload(folder: Path, repository: str) -> str:
    """Upload a folder as one commit; a repository that does not exist is created, and is private.

    Args:
        repository: ``owner/name``.

    Returns:
        the address of the repository.

    Raises:
        ExciteError: if the hub cannot be reached, or refuses.
    """
    check_repository(repository, where="--push")
    from huggingface_hub import HfApi, constants

    with _hub_errors(f"--push {repository}"):
        if not is_reachable(constants.ENDPOINT):
            raise ExciteError(f"cannot reach {constants.ENDPOINT}", where=f"--push {repository}")
        api = HfApi(library_name="excite")
        url = api.create_repo(repository, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload from excite")
        return str(url)


@contextmanager
def _hub_errors(where: str) -> Iterator[None]:
    """Raise errors of the hub's client as an ``ExciteError`` of one line, without progress bars."""
    before = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        yield
    except ExciteError:
        raise
    except Exception as error:  # of its HTTP library, which has changed before
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0][:200] if lines else type(error).__name__
        hint = "log in with: hf auth login" if "401" in reason or "403" in reason else None
        raise ExciteError(f"the hub refuses: {reason}", where=where, hint=hint) from error
    finally:
        if before is None:
            enable_progress_bars()
