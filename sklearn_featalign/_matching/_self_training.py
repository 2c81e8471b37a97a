"""Any aligner, from few pairs or none, and unpaired rows of each view."""

import warnings
from functools import wraps
from itertools import combinations
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, MetaEstimatorMixin, _fit_context, clone
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _estimator_has, check_is_fitted

from sklearn_featalign._base import BaseAligner, check_training_rows, has_pairs
from sklearn_featalign._callbacks import FitTask
from sklearn_featalign._kernels._gcca_aligner import KernelGCCAAligner
from sklearn_featalign._matching._landmark_maps import standardise
from sklearn_featalign._matching._rounds import (
    MATCHED_SHARE,
    Pools,
    Setting,
    grouped_means,
)
from sklearn_featalign._matching._search import search
from sklearn_featalign._matching._trust import verdict
from sklearn_featalign._mixin import TorchTransformerMixin
from sklearn_featalign._torch import (
    Rows,
    as_like,
    feature_attributes,
    full_like,
    in_plain_torch,
    resolve_device,
    set_fitted,
    torch_generator,
)
from sklearn_featalign._views import block, frame_like, view_masks

# With fewer unpaired rows of a view there is nothing to match.
_FEWEST_ROWS = 50

# Groups of matches in the last fit, in multiples of those in the rounds.
_LAST_GROUP_SIZE = 2

# Parameters of the last fit in place of "auto". Means of groups are no sample of the
# rows that are to be found: those left out are found too easily.
_IN_PLACE_OF_AUTO = {"linear": 0.7, "power": 8}


def delegated(method):
    """Return a method that asks the aligner, if it has it, with the same docstring."""

    @wraps(method)
    def ask(self, *args, **kwargs):
        check_is_fitted(self)
        return getattr(self.estimator_, method.__name__)(*args, **kwargs)

    return available_if(_estimator_has(method.__name__))(ask)


