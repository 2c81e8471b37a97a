"""The flow of the document: points with their height, in a time of their own."""

from functools import partial

import torch

from sklearn_featalign._poisson._flow import integrate
from sklearn_featalign._poisson._network import projected_velocity
from sklearn_featalign._poisson._whitening import from_coordinates, to_coordinates


class ProjectedFlow:
    r"""Moves batches of rows by :math:`dy / ds = E / (E \cdot y)`, on one device.

    The field E is that of a network with the given weights; rows start at a height and
    end at a time s.
    """

    def __init__(self, coordinates, weights, height, time, solver, n_steps):
        self.coordinates = coordinates
        self.weights = weights
        self.height = height
        self.time = time
        self.solver = solver
        self.n_steps = n_steps

    def forward(self, X):
        """Return rows at the end, with their height as the last column."""
        Z = to_coordinates(X.to(torch.float64), self.coordinates)
        points = torch.cat([Z, torch.full_like(Z[:, :1], self.height)], dim=1)
        points = self.integrate(points, 0.0, self.time)
        rows = from_coordinates(points[:, :-1], self.coordinates)
        return torch.cat([rows, points[:, -1:]], dim=1)

    def backward(self, out, largest):
        """Return the rows of an output: the inverse of `forward`."""
        out = out.to(torch.float64)
        Z = to_coordinates(out[:, :-1], self.coordinates)
        points = torch.cat([Z, out[:, -1:]], dim=1)
        points = self.integrate(points, self.time, 0.0)
        rows = from_coordinates(points[:, :-1], self.coordinates)
        return rows.clamp(-largest, largest)

    def integrate(self, points, start, end):
        """Follow the equation between times."""
        function = partial(projected_velocity, weights=self.weights)
        return integrate(function, points, start, end, self.solver, self.n_steps)
