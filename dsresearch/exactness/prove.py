"""How each arm's function relates to the baseline's, proven by weight transport: the exactness.json of a store."""

from dsresearch.design import Design, setup
from dsresearch.exactness import classify, document
from dsresearch.record.store import Store, write_json
from dsresearch.studies import STUDIES, is_proven


def main(store: Store) -> int:
    """Write how each arm's function relates to the baseline's to exactness.json, proven by weight transport."""
    configs = [folder.config() for folder in store.cells()]
    wanted = [config for config in configs if is_proven(config["role"], config["control"], config["setup"])]
    wanted.sort(key=lambda config: config["match"] == "width")  # of an arm at several widths, the one at its own
    designs = {config["arm"]: Design(**config["design"]) for config in wanted}
    reference = STUDIES[store.protocol()["study"]].reference
    baseline = reference.name
    if baseline not in designs:  # of the size of the arms, so that their networks can be compared too
        size = {name: getattr(next(iter(designs.values())), name) for name in ("width", "depth", "kernel")}
        designs[baseline] = setup(reference.point, **{**size, **reference.design})
    pairs = classify(designs, baseline=baseline, said=lambda text: print(text, flush=True))
    write_json(store.exactness_file, document(pairs))
    return 0
