"""Saved models, each in a folder with its card: ``data/models/NAME/model.skops`` and ``card.md``.

The sections of a card are those of Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. Its numbers are
what the notebook measured; nobody types them. Models are kept by skops, not by pickle: opening one runs no code.
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
    """What somebody must know before using a model.

    Attributes
    ----------
    name, purpose
        Of the model, in words.
    method
        What kind of model it is, with its source in the literature.
    training, evaluation
        The data of either, with their dates and numbers; a time-based split.
    metrics : list of dict
        Rows of a table with one set of keys, such as metric, found, low, high.
    limits : list of str
        Where it must not be used, and what it does not know.
    truth : list of dict
        Rows that hold it against what was planted; empty where nothing is known.
    features
        Version of the feature table, where it takes one.
    findings : list of str
        What the metrics come to, in sentences that their intervals bear.
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
        """The card as a Markdown page."""
        from jinja2 import Environment, PackageLoader, StrictUndefined

        pages = Environment(loader=PackageLoader("duckbook.analysis"), undefined=StrictUndefined, trim_blocks=True)
        pages.filters["table"] = _table
        return pages.get_template("model_card.md.j2").render(card=self) + "\n"


def save(settings: Settings, model: Any, card: Card) -> Path:
    """Save a model, a scikit-learn estimator or a dict of plain values and arrays, with its card.

    Returns
    -------
    Path
        The folder, ``data/models/NAME``; what was there under that name is replaced.
    """
    import skops.io

    folder = _folder(settings, card.name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = folder / "model.making"
    skops.io.dump(model, making)
    making.replace(folder / "model.skops")
    write_private(folder / "card.md", card.markdown())
    write_private(folder / "card.json", json.dumps(_plain(asdict(card)), indent=1, default=str))
    return folder


def load(settings: Settings, name: str) -> Any:
    """Load a saved model.

    Raises
    ------
    ScienceError
        There is none of that name, or it holds types that skops does not know to be harmless.
    """
    import skops.io

    file = _folder(settings, name) / "model.skops"
    if not file.is_file():
        known = ", ".join(sorted(path.parent.name for path in file.parents[1].glob("*/model.skops"))) or "none"
        raise ScienceError(f"There is no saved model {name!r}: there are {known}; make science trains them.")
    # Types of scikit-learn itself are code that is installed here; any other could have come with the file.
    kinds = skops.io.get_untrusted_types(file=file)
    strange = [kind for kind in kinds if not kind.startswith("sklearn.")]
    if strange:
        raise ScienceError(f"The saved model {name} holds {', '.join(strange)}, which could run code: train it anew.")
    return skops.io.load(file, trusted=kinds)


def _folder(settings: Settings, name: str) -> Path:
    if not name.replace("-", "").isalnum():
        raise ScienceError(f"A model is named in letters, digits and hyphens, not {name!r}.")
    return settings.data / "models" / name


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table, in the style of the notebooks' tables."""
    import pandas as pd

    from duckbook.analysis.value_style import LEFT, chosen_format, writer

    frame = pd.DataFrame(rows)
    formats = {name: chosen_format(name, frame[name]) for name in frame}
    columns = [[*map(writer(formats[name], frame[name]), frame[name])] for name in frame]
    head = [[name.replace("_", " ") for name in frame], ["---" if formats[name] in LEFT else "---:" for name in frame]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*head, *zip(*columns, strict=True)])


def _plain(value: Any) -> Any:
    """The same with null where a number is missing: JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value
