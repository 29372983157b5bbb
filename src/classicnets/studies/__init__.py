"""What the field claims of these networks, and an experiment for each claim: claim -> cells -> verdict.

    claims/relu.py     one file for each claim: its sentence, sources, hypotheses, trainings and figure
    claim.py           what a claim consists of; all of it is stated before anything runs
    cells.py           one training, measured and kept as a file
    verdict.py         from the numbers of the seeds to shown, not shown or contradicted
    run.py             a study from its first cell to its outcome
    report.py          all outcomes on one page

To add a claim, write one file in `claims/` with a `CLAIM`, and add its name to `_FILES` in `claims/__init__.py`. The
list, the command, the page and the tests find it there.

State the hypothesis before you look at a number, and leave it as it is afterwards: a claim that turns out
contradicted is a result.
"""

from classicnets.studies.claims import CLAIMS, find_claim

__all__ = ["CLAIMS", "find_claim"]
