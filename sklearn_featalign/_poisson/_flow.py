r"""Lines of force, followed from rows to an output and back by torchdiffeq.

The equation of a line, :math:`dx / d \ln r = x - \hat y(x, r)`, is solved for
:math:`v = x / s` with :math:`s^2 = 1 + (r / a)^2`, in the time
:math:`t = -\mathrm{arsinh}(a / r)`, where a is the length of a typical row:

.. math:: \frac{dv}{dt} = \frac{v}{s} - \hat y(s v, r)

Near the charges t is ln(r / a) up to a constant, so that this is the equation above.
Far from them v no longer changes, and infinity is the time 0.
"""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torchdiffeq import odeint

from sklearn_featalign._poisson._fields import CellField, ChargeField, LearnedField
from sklearn_featalign._poisson._hemisphere import (
    from_cube,
    from_hemisphere,
    from_normal,
    to_hemisphere,
    to_normal,
)
from sklearn_featalign._poisson._line import follow_flux
from sklearn_featalign._poisson._quantiles import Quantiles, from_scores, to_scores
from sklearn_featalign._poisson._whitening import (
    Coordinates,
    column_lengths,
    from_columns,
    from_coordinates,
    to_columns,
    to_coordinates,
)

OUTPUTS = ("cube", "normal", "hemisphere", "flow")
SOLVERS = ("euler", "midpoint", "rk4", "dopri5")

# Columns come back at most so many standard deviations outside the training rows; but
# not outside where a normal number is so much larger than that of any training row.
_MARGIN = 4.0
_BEYOND = 1.0

# Relative and absolute tolerance of a step of dopri5, for the worst row.
_TOLERANCE = 1e-7


def check_output(output, is_projected):
    """Raise an error if rows that end their flow cannot be mapped to an output."""
    if output not in OUTPUTS:
        raise ValueError(f"output={output!r} is none of {OUTPUTS}.")
    if is_projected and output != "flow":
        raise ValueError(
            "parametrization='projected' does not make rows uniform: output must "
            f"be 'flow', got {output!r}."
        )


def integrate(function, Y, start, end, solver, n_steps):
    """Solve ``dy / dt = function(t, y)`` from a start to an end.

    The solvers are those of torchdiffeq. "dopri5" chooses its own steps, the same for
    all rows; the others take `n_steps` equal ones.
    """
    times = torch.linspace(start, end, n_steps + 1, dtype=Y.dtype, device=Y.device)
    if solver == "dopri5":
        options = {"norm": worst_row}
    else:
        options = {"grid_constructor": lambda *_: times}
    # torchdiffeq makes some tensors on the default device.
    with torch.device(Y.device):
        ends = torch.linspace(start, end, 2, dtype=Y.dtype)
        path = odeint(
            function,
            Y,
            ends,
            method=solver,
            options=options,
            rtol=_TOLERANCE,
            atol=_TOLERANCE,
        )
    return path[-1]


def worst_row(errors):
    """Return the largest root mean square error of a row."""
    return errors.square().mean(1).sqrt().max()


def follow(mean, X, start, end, length, solver, n_steps):
    """Follow lines of force from one height to another, downwards if the end is lower.

    ``mean(X, height)`` is the mean charge under the field weights at each row, and
    `length` the length a of a typical row. Solver and steps are as for `integrate`.
    """
    function = partial(velocity, mean=mean, length=length)
    V = X / scale_factor(start, length)
    times = (flow_time(height, length) for height in (start, end))
    return integrate(function, V, *times, solver, n_steps) * scale_factor(end, length)


def flow_time(height, length):
    """Return the time t of a height."""
    return -math.asinh(length / height)


def scale_factor(height, length):
    """Return s, the ratio of x to v at a height."""
    return math.hypot(1, height / length)


def velocity(t, V, mean, length):
    """Return ``dv / dt`` for the mean charges ``mean(X, height)``.

    t is a tensor on the device: reading it would synchronise with the host.
    """
    r_over_a = 1 / torch.sinh(-t)
    s = torch.hypot(torch.ones_like(t), r_over_a)
    return V / s - mean(V * s, length * r_over_a)


