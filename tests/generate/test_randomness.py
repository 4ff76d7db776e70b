"""Counter-based random numbers and quantile tables: correct, and independent of how the work is split."""

import math

import numpy as np
import pytest
from duckbook.generate.shop import distributions
from duckbook.generate.shop.distributions import Lookup, beta, exp, gamma, log, lognormal, normal, poisson
from duckbook.generate.shop.randomness import Randomness, below, part
from hypothesis import given
from hypothesis import strategies as st

ENTITIES = np.arange(200_000)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**62), min_size=2, max_size=30), st.integers(0, 50))
def test_an_entity_has_the_same_number_alone_and_in_an_array(seed, entities, counter):
    streams = Randomness(seed)
    together = streams.bits("signup", np.array(entities), counter)
    alone = [int(Randomness(seed).bits("signup", np.array([entity]), counter)[0]) for entity in entities]
    assert together.tolist() == alone


def test_an_array_of_counters_equals_single_counters():
    streams = Randomness(1)
    counters = ENTITIES[:1000] % 7
    together = streams.bits("wait", ENTITIES[:1000], counters)
    for counter in range(1, 7):
        own = streams.bits("wait", ENTITIES[:1000], counter)
        assert np.array_equal(together[counters == counter], own[counters == counter])


@pytest.mark.parametrize("other", [("leaving", 0, 42), ("wait", 1, 42), ("wait", 0, 43)])
def test_streams_counters_and_seeds_are_independent(other):
    stream, counter, seed = other
    one = Randomness(42).uniform("wait", ENTITIES)
    two = Randomness(seed).uniform(stream, ENTITIES, counter)
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.01


def test_uniforms_are_uniform_and_never_zero_or_one():
    u = Randomness(3).uniform("any", ENTITIES)
    assert u.min() > 0 and u.max() < 1
    counts = np.histogram(u, bins=20, range=(0, 1))[0]
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 43.8  # chi square, 19 degrees of freedom, p = 0.001


def test_parts_of_the_bits_are_independent():
    bits = Randomness(4).bits("any", ENTITIES)
    low, high = part(bits, 0, 8), part(bits, 8, 8)
    assert low.max() == 255 and high.min() == 0
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.01
    assert set(below(bits, 3)) == {0, 1, 2}


@given(st.floats(1e-300, 1e300))
def test_log_is_the_logarithm(x):
    assert log(np.array([x]))[0] == pytest.approx(math.log(x), rel=1e-13, abs=1e-14)


@given(st.floats(-690, 690))
def test_exp_is_the_exponential(x):
    assert exp(np.array([x]))[0] == pytest.approx(math.exp(x), rel=1e-13)


def test_quantiles_have_the_moments_of_their_distributions():
    u = Randomness(5).uniform("any", ENTITIES)
    z = normal()(u)
    assert [z.mean(), z.std(), (z**4).mean()] == pytest.approx([0, 1, 3], abs=0.05)
    x = gamma(u, 0.243)
    assert [x.mean(), x.var()] == pytest.approx([0.243, 0.243], rel=0.03)
    p = beta(u, 0.793, 2.426)
    a, b = 0.793, 2.426
    assert [p.mean(), p.var()] == pytest.approx([a / (a + b), a * b / (a + b) ** 2 / (a + b + 1)], rel=0.02)


def test_quantiles_reach_far_into_both_tails():
    z = normal()(np.array([1e-12, 1 - 1e-12]))
    assert z == pytest.approx([-7.0345, 7.0345], abs=0.01)


def test_poisson_counts_have_their_mean_and_variance():
    counts = poisson(Randomness(6).uniform("any", ENTITIES), np.full(len(ENTITIES), 0.7))
    assert [counts.mean(), counts.var()] == pytest.approx([0.7, 0.7], rel=0.02)


def test_lookups_draw_with_their_weights():
    bits = Randomness(7).bits("any", ENTITIES)
    drawn = np.bincount(Lookup.weighted([5, 3, 0, 2])(bits), minlength=4) / len(bits)
    assert drawn == pytest.approx([0.5, 0.3, 0, 0.2], abs=0.01)
    assert np.median(lognormal(1000.0, 0.5)(bits)) == pytest.approx(1000, rel=0.02)


def test_the_platform_exp_and_log_are_not_used(monkeypatch):
    for name in ("exp", "log", "log1p", "expm1", "power"):
        monkeypatch.setattr(np, name, None)
    distributions.log_gamma_variate.cache_clear()
    assert gamma(np.array([0.5]), 0.5) == pytest.approx([0.2275], abs=1e-3)
