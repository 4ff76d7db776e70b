"""Sentiment of texts, by a local model or your own function; the only place that calls a text model.

``DUCKBOOK_TEXT_MODEL=local``, the default, uses the classifier that `science/06_reviews.ipynb` trains on the shop's own
reviews, without a network. ``DUCKBOOK_TEXT_MODEL=package.module:function`` calls your function with the texts. It must
return a number from 0 (unhappy) to 1 (happy) for each, and handles its own API and keys.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import numpy as np

from duckbook.analysis import models
from duckbook.errors import ScienceError
from duckbook.settings import Settings

LOCAL = "local"

NAME = "review-sentiment"
"""Name of the saved model for `LOCAL`."""


def sentiment(settings: Settings, texts: Sequence[str]) -> np.ndarray:
    """Score the sentiment of each text from 0 (unhappy) to 1 (happy), shape (texts,).

    Raises
    ------
    ScienceError
        The local model has not been trained yet, or the function named in the setting is missing, fails, or does not
        return a number from 0 to 1 for each text.
    """
    texts = list(texts)
    if settings.text_model == LOCAL:
        return models.load(settings, NAME).predict_proba(texts)[:, 1]
    module, _, function = settings.text_model.partition(":")
    try:
        result = getattr(importlib.import_module(module), function)(texts)
    except Exception as error:
        raise ScienceError(
            f"DUCKBOOK_TEXT_MODEL={settings.text_model} failed with {type(error).__name__}: fix the function, or use "
            f"'{LOCAL}'."
        ) from error
    scores = np.asarray(result, dtype=float)
    if scores.shape != (len(texts),) or not ((scores >= 0) & (scores <= 1)).all():
        raise ScienceError(
            f"DUCKBOOK_TEXT_MODEL={settings.text_model} returned shape {scores.shape} for {len(texts)} texts: "
            "it must return one number from 0 to 1 for each."
        )
    return scores