class SelfTrainingAligner(
    CallbackSupportMixin, MetaEstimatorMixin, TorchTransformerMixin, BaseEstimator
):
    r"""Fit an aligner on few pairs, or none, and many unpaired rows.

    Rows that have every view are the known pairs; rows that lack one are unpaired, and
    may be of the same objects as others or not. Unpaired rows of different views are
    matched in rounds, and the aligner is fitted on known and matched pairs, if there is
    evidence that this helps, and on the known pairs alone if there is none.

    Parameters
    ----------
    estimator : aligner, default=None
        An aligner with two views or more, such as :class:`KernelGCCAAligner`, which is
        the default with one view. A clone is fitted. With one view there is nothing to
        match.

    max_rounds : int, default=32
        Rounds of matching, at most, and two more if `max_samples` counts. They end once
        the number of matches no longer rises.

    n_groups : int, default=1000
        Largest number of groups of matches, whose means serve as pairs in a round. The
        time of a round grows with its third power. Of more known pairs so many take
        part in the rounds, a random choice.

    group_size : float, default=5
        Matches of a group on average, at least. Means of more matches have fewer
        errors, and less detail. As more than half of the rows are matched, it falls
        towards 1.

    max_samples : int, default=10000
        Unpaired rows of a view that are matched in all rounds but the last two, at
        most: a random choice. The time of a round grows with the square of its rows.

    random_state : int, RandomState instance or None, default=None
        Seeds the choice of rows, groups and halves of the known pairs.

    Attributes
    ----------
    estimator_ : aligner
        The fitted aligner.

    trust_ : {"worked", "unclear", "failed", "unused"}
        Whether matching has worked. If it "failed", the aligner is fitted on X as it
        is, with the known pairs alone, where there are two at least, and a warning says
        so. "unclear" is used, with a warning. "unused" means that there was nothing to
        match: some view has fewer than 50 unpaired rows.

    evidence_ : dict
        What this goes by: "share", "agreement", "gain" and "t"; see the Notes.

    matches_ : ndarray of int of shape (n_matches, 2)
        Rows of X that seem to be of the same object. Of two views, the first row has
        the first view and the second row the second one.

    match_scores_ : ndarray of shape (n_matches,)
        Confidence of each match: its similarity less the mean similarity of both rows
        to their nearest rows of the other view.

    n_rounds_ : int
        Number of rounds.

    history_ : dict of str to ndarray of shape (n_rounds_,)
        For each round "n_pairs" of the fit, "n_matches", the "share" of rows that are
        matched, and the mean "score" of matches.

    view_columns_ : dict of str to ndarray of int of shape (n_view_features,)
        The columns of X of each view, by name.

    n_features_in_ : int
        Number of features seen during :term:`fit`.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features seen during :term:`fit`. Defined only when X has feature names
        that are all strings.

    See Also
    --------
    KernelGCCAAligner : The aligner to use this with.

    Notes
    -----
    **Start.** Rows of each view are clustered, and the centres of two views are
    assigned to each other so that similarities within one agree best with those within
    the other, a quadratic assignment [1]_ in which known pairs are fixed. This is
    repeated ten times with other clusters; the best half by objective are joined.

    **Rounds.** The kernel generalised CCA of :class:`KernelGCCAAligner` is fitted on
    pairs, and unpaired rows are matched if they are the nearest ones of each other
    under CSLS [2]_. Matches are grouped in the shared space, and the means of a group's
    rows in each view are a pair of the next fit, together with the known pairs:
    averaging cancels the errors of wrong matches. There are 50 groups at first, and
    twice as many in each round. The repetition is that of self-learning of bilingual
    embeddings [3]_.

    **The last fit** takes every match as a pair if at least 60 % of the rows are
    matched, as they are if the same objects are in both views, and else the means of
    groups that are twice as large as in the rounds. Left-out means would be found too
    easily to choose by them: there ``linear="auto"`` is .7 and ``power="auto"`` is 8.

    **Trust.** In rows of other objects, or where networks see too differently, about
    half of the rows find some mutual neighbour. Where more than 60 % did, as a share of
    the geometric mean of both numbers of rows, matches have been right. Otherwise two
    further runs tell, which see half of the known pairs each. Of eight known pairs and
    more, "gain" is the share by which the rounds lower the sum of the logarithms of the
    ranks of the half that a run has not seen, among all unpaired rows, and "t" is its
    t-statistic. Matching has "worked" if these are .2 and 3 at least, and is "unclear"
    from .1 and 2.5 on. With fewer known pairs "agreement" tells, the share of matches
    that the two runs have in common: .1 and .04. Without any, two of three runs with
    other clusters are compared in this way. The thresholds were set on pairs of
    networks where the truth is known.

    Rows are standardised by the median row and the median distance from it, and are
    matched in float32, on the device of the aligner.

    References
    ----------
    .. [1] Vogelstein et al. (2015), "Fast approximate quadratic programming for graph
       matching".
    .. [2] Conneau et al. (2018), "Word translation without parallel data".
    .. [3] Artetxe, Labaka and Agirre (2018), "A robust self-learning method for fully
       unsupervised cross-lingual mappings of word embeddings".

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_featalign import KernelGCCAAligner, SelfTrainingAligner
    >>> from sklearn_featalign import stack_views
    >>> rng = np.random.default_rng(0)
    >>> groups = rng.normal(size=(9, 8))[rng.integers(9, size=700)]
    >>> first = groups + rng.normal(scale=0.5, size=(700, 8))
    >>> second = first @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    >>> X = np.vstack([
    ...     np.hstack([first[:10], second[:10]]),
    ...     stack_views([first[10:500], None], [8, 8]),
    ...     stack_views([None, second[10:500][::-1]], [8, 8]),
    ... ])
    >>> inner = KernelGCCAAligner(views=[8, 8], n_landmarks=100, random_state=0)
    >>> aligner = SelfTrainingAligner(inner, random_state=0).fit(X)
    >>> aligner.trust_
    'worked'
    >>> aligner.score(np.hstack([first, second])[500:]) > 0.9
    True
    """

    _parameter_constraints = {
        "estimator": [None, HasMethods(["fit", "transform"])],
        "max_rounds": [Interval(Integral, 1, None, closed="left")],
        "n_groups": [Interval(Integral, 2, None, closed="left")],
        "group_size": [Interval(Real, 1, None, closed="left")],
        "max_samples": [Interval(Integral, 20, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        max_rounds=32,
        n_groups=1000,
        group_size=5,
        max_samples=10000,
        random_state=None,
    ):
        self.estimator = estimator
        self.max_rounds = max_rounds
        self.n_groups = n_groups
        self.group_size = group_size
        self.max_samples = max_samples
        self.random_state = random_state

    # The aligner is validated by its own fit.
    @in_plain_torch
    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Match unpaired rows and fit the aligner.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features)
            Rows with all views side by side; a view is absent from a row if it is NaN.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted aligner.

        Raises
        ------
        ValueError
            As by the aligner, for instance if fewer than two rows have every view and
            there are no unpaired rows to match.
        """
        estimator = clone(self._aligner())
        fitted = {**self._nothing_matched(), **feature_attributes(X)}
        rows, matching, n_tasks = X, None, 1
        if hasattr(estimator, "views") and has_pairs(estimator):
            values, columns = check_training_rows(self, X, estimator.views)
            masks = view_masks(values, columns)
            if can_match(masks):
                matching = values, columns, masks
                # At most: three runs, and the last rounds.
                n_tasks += 3 * self.max_rounds + 2
        task = FitTask(self, X, y, max_subtasks=n_tasks)
        if matching is not None:
            found, joined = self._match(*matching, estimator, task)
            fitted |= found
            if joined is not None:
                is_frame = hasattr(X, "columns")
                rows = frame_like(joined, X, rows=None) if is_frame else joined
        self._fit_estimator(estimator, rows, task, matching is not None)
        fitted |= {"estimator_": estimator, "view_columns_": estimator.view_columns_}
        task.finish(fitted)
        set_fitted(self, fitted)
        return self

    def transform(self, X):
        """Return the aligned features of rows.

        Parameters
        ----------
        X : {array-like, tensor} of shape (n_samples, n_features_in_)
            Rows as in `fit`.

        Returns
        -------
        X_new : {ndarray, tensor} of shape (n_samples, n_features_out)
            As by the aligner.
        """
        check_is_fitted(self)
        return self.estimator_.transform(X)

    transform_view = delegated(BaseAligner.transform_view)
    compile_view = delegated(BaseAligner.compile_view)
    score = delegated(BaseAligner.score)
    score_pairs = delegated(BaseAligner.score_pairs)
    translate = delegated(KernelGCCAAligner.translate)
    compile_translation = delegated(KernelGCCAAligner.compile_translation)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output features.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            Those of the aligner.
        """
        check_is_fitted(self)
        return self.estimator_.get_feature_names_out(input_features)

    # Displays and scorers see the aligner through these.

    @property
    def views(self):
        """Views of the aligner."""
        return self._aligner().views

    @property
    def _metric(self):
        return self.estimator_._metric

    def _check_rows(self, X):
        check_is_fitted(self)
        return self.estimator_._check_rows(X)

    def _pair_values(self, X, function, groups=None):
        check_is_fitted(self)
        return self.estimator_._pair_values(X, function, groups)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._aligner())
        tags.input_tags.allow_nan = inner.input_tags.allow_nan
        tags.transformer_tags = inner.transformer_tags
        return tags

    def _aligner(self):
        return KernelGCCAAligner() if self.estimator is None else self.estimator

    def _nothing_matched(self):
        """Return the fitted attributes of a fit without matching."""
        return {
            "trust_": "unused",
            "evidence_": {},
            "matches_": np.empty((0, 2), dtype=np.int64),
            "match_scores_": np.empty(0),
            "n_rounds_": 0,
            "history_": {},
        }

    def _match(self, values, columns, masks, estimator, task):
        """Return fitted attributes of matching, and the rows to fit on.

        The rows are None if they are those of X.
        """
        device = resolve_device(getattr(estimator, "device", "auto"), values)
        generator = torch_generator(check_random_state(self.random_state))
        setting = Setting(int(self.max_rounds), int(self.n_groups), self.group_size)

        def on_round():
            with task.subtask("round"):
                pass

        rows = [
            Rows(
                block(values, columns[name]), device, "auto", where=np.flatnonzero(has)
            )
            for name, has in masks.items()
        ]
        pools = load_pools(rows, masks)
        alignment, evidence = search(
            pools, setting, int(self.max_samples), generator, on_round
        )
        trust = verdict(evidence)
        joined = None
        if trust != "failed" or pools.n_known < 2:
            if is_matched(alignment, columns):
                joined = merge_matches(values, columns, rows, alignment)
            else:
                larger = _LAST_GROUP_SIZE * setting.group_size
                setting = setting._replace(group_size=larger)
                blocks = [own.load() for own in rows]
                means = grouped_means(pools, alignment, blocks, setting, generator)
                joined = append_rows(values, means, columns)
                fix_choices(estimator)
        if trust != "worked":
            self._warn(trust, pools.n_known)
        fitted = {
            "trust_": trust,
            "evidence_": evidence._asdict(),
            **alignment_attributes(alignment, rows),
        }
        return fitted, joined

    def _warn(self, trust, n_known):
        if trust == "unclear":
            message = "It is unclear whether matching unpaired rows has worked."
        elif n_known >= 2:
            message = (
                "There is no evidence that matching unpaired rows has worked: the "
                f"aligner is fitted on the {n_known} known pairs alone."
            )
        else:
            message = (
                "There is no evidence that matching unpaired rows has worked, and "
                "there are no two known pairs to fit the aligner on: it is fitted on "
                "matches that are probably wrong."
            )
        warnings.warn(f"{message} See trust_ and evidence_.", ConvergenceWarning, 5)

    def _fit_estimator(self, estimator, rows, task, is_matched):
        """Fit the aligner, under the callbacks of this fit."""
        context = task.context.subcontext(task_name="last fit")
        with warnings.catch_warnings():
            # How many pairs there are is not what the user has chosen.
            if is_matched:
                warnings.filterwarnings("ignore", "n_landmarks=", UserWarning)
            if isinstance(estimator, CallbackSupportMixin):
                with context.propagate_callback_context(estimator):
                    task.begin(context)
                    estimator.fit(rows)
            else:
                task.begin(context)
                estimator.fit(rows)
        context.call_on_fit_task_end(**task.arguments)


