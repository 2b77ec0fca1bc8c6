"""Sacred's file observer, hardened: a kill leaves the old bytes or the new ones, and metrics are appended."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from dsresearch.schema import write_atomic


class HardenedObserver(FileStorageObserver):
    """Sacred's file observer, file names unchanged: JSON replaced whole, metrics appended line by line.

    `metrics.jsonl` grows while the run goes on; `metrics.json`, which other tools read, is written once at its end.
    """

    def save_json(self, obj: Any, filename: str) -> None:
        text = json.dumps(flatten(obj), sort_keys=True, indent=2)
        write_atomic(self._path(filename), text.encode())

    def _path(self, filename: str) -> Path:
        return Path(str(self.dir)) / filename

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        with open(self._path("metrics.jsonl"), "a", encoding="utf-8") as file:
            for name, metric in metrics_by_name.items():
                for step, value, when in zip(metric["steps"], metric["values"], metric["timestamps"], strict=True):
                    point = {"name": name, "step": step, "value": value, "timestamp": when.isoformat()}
                    file.write(json.dumps(point) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def completed_event(self, stop_time: Any, result: Any) -> None:
        lines = self._path("metrics.jsonl")
        if lines.exists():
            metrics: dict[str, dict[str, list[Any]]] = {}
            for line in lines.read_text(encoding="utf-8").splitlines():
                point = json.loads(line)
                series = metrics.setdefault(point["name"], {"steps": [], "values": [], "timestamps": []})
                for part, values in series.items():
                    values.append(point[part.removesuffix("s")])
            self.save_json(metrics, "metrics.json")
        super().completed_event(stop_time, result)
