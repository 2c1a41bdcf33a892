"""Find the polynomials of ``compiler/emit/mathfn_tables.py`` again: Remez's exchange in mpmath.

    python tests/compiler/fit_polynomials.py > src/needle/compiler/emit/mathfn_tables.py

Each row says: function, polynomial variable's range, weight (error of the whole function per error
of the polynomial), degrees for float32 and float64. The printed bound is log2 of the largest error
before the coefficients are rounded.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import mpmath as mp
import numpy as np

mp.mp.dps = 60
Real = Callable[[mp.mpf], mp.mpf]


def remez(f: Real, weight: Real, low: float, high: float, degree: int) -> tuple[list, float]:
    """Coefficients, lowest first, that make the largest weighted error least; and that error."""
    low, high = mp.mpf(low), mp.mpf(high)
    n = degree + 2
    points = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / (n - 1)) for k in range(n)]
    count = 40 * n
    grid = [
        (low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * k / count) for k in range(count + 1)
    ]
    samples = [(x, f(x), weight(x)) for x in grid]
    for _ in range(12):
        rows = [[x**k for k in range(degree + 1)] + [(-1) ** i / weight(x)]
                for i, x in enumerate(points)]  # fmt: skip
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([f(x) for x in points]))
        coefficients, level = list(solution[: degree + 1]), abs(solution[degree + 1])
        errors = [(mp.polyval(coefficients[::-1], x) - y) * w for x, y, w in samples]
        points, worst = exchange(grid, errors, n)
        if worst <= level * mp.mpf("1.01"):
            break
    return coefficients, float(mp.log(worst, 2))


def exchange(grid: list, errors: list, n: int) -> tuple[list, mp.mpf]:
    """The n alternating extremes of the error, and the largest."""
    runs: list[tuple] = []
    for x, e in zip(grid, errors, strict=True):
        if runs and (runs[-1][1] > 0) == (e > 0):
            if abs(e) > abs(runs[-1][1]):
                runs[-1] = (x, e)
        else:
            runs.append((x, e))
    worst = max(abs(e) for _, e in runs)
    while len(runs) > n:
        runs.pop(0 if abs(runs[0][1]) < abs(runs[-1][1]) else -1)
    assert len(runs) == n, "the error has too few extremes: a lower degree reaches this already"
    return [x for x, _ in runs], worst


def rounded(value: mp.mpf, dtype: str) -> str:
    return repr(float(np.float32(float(value)))) if dtype == "float32" else repr(float(value))


def pieces() -> list[tuple]:
    """(name, formula, f, weight, low, high, degree in float32, degree in float64)."""
    half_ln2 = 0.34658
    tiny = mp.mpf(10) ** -7

    def exp_rest(r: mp.mpf) -> mp.mpf:
        return mp.mpf(1) / 2 + r / 6 if abs(r) < tiny**2 else (mp.expm1(r) - r) / r**2

    def log_rest(f: mp.mpf) -> mp.mpf:
        if abs(f) < tiny:
            return mp.mpf(1) / 3 - f / 4 + f**2 / 5
        return (mp.log1p(f) - f + f**2 / 2) / f**3

    def odd(function: Real, first: mp.mpf, second: mp.mpf) -> Real:
        """(function(x) - x) / x^3 in t = x^2."""

        def rest(t: mp.mpf) -> mp.mpf:
            x = mp.sqrt(t)
            return first + second * t if t < tiny**2 else (function(x) - x) / x**3

        return rest

    def relative(function: Real) -> Real:
        return lambda t: t * mp.sqrt(t) / function(mp.sqrt(t)) if t > 0 else mp.mpf(0) + tiny

    def cos_rest(t: mp.mpf) -> mp.mpf:
        return mp.mpf(1) / 24 - t / 720 if t < tiny else (mp.cos(mp.sqrt(t)) - 1 + t / 2) / t**2

    def atanh_rest(t: mp.mpf) -> mp.mpf:
        s = mp.sqrt(t)
        if t < tiny:
            return mp.mpf(2) / 5 + 2 * t / 7 + 2 * t**2 / 9
        return (2 * mp.atanh(s) - 2 * s - 2 * s**3 / 3) / s**5

    def erf_small(t: mp.mpf) -> mp.mpf:
        x = mp.sqrt(t)
        return 2 / mp.sqrt(mp.pi) - 1 if t < tiny**2 else mp.erf(x) / x - 1

    def near(weight: Real, floor: float) -> Real:
        return lambda x: max(weight(x), mp.mpf(floor))

    third = mp.mpf(1) / 3
    eighth = 0.41422**2
    quarter = 0.7854**2
    return [
        ("EXP", "exp(r) = 1 + r + r^2 p(r), |r| <= log(2) / 2", exp_rest,
         near(lambda r: r**2 / abs(mp.expm1(r)) if r else mp.mpf(0), 1e-3),
         -half_ln2, half_ln2, 4, 9),
        ("LOG", "log(1 + f) = f - f^2 / 2 + f^3 p(f), -0.25 <= f <= 0.5", log_rest,
         near(lambda f: abs(f**3 / mp.log1p(f)) if f else mp.mpf(0), 1e-3), -0.25, 0.5, 8, 18),
        ("TANH", "tanh(x) = x + x^3 p(x^2), |x| <= 0.55", odd(mp.tanh, -third, mp.mpf(2) / 15),
         near(relative(mp.tanh), 1e-3), 0, 0.3026, 4, 9),
        ("ERF", "erf(x) = x + x p(x^2), |x| <= 0.92", erf_small,
         lambda t: mp.mpf(1), 0, 0.8465, 6, 11),
        ("SIN", "sin(r) = r + r^3 p(r^2), |r| <= pi / 4", odd(mp.sin, -third / 2, mp.mpf(1) / 120),
         near(relative(mp.sin), 1e-3), 0, quarter, 2, 5),
        ("COS", "cos(r) = 1 - r^2 / 2 + r^4 p(r^2), |r| <= pi / 4", cos_rest,
         near(lambda t: t**2, 1e-3), 0, quarter, 2, 5),
        ("ATAN", "atan(x) = x + x^3 p(x^2), |x| <= tan(pi / 8)",
         odd(mp.atan, -third, mp.mpf(1) / 5), near(relative(mp.atan), 1e-3), 0, eighth, 4, 10),
        ("ATANH", "2 atanh(s) = 2 s + 2/3 s^3 + s^5 p(s^2), -1/7 <= s <= 0.2", atanh_rest,
         near(lambda t: t**2 / 2, 1e-4), 0, 0.04001, 2, 7),
    ]  # fmt: skip


def erfc_tail(start: float) -> tuple[Real, Real]:
    """log(erfc(start + d)) as a function of d, and what its error does to erf."""
    shift = mp.mpf(str(start))
    return (
        lambda d: mp.log(mp.erfc(d + shift)),
        lambda d: mp.erfc(d + shift) / mp.erf(d + shift),
    )


def show(name: str, formula: str, dtype: str, fitted: tuple[list, float]) -> None:
    coefficients, bound = fitted
    numbers = ", ".join(rounded(value, dtype) for value in coefficients)
    print(f"    # {formula}; error 2^{bound:.1f}")
    print(textwrap.fill(f'("{name}", "{dtype}"): ({numbers}),', 98, break_on_hyphens=False,
                        initial_indent="    ", subsequent_indent="        "))  # fmt: skip


def main() -> None:
    print(
        '"""Coefficients, lowest power first, as tests/compiler/fit_polynomials.py finds them."""'
    )
    print("# fmt: off\n\nCOEFFICIENTS = {")
    for name, formula, f, weight, low, high, single, double in pieces():
        show(name, formula, "float32", remez(f, weight, low, high, single))
        show(name, formula, "float64", remez(f, weight, low, high, double))
    formula = "log(erfc(a)) = p(a - 0.92), 0.92 <= a <= {}"
    for dtype, high, degree in (("float32", 4.0, 6), ("float64", 6.0, 18)):
        f, weight = erfc_tail(0.92)
        shifted = remez(f, weight, 0, high - 0.92, degree)
        show("ERFC", formula.format(high), dtype, shifted)
    print("}")


if __name__ == "__main__":
    main()
