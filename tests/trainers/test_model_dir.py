import subprocess
import sys

import pytest

from trainers.errors import UserError
from trainers.model_dir import ModelDir

HOLDER = """
import sys
from trainers.model_dir import ModelDir
with ModelDir(sys.argv[1]).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_holds_the_folder_until_it_ends(tmp_path):
    path = str(tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    for _ in range(2):  # asking does not wipe the holder's name
        held = pytest.raises(UserError, match=f"in use by process {holder.pid} on .*; wait until")
        with held, ModelDir(path).locked():
            pass
    holder.kill()
    holder.communicate()
    with ModelDir(path).locked():
        with pytest.raises(UserError, match="in use by"), ModelDir(path).locked():
            pass
