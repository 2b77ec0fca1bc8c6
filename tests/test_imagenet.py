"""ImageNet-sized work at toy size: the recipes, a step, stopping and going on, what is written of it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest
from picture_files import encoded, folder_of

from dsresearch.data.stream import Workers
from dsresearch.design import InputError
from dsresearch.imagenet.experiment import machine
from dsresearch.imagenet.figure import _source, draw
from dsresearch.imagenet.program import Program
from dsresearch.imagenet.run import Run
from dsresearch.imagenet.settings import Settings
from dsresearch.networks.blocks import conv_bn
from dsresearch.networks.catalogue import named
from dsresearch.networks.vocabulary import Architecture, Map, Words
from dsresearch.statistics.ranking import mean_average_precision

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy(Architecture):
    """One convolution and dropout: compiles in a moment."""

    dropout: float = 0.5

    def __call__(self, net: Words, x: Map) -> Map:
        x = conv_bn(net, "conv", x, 8, 3, stride=2)
        return net.dense("predictions", net.dropout(net.mean(x), self.dropout), self.classes)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    def architecture(self: Settings, name: str, classes: int) -> Toy:
        return Toy(classes=classes, image=self.image, dropout=0.2)

    monkeypatch.setattr(Settings, "architecture", architecture)


def settings(**changes: Any) -> Settings:
    small = {"networks": "xception,vgg16", "image": 32, "batch": 4, "steps": 6, "polyak": 0.9, "rate": 0.05}
    return Settings(**{**small, **changes})


def colours(root: Path, categories: tuple[str, ...] = ("red", "green", "blue")) -> Path:
    """Pictures that a class can be told from by their colour."""
    draws, files = np.random.default_rng(0), {}
    place = {"red": 0, "green": 1, "blue": 2}
    for split, count in (("train", 6), ("test", 2)):
        for category in categories:
            for i in range(count):
                pixels = draws.integers(0, 60, (20, 20, 3)).astype(np.uint8)
                for colour in category.split("+"):
                    pixels[..., place[colour]] += 180
                files[f"{split}/{category}/{i}.png"] = encoded(pixels)
    return folder_of(root, files)


@pytest.fixture
def grain() -> Any:
    return pytest.importorskip("grain", reason="Grain is not installed: pip install '.[imagenet]'")


# --- settings -----------------------------------------------------------------------------------------------------


def test_the_recipes_are_the_papers() -> None:
    """Chollet 2017, sections 4.2 and 4.3."""
    imagenet = Settings()
    jft = Settings(recipe="xception_jft")
    inception = imagenet.recipe_of(named("inception_v3"))
    ours = imagenet.recipe_of(named("xception"))
    assert (ours.optimiser, ours.momentum, ours.rate, ours.fall, ours.every) == ("momentum", 0.9, 0.045, 0.94, 2)
    assert (ours.schedule, ours.smoothing) == ("staircase_epochs", 0.0)
    assert (ours.decay, inception.decay) == (1e-5, 4e-5)
    theirs = jft.recipe_of(named("xception"))
    assert (theirs.optimiser, theirs.momentum, theirs.rate, theirs.fall) == ("rmsprop", 0.9, 0.001, 0.9)
    assert (theirs.schedule, theirs.every) == ("staircase_samples", 3_000_000)


def test_dropout_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    dropouts = [
        Settings(recipe=recipe).architecture(name, 10).dropout  # type: ignore[attr-defined]
        for recipe in ("xception_imagenet", "xception_jft")
        for name in ("xception", "inception_v3")
    ]
    assert dropouts == [0.5, 0.5, 0.0, 0.0]
    assert Settings(dropout=0.1).architecture("xception", 10).dropout == 0.1  # type: ignore[attr-defined]
    assert Settings().architecture("vgg16", 10).classes == 10


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"networks": "xceptoin"}, "did you mean 'xception'"),
        ({"networks": "xception,xception"}, "every name once"),
        ({"networks": "inception_v3", "image": 64}, "image=64 is not allowed: too small for the strides, at least 75"),
        ({"steps": 0}, "steps=0 is not allowed: a whole number from 1"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"batch": True}, "batch=True"),
        ({"recipe": "imagenet"}, "did you mean 'xception_imagenet'"),
        ({"smoothing": 1.5}, "smoothing=1.5"),
        ({"dtype": "float16"}, "dtype='float16'"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Settings(**changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


# --- a step -------------------------------------------------------------------------------------------------------


def pictures(seed: int = 0) -> tuple[jax.Array, jax.Array]:
    draws = np.random.default_rng(seed)
    return jnp.asarray(draws.integers(0, 256, (4, 32, 32, 3), np.uint8)), jnp.asarray([0, 1, 2, 0], jnp.int32)


def test_dropout_follows_the_step_and_evaluation_drops_nothing() -> None:
    program = Program("xception", Toy(classes=3, image=32, dropout=0.5), settings(), 18)
    state = program.initial()
    images, labels = pictures()
    _, first = program.step(state, images, labels)
    _, again = program.step(state, images, labels)
    _, later = program.step(state._replace(step=jnp.ones((), jnp.int32)), images, labels)
    assert first.loss == again.loss
    assert first.loss != later.loss
    assert np.array_equal(program.scores(state.average, images), program.scores(state.weights, images))


def test_flags_are_trained_by_the_logistic_loss() -> None:
    program = Program("xception", Toy(classes=3, image=32, dropout=0.0), settings(decay=0.0), 18)
    state = program.initial()
    images, _ = pictures()
    flags = jnp.asarray([[1, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], jnp.uint8)
    _, measured = program.step(state, images, flags)
    network_logits = np.asarray(jax.jit(lambda s, x: _training_logits(program, s, x))(state, images), np.float64)
    p = 1 / (1 + np.exp(-network_logits))
    expected = -(np.where(np.asarray(flags) == 1, np.log(p), np.log(1 - p)).sum(1)).mean()
    assert float(measured.loss) == pytest.approx(expected, rel=1e-4)
    first = network_logits.argmax(1)
    assert int(measured.wrong) == int((np.asarray(flags)[np.arange(4), first] == 0).sum())


def _training_logits(program: Program, state: Any, images: jax.Array) -> jax.Array:
    from dsresearch.networks.build import Network

    scaled = (images.astype(jnp.float32) - 127.5) / 127.5
    logits, _ = Network(program.architecture).apply(state.weights, scaled, True, mutable=["stats"])
    return logits


# --- a run --------------------------------------------------------------------------------------------------------


def bits(run: Run) -> list[np.ndarray]:
    return [np.asarray(leaf) for state in run.states for leaf in jax.tree.leaves(state)]


@pytest.mark.usefixtures("grain")
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    root = colours(tmp_path / "pictures")
    whole = Run(settings(), root, tmp_path / "whole", Workers(2))
    for _ in whole:
        pass
    stopped = Run(settings(steps=9), root, tmp_path / "parts", Workers(0))  # no step depends on how many will come
    for row in stopped:
        if row["step"] == 3 and len({int(state.step) for state in stopped.states}) == 1:
            stopped.keep()
            break
    later = Run(settings(checkpoint_seconds=0), root, tmp_path / "parts", Workers(3))
    assert [row["step"] for row in later] == [4, 4, 5, 5, 6, 6]
    assert all(np.array_equal(a, b) for a, b in zip(bits(whole), bits(later), strict=True))
    for key in ("network", "step", "loss", "wrong", "rate"):
        ours, theirs = (sorted((r["network"], r["step"], r[key]) for r in run.rows) for run in (whole, later))
        assert ours == theirs


@pytest.mark.usefixtures("grain")
def test_colours_are_learned_and_evaluated_by_averaged_weights(tmp_path: Path) -> None:
    run = Run(settings(networks="xception", steps=60), colours(tmp_path / "pictures"), tmp_path / "run", Workers(2))
    losses = [row["loss"] for row in run]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    (found,) = run.evaluate(lambda text: None)
    assert found["test_pictures"] == 6
    assert found["top1_wrong_average"] <= 2
    run.states[0] = run.states[0]._replace(average=jax.tree.map(jnp.zeros_like, run.states[0].average))
    (spoilt,) = run.evaluate(lambda text: None)
    assert spoilt["top1_wrong_average"] == 4
    assert spoilt["top1_wrong_last"] == found["top1_wrong_last"]


@pytest.mark.usefixtures("grain")
def test_pictures_of_several_classes_are_ranked(tmp_path: Path) -> None:
    root = colours(tmp_path / "pictures", ("red", "red+green", "blue", "green+blue"))
    run = Run(settings(networks="xception", top=2), root, tmp_path / "run", Workers(2))
    for _ in run:
        pass
    (found,) = run.evaluate(lambda text: None)
    weights = run.listing.targets("train").mean(0)
    assert weights.tolist() == [0.5, 0.5, 0.5]
    assert 0 < found["map2_average"] <= 1
    assert mean_average_precision(np.eye(3), np.eye(3), 2, weights) == 1


@pytest.mark.usefixtures("grain")
def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    root = colours(tmp_path / "pictures")
    Run(settings(), root, tmp_path / "run", Workers())
    with pytest.raises(InputError, match=r"holds a run with rate=0\.05, not 0\.1"):
        Run(settings(rate=0.1), root, tmp_path / "run", Workers())
    (root / "train/red/9.png").write_bytes((root / "train/red/1.png").read_bytes())
    with pytest.raises(InputError, match="holds a run with pictures="):
        Run(settings(), root, tmp_path / "run", Workers())
    with pytest.raises(InputError, match="batch=99 is not allowed"):
        Run(settings(batch=99), root, tmp_path / "other", Workers())
    assert not (tmp_path / "other").exists()


def test_the_page_of_a_run_is_drawn_from_its_files_and_says_on_what(tmp_path: Path) -> None:
    rows = [f"{name},{step},0.05,{3 - step / 10},1,0.5,0.0" for name in ("xception", "vgg16") for step in (1, 2, 3)]
    (tmp_path / "curve.csv").write_text("network,step,rate,loss,wrong,seconds,waited\n" + "\n".join(rows) + "\n")
    own = {"steps": 3, "loss_first": 2.9, "loss_last": 2.7, "step_s": 0.5, "steps_per_s": 2.0}
    result = {
        "pictures": "small, enlarged from 20 to 40 px",
        "train_pictures": 18,
        "classes": 3,
        "settings": dataclasses.asdict(settings(test_pictures=7)),
        "networks": [{**own, "network": "xception"}, {**own, "network": "vgg16", "steps_per_s": 1.0}],
        "machine": machine(),
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    page = draw(tmp_path)
    assert "small, enlarged from 20 to 40 px" in page
    assert "| xception | 3 | 2.900 | 2.700 | 0.50 | 2 | 1.00 | 28 |" in page
    assert "| vgg16 | 3 | 2.900 | 2.700 | 0.50 | 1 | 0.50 | – |" in page
    (command,) = (line for line in page.splitlines() if "experiments/imagenet.py" in line)
    assert "test_pictures=7" in command, "the command that made it, and not another"
    assert "smoothing" not in command, "what is as always goes without saying"
    for what in (result["pictures"], "recipe xception_imagenet", "batch 4", "32 px", "6 steps"):
        assert what in _source(result), "the line under the drawing says what was trained on what"
    first = (tmp_path / "figure.png").read_bytes()
    draw(tmp_path)
    assert (tmp_path / "figure.png").read_bytes() == first
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "lines.linewidth": 9, "axes.grid": True}):
        draw(tmp_path)
    assert (tmp_path / "figure.png").read_bytes() == first, "the user's matplotlibrc reaches no figure"


# --- the experiment -----------------------------------------------------------------------------------------------


def sacred(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "imagenet.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("with", "network=xception"), "did you mean 'networks'"),
        (("with", "networks=xceptoin"), "did you mean 'xception'"),
        (("with", "image=0"), "image=0 is not allowed"),
        ((), "folder='' is not allowed"),
    ],
)
def test_wrong_input_is_one_line_and_two(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = sacred(*words, *(("-F", str(tmp_path / "runs")) if words else ()))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("grain")
def test_the_experiment_trains_a_network_of_the_zoo_and_says_on_what(tmp_path: Path) -> None:
    small, large = colours(tmp_path / "small"), tmp_path / "large"
    done = sacred("enlarge", "with", f"source={small}", f"folder={large}", "image=40")
    assert done.returncode == 0, done.stderr
    words = ("networks=mobilenet_v1_0.25", "image=32", "batch=4", "steps=3", f"folder={large}", f"out={tmp_path}/run")
    done = sacred("with", *words, "-F", str(tmp_path / "sacred"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["pictures"] == "small, enlarged from 20 to 40 px"
    assert found["networks"][0]["steps"] == 3
    assert (tmp_path / "sacred" / "1" / "curve.csv").read_bytes() == (tmp_path / "run" / "curve.csv").read_bytes()
    done = sacred("draw", "with", f"out={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"figure.png", "figure.pdf", "README.md"}
    words = (f"folder={large}", "image=32", "batch=4", "steps=2", f"out={tmp_path}/feed")
    done = sacred("feed", "with", *words)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "feed" / "feed-32px.json").read_text())["rows"]
    assert [row["threads"] for row in rows] == [1, 2]
    assert all(row["images_per_s"] > 0 and row["images_per_cpu_s"] > 0 for row in rows)
