"""The group of processes is left once, when the program ends."""

import subprocess
import sys


def test_it_is_left_when_the_program_ends() -> None:
    code = """
import torch.distributed as group
from matryoshka_text.process_group import leave_at_exit
left = group.destroy_process_group
group.destroy_process_group = lambda: (left(), print("left"))
for _ in range(2):
    leave_at_exit()
group.init_process_group("gloo", store=group.HashStore(), rank=0, world_size=1)
print("working")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["working", "left"]), done.stderr
