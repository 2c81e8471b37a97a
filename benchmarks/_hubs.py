"""Corrections for hubs, which are gallery rows that are near to many queries.

NNN subtracts from the similarities to a gallery row a multiple of its mean similarity
to its nearest rows of a bank of queries (Chowdhury et al., 2024, "Nearest neighbor
normalization improves multimodal retrieval"). CSLS uses all queries at once instead:
see `sklearn_featalign.metrics.retrieval_ranks`.
"""

from operator import itemgetter

import numpy as np
import torch

from sklearn_featalign.metrics import retrieval_ranks

CORRECTIONS = ("nothing", "NNN", "CSLS")
N_NEIGHBORS = (1, 4, 16, 64, 128)
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
CSLS_NEIGHBORS = 10


def corrected_ranks(F, G, metric, bank=None, k=None, strength=None, csls=None):
    """Return the ranks of rows of G by similarity to their queries, the rows of F.

    With a bank of queries, G has the bias -strength times the mean of the k largest
    similarities to the bank.
    """
    if bank is None:
        return retrieval_ranks(F, G, metric=metric, csls=csls)
    bank, F, G = (comparable(X, metric) for X in (bank, F, G))
    bias = -strength * bank_means(bank, G, [k])[k]
    # The bias is one more column, by which queries are multiplied once.
    F, G = torch.cat([F, torch.ones(len(F), 1)], 1), torch.cat([G, bias[:, None]], 1)
    return retrieval_ranks(F, G, metric="dot")


def comparable(X, metric, dtype=torch.float64):
    """Return rows whose dot products are the similarities of a metric."""
    X = torch.as_tensor(np.asarray(X), dtype=torch.float64)
    if metric == "cosine":
        X = torch.nn.functional.normalize(X, eps=1e-300)
    return X.to(dtype)


def bank_means(bank, G, n_neighbors):
    """Return for each k the mean of the k largest dot products of each row of G."""
    n_neighbors = [k for k in n_neighbors if k <= len(bank)]
    largest = (G @ bank.T).topk(max(n_neighbors)).values
    return {k: largest[:, :k].mean(1) for k in n_neighbors}


def score_corrections(F, G, metric, bank=None):
    """Return for each correction the mean reciprocal rank, and its best parameters.

    Those of NNN, which needs a bank, are chosen among `N_NEIGHBORS` and `STRENGTHS`.
    Similarities are in float32, since there are hundreds of settings to score.
    """
    F, G = (comparable(X, metric, torch.float32) for X in (F, G))
    S = F @ G.T
    k = min(CSLS_NEIGHBORS, len(F))
    csls = 2 * S - S.T.topk(k).values.mean(1)
    scores = {
        "nothing": (reciprocal_rank(S), {}),
        "CSLS": (reciprocal_rank(csls), {"csls": k}),
    }
    if bank is not None:
        bank = comparable(bank, metric, torch.float32)
        biases = score_biases(S, bank_means(bank, G, N_NEIGHBORS))
        scores["NNN"] = max(biases, key=itemgetter(0))
    return scores


def score_biases(S, means):
    """Yield the mean reciprocal rank with each bias, and the bias's parameters."""
    for k, mean in means.items():
        for strength in STRENGTHS:
            parameters = {"k": k, "strength": strength}
            yield reciprocal_rank(S - strength * mean), parameters


def reciprocal_rank(S):
    """Return the mean reciprocal rank of the diagonal of similarities in its rows."""
    own = S.diagonal()[:, None]
    above = (S > own).sum(1)
    tied = (S == own).sum(1) - 1
    return float((1 / (1 + above + tied / 2)).mean())