def can_match(masks):
    """Return whether each view has unpaired rows enough, beside another view's."""
    matched = {name for pair in matched_views(masks) for name in pair}
    return matched == set(masks)


def matched_views(masks):
    """Return the pairs of views that have rows enough without the other one."""
    return [
        (u, v)
        for u, v in combinations(masks, 2)
        if min((masks[u] & ~masks[v]).sum(), (masks[v] & ~masks[u]).sum())
        >= _FEWEST_ROWS
    ]


def load_pools(rows, masks):
    """Return the `Pools` of the rows of each view."""
    names, has = list(masks), list(masks.values())

    def places(view, mask):
        """Return the positions in a block of rows of X that a mask selects."""
        found = np.flatnonzero(mask[rows[view].where])
        return torch.from_numpy(found).to(rows[view].device)

    paired = np.logical_and.reduce(has)
    known = [places(view, paired) for view in range(len(has))]
    free = {
        (u, v): (places(u, ~has[v]), places(v, ~has[u]))
        for u, v in ((names.index(u), names.index(v)) for u, v in matched_views(masks))
    }
    return Pools([standardise(own.load()) for own in rows], known, free)


def matched_rows(rows, pair, matches):
    """Return the positions in X of the matches of two views, for each of the two."""
    sides = zip(pair, (matches.first, matches.second), strict=True)
    return [rows[view].where[side.cpu().numpy()] for view, side in sides]


