"""Calls of scikit-learn's callbacks during a fit."""

from contextlib import contextmanager


class FitTask:
    """The task of one fit with the arguments X and y, and the subtasks in it."""

    def __init__(self, estimator, X, y, max_subtasks):
        self.arguments = {"estimator": estimator, "X": X, "y": y}
        self.context = estimator._init_callback_context(max_subtasks=max_subtasks)
        self.begin(self.context)

    def begin(self, context):
        """Tell the callbacks that a task begins."""
        context.call_on_fit_task_begin(**self.arguments)

    def end(self, context, fitted_attributes):
        """Tell the callbacks that a task ends, and return whether one wants to stop.

        `fitted_attributes` is a function that returns the attributes fitted so far.
        """
        return context.call_on_fit_task_end(
            **self.arguments, reconstruction_attributes=fitted_attributes
        )

    @contextmanager
    def subtask(self, name):
        """Run a part of the fit, after which nothing is fitted yet, as a subtask."""
        context = self.context.subcontext(task_name=name)
        self.begin(context)
        yield
        context.call_on_fit_task_end(**self.arguments)

    def finish(self, fitted):
        """Tell the callbacks that the fit ends with these attributes."""
        self.end(self.context, lambda: fitted)
