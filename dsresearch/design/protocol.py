"""What is decided before the first cell of a study runs."""

from dataclasses import dataclass

from dsresearch.design.inputs import InputError, number, one_of, whole

KERNELS = ("xla", "native", "fused", "throughout", "winograd")
SPLITS = ("stratified", "standard", "pool60k_hold6k", "test10k_sub6k")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is decided before the first cell runs and never changes in a store, whatever changes bits included.

    Attributes:
        seed: root of every key; a trial's keys are derived from it by purpose and trial.
        trials: models trained of each arm.
        split: `stratified` draws a class-balanced test set of `test_pictures` from all pictures; `standard` is the data
            set's own; `pool60k_hold6k` draws 6,000 of the merged pictures (the likely reading of the hybrid paper);
            `test10k_sub6k` draws 6,000 of the data set's own test set (its other reading).
        train_pictures: at most so many training pictures, drawn by the trial's split key; 0 means all.
        test_pictures: likewise for the test set.
        trials_per_cell: trials that one process trains and records together, 0 for all of them. With fewer a long study
            is many short cells, and its first trials are whole pairs before the next ones begin.
        trial_batch: trials trained in one program; 1 trains them one after another (`exec_mode` sequential).
        threads: CPU threads a cell, set before jax starts; never follows the number of workers.
        devices: devices that share a cell (`exec_mode` sharded): the trials of a program, or, where it has one, every
            batch. CPU devices share the threads; those that share a batch are processes.
        kernels: whose convolutions on a CPU. `xla`: XLA's. `native`: our own where they fit (float32, stride 1,
            channels that fill vectors), XLA's elsewhere; several times as fast where a filter reads few channels.
            `fused`: the same, and BatchNorm, ReLU and pooling around a module that is a chain of convolutions are taken
            with it. `throughout`: also those between a module's convolutions. `winograd`: and a 3x3 convolution of
            groups of eight channels or more by 16 products in place of 36 (minimal filtering). Ours use one thread a
            process (for more cores set `devices`) and need the extra `native`. Each choice has bits of its own, and
            rows trained by it.
        margin: equivalence margin M in percentage points.
        alpha: significance level.
    """

    seed: int = 0
    trials: int = 10
    split: str = "standard"
    train_pictures: int = 0
    test_pictures: int = 0
    trial_batch: int = 1
    threads: int = 1
    margin: float = 0.25
    alpha: float = 0.05
    trials_per_cell: int = 0
    devices: int = 1
    kernels: str = "xla"

    def __post_init__(self) -> None:
        whole("protocol.seed", self.seed, 0, 2**32 - 1)
        whole("trials", self.trials, 1, 10_000)
        one_of("protocol.split", self.split, SPLITS)
        whole("protocol.train_pictures", self.train_pictures, 0, 10**8)
        whole("protocol.test_pictures", self.test_pictures, 0, 10**8)
        whole("protocol.trial_batch", self.trial_batch, 1, 1024)
        whole("protocol.threads", self.threads, 1, 1024)
        whole("protocol.devices", self.devices, 1, 1024)
        one_of("protocol.kernels", self.kernels, KERNELS)
        number("protocol.margin", self.margin, 1e-6, 100.0)
        number("protocol.alpha", self.alpha, 1e-6, 0.5)
        whole("protocol.trials_per_cell", self.trials_per_cell, 0, self.trials)
        for field, total in (("trials_per_cell", self.trials), ("trial_batch", self.cell_trials)):
            if total % (getattr(self, field) or 1):
                raise InputError(
                    f"protocol.{field}={getattr(self, field)} is not allowed: it does not divide the {total} trials"
                    + (" of a cell" if total != self.trials else "")
                )
        for what, shared in (("threads", self.threads), ("trials of a program", self.trial_batch)):
            if shared % self.devices and (what == "threads" or shared > 1):
                raise InputError(
                    f"protocol.devices={self.devices} is not allowed: it does not divide the {shared} {what}"
                )

    @property
    def cell_trials(self) -> int:
        """Trials of one cell."""
        return self.trials_per_cell or self.trials

    @property
    def draws_split(self) -> bool:
        """Whether another split key gives other pictures, so that the `split` control exists."""
        return self.split != "standard" or bool(self.train_pictures or self.test_pictures)

    @property
    def exec_mode(self) -> str:
        """`sequential` (one trial a program), `vmap` or `sharded`; they are never mixed within a pair."""
        alone = "sequential" if self.trial_batch == 1 else "vmap"
        return alone if self.devices == 1 else "sharded"
