"""Every study as data. To add one, add an entry here and a file of its name to `experiments/`: docs/add-a-study.md."""

from collections.abc import Mapping

from dsresearch.studies.study import Arm, Study

# Figure 4 of the hybrid paper: its six rows, and two other readings of its hypothesis.
HYBRID = Study(
    title="Is a separable convolution best understood as a hybrid of Inception and ResNeXt? (Ghosh 2017, Figure 4)",
    arms=(
        Arm("separable", role="baseline"),
        Arm("inception", role="rival"),
        Arm("resnext", role="rival"),
        Arm("inception_reformulated", role="rival"),
        Arm("separable_strict", role="control"),
        Arm("hybrid", role="candidate"),
        Arm("hybrid_residual", role="reading"),
        Arm("hybrid_learned", role="reading"),
    ),
)

STUDIES: Mapping[str, Study] = {
    "hybrid": HYBRID,
}
