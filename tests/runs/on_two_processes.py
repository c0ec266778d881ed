"""Trainings on two processes, run by torchrun: each argument is the arguments of one ``excite train``, as JSON.

One launch for all of them: starting two processes takes longer than these trainings.
"""

from __future__ import annotations

import json
import sys

from excite.cli.app import run

for arguments in sys.argv[1:]:
    run(json.loads(arguments))
