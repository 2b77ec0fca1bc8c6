"""Sacred's file observer, hardened: a kill leaves the old bytes or the new ones, and metrics are appended."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacred.dependencies import get_digest
from sacred.observers import FileStorageObserver
from sacred.serializer import flatten

from dsresearch.schema import WriteError, write_atomic


class HardenedObserver(FileStorageObserver):
    """Sacred's file observer, file names unchanged: files replaced whole, metrics appended line by line.

    `metrics.jsonl` grows while the run goes on; `metrics.json`, which other tools read, is written once at its end.

    Attributes:
        failed: the first error in writing. Sacred drops an observer that fails, and says COMPLETED all the same.
    """

    failed: WriteError | None = None

    def save_json(self, obj: Any, filename: str) -> None:
        text = json.dumps(flatten(obj), sort_keys=True, indent=2)
        self._write(self._path(filename), text.encode())

    def save_file(self, filename: str, target_name: str | None = None) -> None:
        """Sacred would copy in place."""
        self._write(self._path(target_name or Path(filename).name), Path(filename).read_bytes())

    def find_or_save(self, filename: str, store_dir: Path) -> Path:
        """Keep a source file once, under its content's digest; Sacred would keep one cut short for good."""
        source = Path(filename)
        kept = store_dir / f"{source.stem}_{get_digest(filename)}{source.suffix}"
        if not kept.exists():
            self._write(kept, source.read_bytes(), parents=True)
        return kept

    def save_cout(self) -> None:
        try:
            super().save_cout()
        except OSError as error:
            self._fail(WriteError(self._path("cout.txt"), error.strerror or str(error)))

    def _path(self, filename: str) -> Path:
        return Path(str(self.dir)) / filename

    def _write(self, path: Path, data: bytes, parents: bool = False) -> None:
        try:
            write_atomic(path, data, parents=parents)
        except WriteError as error:
            self._fail(error)

    def _fail(self, error: WriteError) -> None:
        self.failed = self.failed or error
        raise error

    def log_metrics(self, metrics_by_name: Mapping[str, Any], info: Any) -> None:
        try:
            self._append(metrics_by_name)
        except OSError as error:
            self._fail(WriteError(self._path("metrics.jsonl"), error.strerror or str(error)))

    def _append(self, metrics_by_name: Mapping[str, Any]) -> None:
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