def alignment_attributes(alignment, rows):
    """Return the fitted attributes that tell what was matched, and in which rounds."""
    matches, history = alignment.matches, alignment.history
    pairs = [
        np.stack(matched_rows(rows, pair, found), axis=1)
        for pair, found in matches.items()
    ]
    return {
        "matches_": np.concatenate(pairs),
        "match_scores_": torch.cat([m.scores for m in matches.values()]).cpu().numpy(),
        "n_rounds_": len(history),
        "history_": {
            name: np.array([entry[name] for entry in history]) for name in history[0]
        },
    }


def is_matched(alignment, columns):
    """Return whether matches are pairs of the last fit, and not means of groups."""
    return alignment.share >= MATCHED_SHARE and len(columns) == 2


def merge_matches(X, columns, rows, alignment):
    """Return the rows of X in which each match of two views is one row."""
    ((pair, matches),) = alignment.matches.items()
    _, second_view = columns.values()
    return merge_rows(X, *matched_rows(rows, pair, matches), second_view)


def fix_choices(estimator):
    """Set the parameters of an aligner that it would choose by left-out rows."""
    params = estimator.get_params(deep=False)
    chosen = {k: v for k, v in _IN_PLACE_OF_AUTO.items() if params.get(k) == "auto"}
    estimator.set_params(**chosen)


def merge_rows(X, first, second, columns):
    """Return rows of which some lend their columns of a view to others, and vanish."""
    joined = X[first]
    joined[:, columns] = X[second][:, columns]
    rest = np.ones(len(X), dtype=bool)
    rest[first] = rest[second] = False
    return concatenate([joined, X[np.flatnonzero(rest)]])


def append_rows(X, blocks, columns):
    """Return rows with further ones, of which the block of each view is given."""
    more = full_like(X[: len(blocks[0])], X.shape[1], 0.0)
    for part, indices in zip(blocks, columns.values(), strict=True):
        more[:, indices] = as_like(part.cpu().numpy(), more)
    return concatenate([X, more])


def concatenate(parts):
    """Return arrays or tensors below each other."""
    if isinstance(parts[0], torch.Tensor):
        return torch.cat(parts)
    return np.concatenate(parts)