def return_errors(X, back):
    """Return the largest error of a column of each row after the way there and back.

    The unit is half the range of the middle 68 % of the column, a standard deviation of
    normal numbers, plus the distance of the row from the median.
    """
    low, median, high = X.quantile(X.new_tensor([0.16, 0.5, 0.84]), dim=0)
    unit = high / 2 - low / 2
    unit = torch.where(unit > 0, unit, (X - median).abs().amax(0))
    errors = (back - X).abs() / (unit + (X - median).abs())
    return errors.nan_to_num(0.0).amax(1)


def legs_between(stages, start, end):
    """Return the legs of the way between heights: where each starts and ends, its mean.

    The stages are those of a field.
    """
    low, high = sorted((start, end))
    heights = [min(max(height, low), high) for height, _ in stages] + [high]
    legs = [
        (*between, mean)
        for between, (_, mean) in zip(pairwise(heights), stages, strict=True)
        if between[0] < between[1]
    ]
    if start < end:
        return legs
    return [(upper, lower, mean) for lower, upper, mean in reversed(legs)]


class Flow(NamedTuple):
    """Moves batches of rows along lines of force, on one device.

    Parameters
    ----------
    coordinates : Coordinates
    field : ChargeField, CellField or LearnedField
    start, end : float
        Heights where rows start and where they end.
    size : float
        Root mean square of a coordinate of the training rows.
    n_rows : int
        Number of training rows.
    output : {"cube", "normal", "hemisphere", "flow"}
    solver : {"euler", "midpoint", "rk4", "dopri5"}
    n_steps : int
    last : Quantiles, optional
        The last map, of normal scores of columns to others.
    """

    coordinates: Coordinates
    field: ChargeField | CellField | LearnedField
    start: float
    end: float
    size: float
    n_rows: int
    output: str
    solver: str
    n_steps: int
    last: Quantiles | None = None

    def forward(self, X):
        """Return the output of rows."""
        return self.to_output(self.ends(X), self.end, self.output)

    def scores(self, X):
        """Return the normal scores of the columns of rows, before the last map."""
        return self.to_normal_columns(self.ends(X), self.end)

    def there_and_back(self, X):
        """Return rows after the way there and back."""
        return from_coordinates(self.follow_back(self.ends(X)), self.coordinates)

    def ends(self, X):
        """Return where rows end, in coordinates."""
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        own = self.field.coincident(Z)
        return self.follow(Z, own, self.start, self.end, self.n_steps)

    def backward(self, out, largest):
        """Return the rows of an output: the inverse of `forward`.

        No number exceeds `largest`. Rows of a cube and of normal numbers, which may be
        predictions, are close to the range of the training rows.
        """
        out = out.to(torch.float64)
        end = self.from_output(out)
        Z = self.recover_training_rows(self.follow_back(end), end)
        X = from_coordinates(Z, self.coordinates, self.margin(out))
        return X.clamp(-largest, largest)

    def margin(self, out):
        """Return how far outside the training rows rows of an output may come back.

        The unit is a standard deviation of a column. Rows outside the cube, and where
        hardly any row is, are taken for predictions, and go no farther than training
        rows do.
        """
        if self.output not in ("cube", "normal"):
            return math.inf
        G = torch.special.ndtri(out) if self.output == "cube" else out
        farthest = torch.special.ndtri(out.new_tensor(1 - 0.5 / self.n_rows)) + _BEYOND
        is_near = (G.abs() <= farthest).all(1, keepdim=True)
        return torch.where(is_near, _MARGIN, 0.0)

    def draw(self, G):
        """Return rows drawn by carrying normal points, in coordinates, to the start."""
        coordinates = self.coordinates
        G = to_columns(G.to(torch.float64), coordinates) / column_lengths(coordinates)
        Z = self.follow_back(self.from_normal_columns(G))
        return from_coordinates(Z, coordinates)

    def path(self, X, n_points, output):
        """Return the places of rows at heights from the start to the end.

        A row at a height r is placed where the output, "cube" or "flow", would be for a
        row at the height sqrt(r^2 + a^2), with a the length of a typical row. These are
        evenly spaced in the time of the solver. The result has the shape (n_samples,
        n_points * n_features).
        """
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        own = self.field.coincident(Z)
        length = self.size * Z.shape[1] ** 0.5
        times = torch.linspace(
            *(flow_time(height, length) for height in (self.start, self.end)),
            n_points,
            dtype=Z.dtype,
            device="cpu",
        )
        heights = [self.start, *(length / torch.sinh(-times[1:-1])).tolist(), self.end]
        n_steps = math.ceil(self.n_steps / (n_points - 1))
        places = [self.to_output(Z, math.hypot(self.start, length), output)]
        for before, height in pairwise(heights):
            Z = self.follow(Z, own, before, height, n_steps)
            places.append(self.to_output(Z, math.hypot(height, length), output))
        return torch.cat(places, dim=1)

    def follow(self, Z, own, start, end, n_steps):
        """Follow the lines of the field between heights, stage by stage.

        In one dimension they are known, and no steps are taken.
        """
        ends = [(height, self.field.charges_at(height)) for height in (start, end)]
        if Z.shape[1] == 1 and ends[0][1] is not None:
            return follow_flux(Z, *ends, own)
        length = self.size * Z.shape[1] ** 0.5

        def duration(start, end):
            return flow_time(end, length) - flow_time(start, length)

        whole = duration(start, end)
        for *ends, mean in legs_between(self.field.stages(Z, own), start, end):
            n_own = max(1, round(n_steps * duration(*ends) / whole))
            Z = follow(mean, Z, *ends, length, self.solver, n_own)
        return Z

    def follow_back(self, Z, own=None):
        """Follow the lines from the end to the start."""
        return self.follow(Z, own, self.end, self.start, self.n_steps)

    def recover_training_rows(self, Z, end):
        """Return Z with the rows that started on a charge put back on it.

        The own charge of a training row is ignored on the way out. Followed back with
        all charges, its line ends next to that charge. The line is followed again
        without each of the nearest charges: a row whose line then ends on that charge
        started on it.
        """
        best, candidates = self.field.home_candidates(Z)
        for own, charges in candidates:
            again = self.follow_back(end, own)
            away = (again - charges).norm(dim=1)
            Z = torch.where((away <= best)[:, None], again, Z)
            best = torch.minimum(away, best)
        return Z

    def to_output(self, Z, height, output):
        """Return the output of rows that have come to a height."""
        coordinates = self.coordinates
        if output == "flow":
            return from_coordinates(Z, coordinates)
        if output == "hemisphere":
            return to_hemisphere(to_columns(Z, coordinates), height)
        G = self.to_normal_columns(Z, height)
        if self.last is not None:
            G = to_scores(G, self.last)
        return G if output == "normal" else torch.special.ndtr(G)

    def to_normal_columns(self, Z, height):
        """Return the columns of rows as normal numbers, before the last map."""
        coordinates = self.coordinates
        G = to_columns(to_normal(Z, height), coordinates)
        return G / column_lengths(coordinates)

    def from_normal_columns(self, G):
        """Return where rows of normal columns, after the last map, pass the end."""
        coordinates = self.coordinates
        if self.last is not None:
            G = from_scores(G, self.last)
        G = from_columns(G * column_lengths(coordinates), coordinates)
        return from_normal(G, self.end)

    def from_output(self, out):
        """Return the rows at the end height that have an output."""
        coordinates = self.coordinates
        if self.output == "flow":
            return to_coordinates(out, coordinates)
        if self.output == "hemisphere":
            return from_columns(from_hemisphere(out, self.end), coordinates)
        G = from_cube(out, 0.5 / self.n_rows) if self.output == "cube" else out
        return self.from_normal_columns(G)
