"""Iterate over a training: log it, stop it when you have seen enough, and continue later.

python examples/follow_a_training.py
"""

import tempfile
from pathlib import Path

from classicnets.training import EpochDone, Finished, reopen, start

with tempfile.TemporaryDirectory() as folder:
    job = start("resnet20_cifar", "digits", settings=["epochs=4"], out=Path(folder) / "run")
    for note in job.notes:
        print(note)

    events = iter(job)
    for event in events:
        if isinstance(event, EpochDone):
            print(f"epoch {event.epoch}: validation accuracy {event.val_accuracy:.1%}")
            if event.epoch == 2:
                break
    events.close()  # the run keeps what was learned so far

    for event in reopen(job.run):  # on the CPU, bit for bit what it would have been without the break
        if isinstance(event, EpochDone):
            print(f"epoch {event.epoch}: validation accuracy {event.val_accuracy:.1%}")
        elif isinstance(event, Finished):
            print(f"top-1 on the test images: {event.report.top1:.1%}, report at {event.page.name}")
