"""Lines of force followed by torchdiffeq, from rows to an output and back."""

import math
from copy import copy
from functools import partial
from itertools import pairwise

import torch
from torchdiffeq import odeint

from sklearn_featalign._affine import (
    column_lengths,
    from_columns,
    from_coordinates,
    to_columns,
    to_coordinates,
)
from sklearn_featalign._affinity import squared_distances
from sklearn_featalign._poisson import (
    change_of_leaving,
    mean_charge,
    mean_charge_by_powers,
    network_mean,
    own_charges,
    powers_are_safe,
    projected_velocity,
    start_time,
    stretch,
    tabulate,
    velocity,
)
from sklearn_featalign._uniform import (
    from_cube,
    from_hemisphere,
    from_normal,
    to_hemisphere,
    to_normal,
)

SOLVERS = ("euler", "midpoint", "rk4", "dopri5")

# Relative and absolute error that a step of dopri5 may have, in the worst row.
_TOLERANCE = 1e-7

# A row coincides with a charge within this share of the height by the spacing of rows.
_COINCIDENT = 1e-3

# A row that comes back beside a charge has started on it if without it comes back to
# it, within a share of that height or of the distance beside it. So many are tried.
_AT_HOME = (0.01, 0.003)
_TRIED = 2


def integrate(function, Y, start, end, solver, n_steps):
    """Solve ``dy / dt = function(t, y)`` from a start to an end.

    Parameters
    ----------
    function : callable
    Y : tensor of shape (n_samples, n_features), float64
    start, end : float
    solver : {"euler", "midpoint", "rk4", "dopri5"}
        Of torchdiffeq. "dopri5" chooses its own steps, the same for all rows.
    n_steps : int
        Number of equal steps of the others.

    Returns
    -------
    Y : tensor of shape (n_samples, n_features)
    """

    def times(*_):
        return torch.linspace(start, end, n_steps + 1, dtype=Y.dtype, device=Y.device)

    def worst_row(error):
        return error.square().mean(1).sqrt().max()

    adaptive = solver == "dopri5"
    options = {"norm": worst_row} if adaptive else {"grid_constructor": times}
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


def follow(mean, X, start, end, size, solver, n_steps):
    """Follow lines of force from one height to another.

    Parameters
    ----------
    mean : callable
        ``mean(X, height)`` is the mean charge that rows see.
    X : tensor of shape (n_samples, n_features)
        Rows at the start height.
    start, end : float
        Heights; lines are followed downwards where the end is lower.
    size : float
        Of the data: the length of a row, about.
    solver, n_steps
        As for `integrate`.

    Returns
    -------
    X : tensor of shape (n_samples, n_features)
        Rows at the end height.
    """

    def function(t, V):
        return velocity(t, V, mean, size)

    V = X / stretch(start, size)
    times = (start_time(height, size) for height in (start, end))
    return integrate(function, V, *times, solver, n_steps) * stretch(end, size)


