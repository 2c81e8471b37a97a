r"""Lines of force, followed from rows to an output and back by torchdiffeq.

The equation of a line, :math:`dx / d \ln r = x - \hat y(x, r)`, is solved for
:math:`v = x / s` with :math:`s^2 = 1 + (r / a)^2`, in the time
:math:`t = -\mathrm{arsinh}(a / r)`, where a is the size of the data:

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

from sklearn_featalign._poisson._charges import mean_charge
from sklearn_featalign._poisson._hemisphere import (
    from_cube,
    from_hemisphere,
    from_normal,
    to_hemisphere,
    to_normal,
)
from sklearn_featalign._poisson._whitening import (
    column_lengths,
    from_columns,
    from_coordinates,
    to_columns,
    to_coordinates,
)

SOLVERS = ("euler", "midpoint", "rk4", "dopri5")

# Relative and absolute tolerance of a step of dopri5, for the worst row.
_TOLERANCE = 1e-7


class FloatLimits(NamedTuple):
    """The smallest normal number, the spacing at one, and the largest number."""

    tiny: float
    eps: float
    max: float


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


def follow(mean, X, start, end, size, solver, n_steps):
    """Follow lines of force from one height to another, downwards if the end is lower.

    Parameters
    ----------
    mean : callable
        ``mean(X, height)`` is the mean charge under the field weights at each row.
    X : tensor of shape (n_samples, n_features)
        Rows at the start height.
    start, end : float
        Heights.
    size : float
        Size of the data: the length of a typical row.
    solver, n_steps
        As for `integrate`.
    """
    function = partial(velocity, mean=mean, size=size)
    V = X / scale_factor(start, size)
    times = (start_time(height, size) for height in (start, end))
    return integrate(function, V, *times, solver, n_steps) * scale_factor(end, size)


def start_time(height, size):
    """Return the time t of a height."""
    return -math.asinh(size / height)


def scale_factor(height, size):
    """Return s, the ratio of x to v at a height."""
    return math.hypot(1, height / size)


def velocity(t, V, mean, size):
    """Return ``dv / dt`` for the mean charges ``mean(X, height)``.

    t is a tensor on the device: reading it would synchronise with the host.
    """
    r_over_a = 1 / torch.sinh(-t)
    s = torch.hypot(torch.ones_like(t), r_over_a)
    return V / s - mean(V * s, size * r_over_a)


class Flow:
    """Moves batches of rows along lines of force, on one device.

    Parameters
    ----------
    coordinates : Coordinates
    field : ChargeField or NetworkField
    heights : tuple of float
        Where rows start and where they end.
    size : float
        Root mean square of the coordinates.
    output : {"cube", "normal", "hemisphere", "flow"}
    solver : {"euler", "midpoint", "rk4", "dopri5"}
    n_steps : int
    """

    def __init__(self, coordinates, field, heights, size, output, solver, n_steps):
        self.coordinates = coordinates
        self.field = field
        self.start, self.end = heights
        self.size = size
        self.output = output
        self.solver = solver
        self.n_steps = n_steps

    def forward(self, X):
        """Return the output of rows."""
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        own = self.field.coincident(Z)
        Z = self.follow(Z, own, self.start, self.end, self.n_steps)
        return self.to_output(Z, self.end, self.output)

    def backward(self, out, limits):
        """Return the rows of an output: the inverse of `forward`.

        The limits are those of the dtype of the rows. In a cube 0 stands for ``tiny``,
        and 1 for one minus half of ``eps``; no number of a row exceeds ``max``.
        """
        end = self.from_output(out.to(torch.float64), limits)
        Z = self.recover_training_rows(self.follow_back(end), end)
        return from_coordinates(Z, self.coordinates).clamp(-limits.max, limits.max)

    def draw(self, G):
        """Return the rows whose output is a normal distribution's points."""
        Z = self.follow_back(from_normal(G.to(torch.float64), self.end))
        return from_coordinates(Z, self.coordinates)

    def path(self, X, n_points, output):
        """Return the places of rows at heights from the start to the end.

        A row at a height r is placed where the output, "cube" or "flow", would be for a
        row at the height sqrt(r^2 + s^2), with s the size of the data. The heights are
        evenly spaced in the time of the solver. The result has the shape (n_samples,
        n_points * n_features).
        """
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        own = self.field.coincident(Z)
        size = self.size * Z.shape[1] ** 0.5
        times = torch.linspace(
            *(start_time(height, size) for height in (self.start, self.end)),
            n_points,
            dtype=Z.dtype,
            device="cpu",
        )
        heights = [self.start, *(size / torch.sinh(-times[1:-1])).tolist(), self.end]
        n_steps = math.ceil(self.n_steps / (n_points - 1))
        places = [self.to_output(Z, math.hypot(self.start, size), output)]
        for before, height in pairwise(heights):
            Z = self.follow(Z, own, before, height, n_steps)
            places.append(self.to_output(Z, math.hypot(height, size), output))
        return torch.cat(places, dim=1)

    def distance_to_mean_charge(self, X, height, factor, unit):
        """Return the distances of rows from the mean charges that they see at a height.

        Factor and unit are as from `_whitening.metric_factor`: distances are those of
        rows.
        """
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        own = self.field.coincident(Z)
        Z, charges = Z @ factor, self.field.charges @ factor
        mean = mean_charge(Z, height, charges, self.field.log_counts, own)
        return unit * (Z - mean).norm(dim=1, keepdim=True)

    def follow(self, Z, own, start, end, n_steps):
        """Follow the lines of the field between heights."""
        mean = self.field.mean_charge_of(Z, own)
        size = self.size * Z.shape[1] ** 0.5
        return follow(mean, Z, start, end, size, self.solver, n_steps)

    def follow_back(self, Z, own=None):
        """Follow the lines from the end to the start."""
        return self.follow(Z, own, self.end, self.start, self.n_steps)

    def recover_training_rows(self, Z, end):
        """Return rows that came back to Z, with those that started on a charge on it.

        A training row left without its own charge, so that the way back with all
        charges ends next to it. The line is followed again without each of the nearest
        charges; if it then ends on that charge, the row was that training row.
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
        G = to_columns(to_normal(Z, height), coordinates) / column_lengths(coordinates)
        return G if output == "normal" else torch.special.ndtr(G)

    def from_output(self, out, limits):
        """Return the rows at the end height that have an output."""
        coordinates = self.coordinates
        if self.output == "flow":
            return to_coordinates(out, coordinates)
        if self.output == "hemisphere":
            return from_columns(from_hemisphere(out, self.end), coordinates)
        G = from_cube(out, limits.tiny, limits.eps) if self.output == "cube" else out
        G = from_columns(G * column_lengths(coordinates), coordinates)
        return from_normal(G, self.end)
