"""What a text says: the one place where a language model is called, behind a setting that is a local one by default.

``DUCKBOOK_TEXT_MODEL=local`` takes the classifier that `science/06_reviews.ipynb` trains on the store's own reviews; it
needs no network. ``DUCKBOOK_TEXT_MODEL=package.module:function`` takes a function of your own, which gets the texts and
gives a number from 0 (unhappy) to 1 (happy) for each; whom it asks, and with which key, is its own affair.
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
"""The saved model that is taken by default."""


def sentiment(store: Settings, texts: Sequence[str]) -> np.ndarray:
    """How happy the writer of each text is, from 0 to 1, shape (texts,).

    Raises
    ------
    ScienceError
        The local model has not been trained yet, or the function that the setting names is not there, fails, or gives
        something else than a number from 0 to 1 for each text.
    """
    texts = list(texts)
    if store.text_model == LOCAL:
        return models.load(store, NAME).predict_proba(texts)[:, 1]
    module, _, function = store.text_model.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)(texts)
    except Exception as error:
        raise ScienceError(
            f"DUCKBOOK_TEXT_MODEL={store.text_model} failed with {type(error).__name__}: fix the function, or take "
            f"'{LOCAL}'."
        ) from error
    said = np.asarray(found, dtype=float)
    if said.shape != (len(texts),) or not ((said >= 0) & (said <= 1)).all():
        raise ScienceError(
            f"DUCKBOOK_TEXT_MODEL={store.text_model} gave an answer of shape {said.shape} for {len(texts)} texts: "
            "it must give one number from 0 to 1 for each."
        )
    return said
