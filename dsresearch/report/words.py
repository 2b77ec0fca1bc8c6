"""What the verdict's words and qualifiers mean, in the words of a person; and what follows from each."""

from collections.abc import Mapping

from dsresearch.report.pairs import EQUAL_SIZE

WORDS: Mapping[str, str] = {
    "SUPPORTED": (
        "The hybrid was shown to lie within the margin of the baseline, and every rival significantly farther away."
    ),
    "CONSISTENT": (
        "All that SUPPORTED asks holds, but the hybrid is the very function of the baseline: they are equal by "
        "construction, so that their equal errors are no evidence for the hypothesis."
    ),
    "NOT SUPPORTED": (
        "The data speak against the hypothesis: the hybrid lies outside the margin, or a rival is nearer to the "
        "baseline than the hybrid, or a rival is equivalent to the baseline as well, so that equivalence does not set "
        "the hybrid apart."
    ),
    "UNDECIDED": (
        "Neither all that SUPPORTED asks was shown, nor anything that speaks against the hypothesis; the reasons below "
        "say what was shown and what was not. It is no failure of the run: it is what an honest test says where the "
        "noise between two trainings of one network is as large as the margin, as it is on a small test set."
    ),
    "INCOMPLETE": (
        "Not everything that the rule needs has been trained yet, so that no conclusion is drawn; what there is "
        "stands in the tables. The reasons below name what is missing."
    ),
    "INVALID": (
        "The machinery or the pairing cannot be trusted here, so that nothing may be concluded from these numbers "
        "before its cause is found: a control that must agree does not."
    ),
    "NOT APPLICABLE": (
        "The study has no hybrid arm, so that the hypothesis is not asked; its comparisons stand in the tables."
    ),
}

QUALIFIERS: Mapping[str, str] = {
    "underpowered": (
        "Too few trials or test pictures: the planned chance to show truly equal formulations to be equal is below the "
        "usual 80 %."
    ),
    "capacity-confounded": (
        "The formulations have different numbers of parameters and multiply-adds, so that a difference (or none) may "
        "come from size instead of form. Lifted only where the arms matched in parameters and those matched in "
        "multiply-adds (`--match params`, `--match macs`) both give the same word and are of the baseline's size "
        f"within {EQUAL_SIZE} %."
    ),
    "outcome-only": (
        "Only the error rate speaks. Two networks may err equally often on different pictures; that the hybrid errs on "
        "the baseline's pictures, and the rivals do not, was not shown."
    ),
    "profile": "Not a profile of the paper's 190 epochs: the words hold for this training, not for the paper's.",
}

# For figures and the badge of the page; each reads on white and on dark ground.
WORD_COLOURS: Mapping[str, str] = {
    "SUPPORTED": "#029e73",
    "CONSISTENT": "#56b4e9",
    "NOT SUPPORTED": "#d55e00",
    "UNDECIDED": "#949494",
    "INCOMPLETE": "#ca9161",
    "INVALID": "#b3261e",
    "NOT APPLICABLE": "#949494",
}