class Flow:
    """What moves batches of rows, on one device.

    Parameters
    ----------
    frame : dict
        As from `_affine.fit_affine`.
    charges : tensor of shape (n_charges, rank)
    log_counts : tensor of shape (n_charges,)
    reach : float
        The largest length of a charge.
    weights : dict of str to tensor, or None
        Of a network that knows the field, in place of the charges.
    heights : tuple of float
        At which rows start and end.
    size, spacing : float
        Root mean square of the coordinates, and the height by the spacing of rows.
    output : {"cube", "normal", "hemisphere", "flow", "projected"}
        "projected" is the document's equation in place of the lines' own.
    solver : {"euler", "midpoint", "rk4", "dopri5"}
    n_steps : int
    """

    def __init__(
        self,
        *,
        frame,
        charges,
        log_counts,
        reach,
        weights,
        heights,
        size,
        spacing,
        output,
        solver,
        n_steps,
    ):
        self.frame = frame
        self.charges = charges
        self.log_counts = log_counts
        safe = powers_are_safe(min(heights), reach, charges.shape[1])
        self.table = tabulate(charges, log_counts) if safe else None
        self.weights = weights
        self.start, self.end = heights
        self.size = size
        self.spacing = spacing
        self.output = output
        self.solver = solver
        self.n_steps = n_steps

    def forward(self, X):
        """Return the output of rows."""
        Z = to_coordinates(X, self.frame)
        if self.output == "projected":
            points = torch.cat([Z, torch.full_like(Z[:, :1], self.start)], dim=1)
            points = self.project(points, 0.0, self.end)
            rows = from_coordinates(points[:, :-1], self.frame)
            return torch.cat([rows, points[:, -1:]], dim=1)
        own = self.find_own(Z) if self.weights is None else None
        return self.leave(self.follow(Z, own, self.start, self.end), self.end)

    def path(self, X, n_points):
        """Return where rows are at heights from the start to the end.

        Parameters
        ----------
        X : tensor of shape (n_samples, n_features)
        n_points : int
            Number of heights, evenly spaced in the time of the solver.

        Returns
        -------
        places : tensor of shape (n_samples, n_points * n_features)
            Those of a flow away from charges on the way to its output: at a height r
            that of a row at the height sqrt(r^2 + s^2), s being the size of the data.
            Those of a flow towards charges as rows.
        """
        Z = to_coordinates(X, self.frame)
        own = self.find_own(Z) if self.weights is None else None
        size = self.size * Z.shape[1] ** 0.5
        times = torch.linspace(
            *(start_time(height, size) for height in (self.start, self.end)),
            n_points,
            dtype=Z.dtype,
            device="cpu",
        )
        heights = [self.start, *(size / torch.sinh(-times[1:-1])).tolist(), self.end]
        flow = copy(self)
        flow.n_steps = math.ceil(self.n_steps / (n_points - 1))
        places = []
        for before, height in pairwise([self.start, *heights]):
            if height != before:
                Z = flow.follow(Z, own, before, height)
            places.append(self.leave(Z, math.hypot(height, size)))
        return torch.cat(places, dim=1)

    def backward(self, out, least, eps):
        """Return the rows of an output: `forward`, undone.

        In a cube 0 stands for `least`, and 1 for half an `eps` less.
        """
        if self.output == "projected":
            Z = to_coordinates(out[:, :-1], self.frame)
            points = torch.cat([Z, out[:, -1:]], dim=1)
            points = self.project(points, self.end, 0.0)
            return from_coordinates(points[:, :-1], self.frame)
        end = self.enter(out, least, eps)
        Z = self.descend(end)
        if self.weights is None:
            Z = self.come_home(Z, end)
        return from_coordinates(Z, self.frame)

    def draw(self, G):
        """Return rows that points of a normal distribution are carried to."""
        return from_coordinates(self.descend(from_normal(G, self.end)), self.frame)

    def pull(self, X, height, turned):
        """Return how far rows are from the mean charges that they see at a height.

        Parameters
        ----------
        X : tensor of shape (n_samples, n_features)
        height : float
        turned : tensor of shape (rank, rank)
            As from `_affine.isometry`, which makes distances those of rows.

        Returns
        -------
        distances : tensor of shape (n_samples, 1)
        """
        Z = to_coordinates(X, self.frame)
        own = self.find_own(Z)
        Z = Z @ turned
        mean = mean_charge(Z, height, self.charges @ turned, self.log_counts, own)
        return (Z - mean).norm(dim=1, keepdim=True)

    def find_own(self, Z):
        """Return the charges that rows coincide with: see `_poisson.own_charges`."""
        within = _COINCIDENT * self.spacing
        return own_charges(Z, self.charges, self.log_counts, within)

    def follow(self, Z, own, start, end):
        """Follow the lines of the charges, or of a network, between heights."""
        if self.weights is not None:
            mean = partial(network_mean, weights=self.weights)
        elif self.table is not None:
            memory = Z.new_empty((len(Z), len(self.charges)))
            mean = partial(
                mean_charge_by_powers, table=self.table, own=own, memory=memory
            )
        else:
            charges = {"charges": self.charges, "log_counts": self.log_counts}
            mean = partial(mean_charge, **charges, own=own)
        length = self.size * Z.shape[1] ** 0.5
        return follow(mean, Z, start, end, length, self.solver, self.n_steps)

    def descend(self, Z, own=None):
        """Follow the lines back."""
        return self.follow(Z, own, self.end, self.start)

    def come_home(self, Z, end):
        """Return where rows came from, of which some may have started on a charge.

        Such a row left without its charge. With it, it comes down beside it; without
        it, on it. The charges nearest to where it comes down are tried.
        """
        D = squared_distances(Z, self.charges)
        D, nearest = D.topk(min(_TRIED, D.shape[1]), dim=1, largest=False)
        of_spacing, of_distance = _AT_HOME
        best = (of_distance * D[:, 0].sqrt()).clamp(min=of_spacing * self.spacing)
        for index in nearest.split(1, dim=1):
            own = index, change_of_leaving(index, self.log_counts)
            again = self.descend(end, own)
            away = (again - self.charges[index[:, 0]]).norm(dim=1)
            Z = torch.where((away <= best)[:, None], again, Z)
            best = torch.minimum(away, best)
        return Z

    def project(self, points, start, end):
        """Follow the document's equation between times."""
        function = partial(projected_velocity, weights=self.weights)
        return integrate(function, points, start, end, self.solver, self.n_steps)

    def leave(self, Z, height):
        """Return the output for rows at a height."""
        if self.output == "flow":
            return from_coordinates(Z, self.frame)
        if self.output == "hemisphere":
            return to_hemisphere(to_columns(Z, self.frame), height)
        G = to_columns(to_normal(Z, height), self.frame) / column_lengths(self.frame)
        return G if self.output == "normal" else torch.special.ndtr(G)

    def enter(self, out, least, eps):
        """Return rows at the end height for an output: `leave`, undone."""
        if self.output == "flow":
            return to_coordinates(out, self.frame)
        if self.output == "hemisphere":
            return from_columns(from_hemisphere(out, self.end), self.frame)
        G = from_cube(out, least, eps) if self.output == "cube" else out
        G = from_columns(G * column_lengths(self.frame), self.frame)
        return from_normal(G, self.end)
