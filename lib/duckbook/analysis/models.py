"""Saved models, each in a folder with its card: ``data/models/NAME/model.skops`` and ``card.md``.

The sections of a card follow Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Its numbers come from the
notebook. Models are saved with skops instead of pickle, so that loading one runs no code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from duckbook.errors import ScienceError
from duckbook.files import write_private
from duckbook.settings import Settings


@dataclass(frozen=True)
class Card:
    """Model card: what to know before using a model.

    Attributes
    ----------
    name, purpose
        Name and intended use.
    method
        Kind of model, with its source in the literature.
    training, evaluation
        Training and evaluation data, with dates and numbers, split by time.
    metrics : list of dict
        Rows of a table with the same keys, such as metric, found, low, high.
    limits : list of str
        Where it must not be used, and what it does not know.
    truth : list of dict
        Rows that compare it with the planted truth; empty if that is unknown.
    features
        Version of the feature table, if it uses one.
    findings : list of str
        Conclusions from the metrics that their intervals support.
    """

    name: str
    purpose: str
    method: str
    training: str
    evaluation: str
    metrics: list[dict[str, Any]]
    limits: list[str]
    truth: list[dict[str, Any]] = field(default_factory=list)
    features: str = ""
    findings: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """Render the card as a Markdown page."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        pages = Environment(loader=PackageLoader("duckbook.analysis"), undefined=StrictUndefined, trim_blocks=True)
        pages.filters["table"] = _table
        return pages.get_template("model_card.md.j2").render(card=self) + "\n"


def save(settings: Settings, model: Any, card: Card) -> Path:
    """Save a model with its card: a scikit-learn estimator, or a dict of plain values and arrays.

    Returns
    -------
    Path
        The folder, ``data/models/NAME``. An existing model of that name is replaced.
    """
    import skops.io

    folder = _folder(settings, card.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder / "model.making"
    skops.io.dump(model, temporary)
    temporary.replace(folder / "model.skops")
    write_private(folder / "card.md", card.markdown())
    write_private(folder / "card.json", json.dumps(_without_nan(asdict(card)), indent=1, default=str))
    return folder


def load(settings: Settings, name: str) -> Any:
    """Load a saved model.

    Raises
    ------
    ScienceError
        There is no model of that name, or it contains types that skops does not trust.
    """
    import skops.io

    file = _folder(settings, name) / "model.skops"
    if not file.is_file():
        known = ", ".join(sorted(path.parent.name for path in file.parents[1].glob("*/model.skops"))) or "none"
        raise ScienceError(f"There is no saved model {name!r}: there are {known}; make science trains them.")
    # Types of scikit-learn are installed code; any other type could come from the author of the file.
    types = skops.io.get_untrusted_types(file=file)
    unknown = [kind for kind in types if not kind.startswith("sklearn.")]
    if unknown:
        raise ScienceError(
            f"The saved model {name} contains {', '.join(unknown)}, which could run code: train it again."
        )
    return skops.io.load(file, trusted=types)


def _folder(settings: Settings, name: str) -> Path:
    if not name.replace("-", "").isalnum():
        raise ScienceError(f"A model's name may have letters, digits and hyphens only: {name!r}.")
    return settings.data / "models" / name


def _table(rows: list[dict[str, Any]]) -> str:
    """Format rows as a Markdown table, in the style of the notebooks' tables."""
    import pandas as pd

    from duckbook.analysis.value_style import LEFT_ALIGNED, choose_format, formatter

    frame = pd.DataFrame(rows)
    formats = {name: choose_format(name, frame[name]) for name in frame}
    columns = [[*map(formatter(formats[name], frame[name]), frame[name])] for name in frame]
    rule = ["---" if formats[name] in LEFT_ALIGNED else "---:" for name in frame]
    lines = [[name.replace("_", " ") for name in frame], rule, *zip(*columns, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _without_nan(value: Any) -> Any:
    """Replace NaN by None, because JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and value != value else value
